"""What session and refresh tokens say."""

from __future__ import annotations

import msgspec


class Claims(msgspec.Struct, omit_defaults=True):
    """Token id, user id, username, expiry, first authentication (unix seconds), session vars."""

    tid: str
    uid: str
    usn: str
    exp: int
    iat: int = 0
    vrs: dict[str, str] = {}
