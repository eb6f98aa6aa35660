"""The JSON shapes of notifications, over HTTP and in envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from palestra.core.clock import timestamp, utc
from palestra.core.ids import SYSTEM_USER, new_id
from palestra.features.notifications import contract
from palestra.gateway.fields import Int32, JsonText
from palestra.gateway.push import Push


class ListRequest(msgspec.Struct):
    """Which of the caller's notifications; `limit` left out is 1."""

    limit: Int32 | None = None
    cacheable_cursor: str = ""


class DeleteRequest(msgspec.Struct):
    """Notifications of the caller."""

    ids: list[str] = []


class Notification(msgspec.Struct, omit_defaults=True):
    """A notification; `content` is JSON text."""

    id: str = ""
    subject: str = ""
    content: JsonText = ""
    code: int = 0
    sender_id: str = ""
    create_time: datetime | None = None
    persistent: bool = False


class NotificationList(msgspec.Struct, omit_defaults=True):
    """One page of notifications."""

    notifications: list[Notification] = []
    cacheable_cursor: str = ""


class Pushed(msgspec.Struct):
    """Notifications that come together."""

    notifications: list[Notification]


def page_of(page: contract.NotificationPage) -> NotificationList:
    """A page in its wire form."""
    return NotificationList([_wire(one, one.sender_id) for one in page.notifications], page.cursor)


def push_of(notifications: Sequence[contract.Notification]) -> Push:
    """The envelope that tells of notifications. On sockets the server has an id, the nil one; in lists it has none."""
    shown = [_wire(one, one.sender_id or SYSTEM_USER) for one in notifications]
    return Push("notifications", Pushed(shown))


def last_push(code: contract.PlatformCode, now: float) -> Push:
    """The last thing that a socket hears before it is closed: BANNED or SINGLE_SOCKET."""
    told = Notification(new_id(), code.name.lower(), "{}", code, create_time=timestamp(utc(now)))
    return Push("notifications", Pushed([told]))


def _wire(one: contract.Notification, sender_id: str) -> Notification:
    return Notification(
        one.id, one.subject, one.content, one.code, sender_id, timestamp(one.created_at), one.persistent
    )
