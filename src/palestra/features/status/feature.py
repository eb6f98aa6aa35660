"""Status: table of contents."""

from __future__ import annotations

from palestra.features.status import wire
from palestra.features.status.messages import StatusMessages
from palestra.gateway.operation import Message


def messages(on: StatusMessages) -> list[Message]:
    """Socket."""
    return [
        Message("status.follow", "status_follow", wire.StatusFollow, on.follow),
        Message("status.unfollow", "status_unfollow", wire.StatusUnfollow, on.unfollow),
        Message("status.update", "status_update", wire.StatusUpdate, on.update),
    ]
