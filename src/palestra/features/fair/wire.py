"""The JSON shapes of fair draws. Zeroes are written: a nonce of 0 is news."""

from __future__ import annotations

import msgspec

from palestra.features.fair.contract import PAGE_SEEDS_MAX, Step
from palestra.gateway.fields import Int32, Int64


class RotateRequest(msgspec.Struct):
    """The client seed to go on with; left out, it stays."""

    client_seed: str | None = None


class HistoryRequest(msgspec.Struct):
    """Which page of revealed seeds."""

    limit: Int32 = PAGE_SEEDS_MAX
    cursor: str = ""


class VerifyRequest(msgspec.Struct):
    """A draw to be repeated: `server_seed` in hex, and the calls that were made, in order."""

    server_seed: str = ""
    client_seed: str = ""
    nonce: Int64 = 0
    draws: list[Step] = []
