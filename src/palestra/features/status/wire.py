"""What statuses look like in envelopes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from palestra.features.streams.contract import Presence, Stream
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import LatestPush, Push


class StatusFollow(msgspec.Struct):
    """Request of status_follow."""

    user_ids: list[str] = []
    usernames: list[str] = []


class StatusUnfollow(msgspec.Struct):
    """Request of status_unfollow."""

    user_ids: list[str] = []


class StatusUpdate(msgspec.Struct):
    """Request of status_update; without `status` the session appears offline."""

    status: str | None = None


class Status(msgspec.Struct, omit_defaults=True):
    """The `status` reply to status_follow."""

    presences: list[UserPresence] = []


class StatusPresenceEvent(msgspec.Struct, omit_defaults=True):
    """What somebody shows now, and what they showed until now."""

    joins: list[UserPresence] = []
    leaves: list[UserPresence] = []


def shown(presences: Sequence[Presence]) -> list[UserPresence]:
    """Presences as followers see them; an empty status is written."""
    return [UserPresence(one.user_id, one.session_id, one.username, status=one.status) for one in presences]


def status_presence_event(stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]) -> Push:
    """The presence event of a status. Whoever does not keep up gets the latest of each session only."""
    session_id = (joins or leaves)[0].session_id
    event = StatusPresenceEvent(shown(joins), shown(leaves))
    return LatestPush("status_presence_event", event, ("status", session_id))
