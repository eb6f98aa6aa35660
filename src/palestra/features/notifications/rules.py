"""Pure decisions about notifications: what may be sent, and what a cursor means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.notifications.contract import (
    CALL_BYTES_MAX,
    CODE_MAX,
    CONTENT_BYTES_MAX,
    NOTIFICATIONS_MAX,
    RESERVED_FOR_GAMES,
    SUBJECT_CHARS_MAX,
    BadCode,
    BadContent,
    BadCursor,
    BadNotificationId,
    BadSubject,
    BadUserId,
    DeleteRefused,
    NewNotification,
    Notification,
    NotificationChange,
    TooMany,
)

NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

_encode = msgspec.json.Encoder().encode


def check_code(code: int, *, for_all: bool = False) -> None:
    """Raises BadCode for a code that game modules may not use, or not `for_all` players."""
    low, high = RESERVED_FOR_GAMES
    if not (1 <= code <= CODE_MAX or (low <= code <= high and not for_all)):
        raise BadCode(code, for_all=for_all)


def checked_subject(text: str) -> str:
    """A subject that can be kept. Raises BadSubject."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadSubject from None
    if not 1 <= len(text) <= SUBJECT_CHARS_MAX or "\0" in text:
        raise BadSubject
    return text


def content_text(content: Mapping[str, Any]) -> str:
    """Content as JSON text. Raises BadContent."""
    try:
        raw = _encode(content)
    except (TypeError, ValueError, RecursionError):
        raise BadContent from None
    # An escaped NUL is JSON that PostgreSQL cannot hold; an escaped backslash before "u0000" is not one.
    if not raw.startswith(b"{") or len(raw) > CONTENT_BYTES_MAX or b"\\u0000" in raw.replace(b"\\\\", b""):
        raise BadContent
    return raw.decode()


def user_id(text: str) -> str:
    """The canonical form of a player's id. Raises BadUserId."""
    try:
        return parse_id(text)
    except ValueError:
        raise BadUserId(text) from None


def sender(text: str) -> str:
    """The canonical form of a sender's id, "" for the server. Raises BadUserId."""
    found = user_id(text) if text else ""
    return "" if found == SYSTEM_USER else found


def notification_ids(
    ids: Sequence[str], error: type[BadNotificationId] | type[DeleteRefused] = BadNotificationId
) -> list[str]:
    """Ids of notifications in canonical form, each once. Raises TooMany, `error`."""
    check_count(ids)
    found: dict[str, None] = {}
    for text in ids:
        try:
            found[parse_id(text)] = None
        except ValueError:
            raise error(text) from None
    return list(found)


def check_count(wanted: Sequence[Any]) -> None:
    """Raises TooMany when one call is to do more than a call may."""
    if len(wanted) > NOTIFICATIONS_MAX:
        raise TooMany


def draft(subject: str, content: Mapping[str, Any], code: int, sender_id: str, persistent: bool = True) -> Notification:
    """A notification without id, player and time. Raises BadSubject, BadContent, BadUserId."""
    return Notification(
        "", "", checked_subject(subject), content_text(content), code, sender(sender_id), NO_TIME, persistent
    )


def drafts(wanted: Sequence[NewNotification]) -> list[Notification]:
    """Notifications without ids and times. Raises BadCode, BadSubject, BadContent, BadUserId, TooMany."""
    check_count(wanted)
    made = []
    for one in wanted:
        check_code(one.code)
        made.append(
            replace(
                draft(one.subject, one.content, one.code, one.sender_id, one.persistent), user_id=user_id(one.user_id)
            )
        )
    if sum(len(one.content) for one in made) > CALL_BYTES_MAX:
        raise TooMany
    return made


def changed_columns(changes: Sequence[NotificationChange]) -> list[tuple[str, str | None, str | None, str | None]]:
    """(id, subject, content, sender) of changes, None to leave as it is; of two to one notification the last.

    Raises BadNotificationId, BadSubject, BadContent, BadUserId, TooMany.
    """
    check_count(changes)
    rows = {}
    for change in changes:
        (found,) = notification_ids([change.id])
        rows[found] = (
            found,
            None if change.subject is None else checked_subject(change.subject),
            None if change.content is None else content_text(change.content),
            None if change.sender_id is None else sender(change.sender_id) or SYSTEM_USER,
        )
    return list(rows.values())


def copy_for(player: str, original: Notification) -> Notification:
    """A player's copy of what everybody gets. Its id follows from both, so that sending it again sends nothing new."""
    return replace(original, id=str(uuid5(UUID(original.id), player)), user_id=player)


class Position(msgspec.Struct, frozen=True):
    """Where a page ends."""

    created_at: datetime
    id: str


class InboxCursor(msgspec.Struct, frozen=True, tag="notifications"):
    """A position in the notifications of one player."""

    user_id: str
    after: Position


START = Position(NO_TIME, SYSTEM_USER)


def inbox_start(user_id: str, cursor: str) -> Position:
    """Where a page starts. Raises BadCursor."""
    if not cursor:
        return START
    try:
        found = open_cursor(cursor, InboxCursor)
        after = Position(found.after.created_at.astimezone(UTC), parse_id(found.after.id))
    except (ValueError, OverflowError):
        raise BadCursor from None
    if found.user_id != user_id:
        raise BadCursor
    return after


def inbox_cursor(user_id: str, found: Sequence[Notification], asked_with: str) -> str:
    """The cursor behind a page: behind its last notification, else where the page would have started."""
    if found:
        return seal_cursor(InboxCursor(user_id, Position(found[-1].created_at, found[-1].id)))
    return asked_with or seal_cursor(InboxCursor(user_id, START))
