"""What tokens say that let their bearer into a match."""

from __future__ import annotations

import msgspec


class MatchClaims(msgspec.Struct):
    """The match, and until when the token is good (unix seconds)."""

    mid: str
    exp: int
