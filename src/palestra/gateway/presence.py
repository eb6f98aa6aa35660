"""A presence as envelopes carry it, in both directions."""

from __future__ import annotations

import msgspec


class UserPresence(msgspec.Struct, omit_defaults=True):
    """One session of one player. Clients hand it back to say whom they mean.

    `persistence` and `status` are filled where the stream has them.
    """

    user_id: str = ""
    session_id: str = ""
    username: str = ""
    persistence: bool = False
    status: str | None = None
