"""What others may know of notifications: records, codes, errors, and the protocols of game modules and features."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import InvalidArgument, Overloaded

PAGE_MAX = 100
NOTIFICATIONS_MAX = 1000
"""Most notifications in one call, be it to send, to get, to change or to delete them."""
SUBJECT_CHARS_MAX = 255
CONTENT_BYTES_MAX = 1 << 16
"""Longest content, as JSON text."""
CALL_BYTES_MAX = 1 << 18
"""Most content that one `send_many` may carry: all of it may go to one socket."""
BROADCASTS_MAX = 8
"""Most `send_all` under way at once."""
CODE_MAX = 32_767
RESERVED_FOR_GAMES = (-2000, -1000)
"""Besides codes from 1 on, game modules may use those between these two, both included."""


class PlatformCode(enum.IntEnum):
    """What the platform itself tells players. The numbers are stored, and part of the protocol."""

    CHAT_REQUEST = -1
    FRIEND_REQUEST = -2
    FRIEND_ACCEPTED = -3
    GROUP_ADDED = -4
    GROUP_JOIN_REQUEST = -5
    FRIEND_JOINED_GAME = -6
    SINGLE_SOCKET = -7
    BANNED = -8
    FRIEND_REMOVED = -9


class Notification(msgspec.Struct, frozen=True):
    """A notification of a player. `content` is the text of a JSON object; `sender_id` "" is the server."""

    id: str
    user_id: str
    subject: str
    content: str
    code: int
    sender_id: str
    created_at: datetime
    persistent: bool = True


class NotificationPage(msgspec.Struct, frozen=True):
    """Some notifications, oldest first. `cursor` leads to what comes after them, be it there already or not."""

    notifications: Sequence[Notification]
    cursor: str


class NewNotification(msgspec.Struct, frozen=True):
    """A notification to be sent. One that is not `persistent` is for those who are connected now."""

    user_id: str
    subject: str
    content: Mapping[str, Any]
    code: int
    sender_id: str = ""
    persistent: bool = True


class NotificationChange(msgspec.Struct, frozen=True):
    """What is to be changed in a kept notification; None leaves things as they are."""

    id: str
    subject: str | None = None
    content: Mapping[str, Any] | None = None
    sender_id: str | None = None


class BadLimit(InvalidArgument):
    """A page size outside 1–100."""

    def __init__(self) -> None:
        super().__init__(f"Invalid limit - limit must be between 1 and {PAGE_MAX}.")


class BadCursor(InvalidArgument):
    """A cursor that was not given out for this inbox."""

    def __init__(self) -> None:
        super().__init__("Error retrieving notifications.")


class BadUserId(InvalidArgument):
    """Not the id of a player."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Invalid user ID '{text}'.")


class BadNotificationId(InvalidArgument):
    """Not the id of a notification."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Invalid notification ID '{text}'.")


class DeleteRefused(InvalidArgument):
    """Not the id of a notification, in a request to delete some; none was."""

    def __init__(self, text: str) -> None:
        super().__init__("Error while deleting notifications.")


class BadCode(InvalidArgument):
    """A code that game modules may not use."""

    def __init__(self, code: int, *, for_all: bool = False) -> None:
        low, high = RESERVED_FOR_GAMES
        more = "" if for_all else f", or from {low} to {high}"
        super().__init__(f"Notification code {code} is not for game modules: use 1 to {CODE_MAX}{more}.")


class BadSubject(InvalidArgument):
    """A subject that is empty, too long, or no text that can be kept."""

    def __init__(self) -> None:
        super().__init__(f"A notification's subject must have 1 to {SUBJECT_CHARS_MAX} characters, none of them NUL.")


class BadContent(InvalidArgument):
    """Content that is no JSON object, is too long or cannot be kept."""

    def __init__(self) -> None:
        super().__init__(
            f"A notification's content must be a JSON object of at most {CONTENT_BYTES_MAX} bytes, no NULs."
        )


class TooMany(InvalidArgument):
    """More in one call than NOTIFICATIONS_MAX or CALL_BYTES_MAX."""

    def __init__(self) -> None:
        super().__init__(
            f"At most {NOTIFICATIONS_MAX} notifications, with {CALL_BYTES_MAX} bytes of content, fit into one call."
        )


class TooManyBroadcasts(Overloaded):
    """BROADCASTS_MAX notifications for everybody are under way."""

    def __init__(self) -> None:
        super().__init__(f"{BROADCASTS_MAX} notifications to all players are under way; try again when one is done.")


class Notifications(Protocol):
    """Notifications, as game modules see them (`ctx.notifications`).

    A persistent notification is kept until it is deleted, and pushed when it is kept; others are only pushed. Codes are
    1 to 32767 or -2000 to -1000. Unknown players are skipped. Every notification of a call stands for itself: when a
    call fails for load or for the database, some may have been sent. Calls raise BadUserId for ids that are none, and
    Unavailable while the database is away.
    """

    async def send(
        self,
        user_ids: str | Sequence[str],
        subject: str,
        content: Mapping[str, Any],
        code: int,
        sender_id: str = "",
        persistent: bool = True,
    ) -> list[Notification]:
        """The same to one player or up to NOTIFICATIONS_MAX; returns what was kept. One round trip, shared with others.

        Raises BadCode, BadSubject, BadContent, TooMany, Overloaded.
        """
        ...

    async def send_many(self, notifications: Sequence[NewNotification]) -> list[Notification]:
        """Different ones, in their order; those to one player share an envelope. Returns and raises as `send`."""
        ...

    async def send_all(self, subject: str, content: Mapping[str, Any], code: int, persistent: bool = True) -> None:
        """To every account or, when not persistent, to every open socket.

        Accounts are gone through in the background, NOTIFICATIONS_MAX at a time, waiting out a database that is away;
        the node's stop ends it, which is logged. Raises BadCode (only codes from 1 on), BadSubject, BadContent,
        TooManyBroadcasts.
        """
        ...

    async def list(self, user_id: str, limit: int = PAGE_MAX, cursor: str = "") -> NotificationPage:
        """Up to `limit` (1–100) kept notifications behind `cursor`, oldest first. O(limit). Raises BadLimit, BadCursor.

        The page's cursor can be stored: later, it leads to what has come since.
        """
        ...

    async def get(self, ids: Sequence[str], user_id: str | None = None) -> Sequence[Notification]:
        """Kept notifications by id, of one player or of anybody, oldest first. Raises BadNotificationId, TooMany."""
        ...

    async def update(self, changes: Sequence[NotificationChange]) -> None:
        """Change kept notifications, all or none; unknown ones are skipped, and nobody is told.

        Raises BadNotificationId, BadSubject, BadContent, TooMany.
        """
        ...

    async def delete(self, ids: Sequence[str], user_id: str | None = None) -> None:
        """Delete notifications of one player or of anybody; unknown and foreign ones are skipped.

        Raises DeleteRefused, TooMany.
        """
        ...

    async def forget(self, tx: Any, user_id: str) -> None:
        """Delete a player's notifications in the transaction that deletes the account.

        What the platform told others of the player goes too; what games sent in the player's name loses the name.
        """
        ...


class Notices(Protocol):
    """Notifications, as other features send them."""

    async def tell(
        self, user_ids: Sequence[str], code: PlatformCode, subject: str, content: Mapping[str, Any], sender_id: str
    ) -> None:
        """Keep and push what has happened already: a failure is logged and raises nothing. Long subjects are cut."""
        ...
