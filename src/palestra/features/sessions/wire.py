"""JSON shapes of the session operations."""

from __future__ import annotations

import msgspec


class RefreshRequest(msgspec.Struct):
    """A refresh token and, if they are to change, the session vars."""

    token: str = ""
    vars: dict[str, str] = {}


class LogoutRequest(msgspec.Struct):
    """The tokens to void; none means all."""

    token: str = ""
    refresh_token: str = ""
