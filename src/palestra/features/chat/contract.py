"""What others may know of chat: messages, pages of history, errors, events and the `Chat` protocol."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import InvalidArgument, Unavailable

PAGE_MESSAGES_MAX = 100
CONTENT_BYTES_MAX = 1 << 18
"""Longest content, as JSON text."""
CHANNELS_PER_SESSION_MAX = 256
PRESENCES_LISTED_MAX = 5_000
"""Most presences in the answer to a join: of a fuller room, those who came first. Events tell of everybody."""
SAID, EDITED, REMOVED = 0, 1, 2
"""The codes of what somebody wrote, and of changing and removing it, which are told but not kept.

Higher codes tell of what happened in a group (`groups.contract.Happening`).
"""


class Kind(enum.IntEnum):
    """What a channel is; the numbers are part of the protocol."""

    ROOM = 1
    DIRECT = 2
    GROUP = 3


class Message(msgspec.Struct, frozen=True):
    """A message of a channel. `content` is the text of a JSON object; one that is not `persistent` is in no history."""

    id: str
    channel_id: str
    code: int
    sender_id: str
    username: str
    content: str
    created_at: datetime
    updated_at: datetime
    persistent: bool = True


class ConversationOpened(msgspec.Struct, frozen=True):
    """`from_user_id` opened a direct channel in which `user_id` is not to be seen."""

    user_id: str
    from_user_id: str
    from_username: str


class HistoryPage(msgspec.Struct, frozen=True, dict=True):
    """Some messages of a channel. The cursors are empty where they would lead nowhere.

    `cacheable_cursor` stands behind the last message of the page: with it, later messages can be asked for.
    """

    messages: Sequence[Message]
    next_cursor: str = ""
    prev_cursor: str = ""
    cacheable_cursor: str = ""


class BadChannelId(InvalidArgument):
    """Not the id of a channel."""

    def __init__(self) -> None:
        super().__init__("Invalid channel ID.")


class BadMessageId(InvalidArgument):
    """Not the id of a message."""

    def __init__(self) -> None:
        super().__init__("Invalid message identifier")


class BadContent(InvalidArgument):
    """Content that is no JSON object, is too long or cannot be stored."""

    def __init__(self) -> None:
        super().__init__("Message content must be a valid JSON object")


class MessageNotFound(InvalidArgument):
    """The channel holds no such message of this sender."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"Could not find message to {verb} in channel history")


class BadLimit(InvalidArgument):
    """A page size outside 1–100."""

    def __init__(self) -> None:
        super().__init__(f"Invalid limit - limit must be between 1 and {PAGE_MESSAGES_MAX}.")


class BadCursor(InvalidArgument):
    """A cursor that was not given out for this channel and direction."""

    def __init__(self) -> None:
        super().__init__("Cursor is invalid or expired.")


class NotInGroup(InvalidArgument):
    """There is no such group, or the caller is no member."""

    def __init__(self) -> None:
        super().__init__("Group not found.")


class NotInChannel(InvalidArgument):
    """A conversation of others."""

    def __init__(self) -> None:
        super().__init__("Channel not found.")


class BadSenderId(InvalidArgument):
    """Not the id of a player."""

    def __init__(self) -> None:
        super().__init__("A sender is the id of a player, or empty for the server.")


class BadTarget(InvalidArgument):
    """What a channel is asked for by names nothing that it could be; the text says what is wrong."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"{reason}: Invalid channel target" if reason else "Invalid channel target")


class BadKind(InvalidArgument):
    """A type of channel outside 0–3; 0 and 1 are rooms."""

    def __init__(self) -> None:
        super().__init__("Invalid channel type")


class BadIdentifier(InvalidArgument):
    """Not the id of a channel, in a message over a socket."""

    def __init__(self) -> None:
        super().__init__("Invalid channel identifier")


class NotJoined(InvalidArgument):
    """The session is not in the channel."""

    def __init__(self, doing: str) -> None:
        super().__init__(f"Must join channel before {doing} messages")


class TooManyChannels(InvalidArgument):
    """The session is in CHANNELS_PER_SESSION_MAX channels."""

    def __init__(self) -> None:
        super().__init__(f"A session may be in {CHANNELS_PER_SESSION_MAX} channels: leave one first.")


class NotLookedUp(Unavailable):
    """Whether the channel may be joined could not be found out."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Failed to look up {what}")


class NotPersisted(Unavailable):
    """The history could not be changed, and nobody was told of anything."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Could not persist {what} to channel history")


class Chat(Protocol):
    """Channels as other features and game modules see them (`ctx.chat`).

    A channel is named by its id: `2...<room name>`, `3.<group id>..` or `4.<lower user id>.<higher user id>.`. No
    `sender_id` is the server. What is sent, changed or removed is told at once to every socket in the channel; with
    `persist` off it is only told. Every call raises BadChannelId for other texts, and Unavailable while the database is
    away.
    """

    async def channel_id(self, target: str, kind: int, sender_id: str = "") -> str:
        """The id of a channel: a room by its name, a direct one by the other player's id, a group's by the group's id.

        `kind` is one of `Kind`: 1, 2, 3. Checks what the sender would be checked for when joining, the server for
        nothing; a direct channel needs a player as sender. Raises BadKind, BadTarget.
        """
        ...

    async def send(
        self,
        channel_id: str,
        content: Mapping[str, Any],
        sender_id: str = "",
        username: str = "",
        *,
        persist: bool = True,
        code: int = SAID,
    ) -> Message:
        """Write in a channel, whoever the sender is; one round trip, shared with other senders.

        Messages sent on one node are kept in the order of the calls. Raises BadContent, BadSenderId; Overloaded when
        too many wait.
        """
        ...

    async def update(
        self,
        channel_id: str,
        message_id: str,
        content: Mapping[str, Any],
        sender_id: str = "",
        username: str = "",
        *,
        persist: bool = True,
    ) -> Message:
        """Replace the content of a message that `sender_id` sent; returns what was told.

        Raises BadMessageId, BadContent, BadSenderId, MessageNotFound.
        """
        ...

    async def remove(
        self, channel_id: str, message_id: str, sender_id: str = "", username: str = "", *, persist: bool = True
    ) -> Message:
        """Delete a message that `sender_id` sent; returns what was told.

        Raises BadMessageId, BadSenderId, MessageNotFound.
        """
        ...

    async def history(
        self, channel_id: str, limit: int = 1, forward: bool = True, cursor: str = "", *, caller_id: str | None = None
    ) -> HistoryPage:
        """Up to `limit` (1–100) messages, oldest first or, with `forward` off, newest first. O(limit).

        With a `caller_id` only what this player may read: rooms, groups they are a member of, their own conversations.
        Raises BadLimit, BadCursor, NotInGroup, NotInChannel.
        """
        ...

    async def forget(self, tx: Any, user_id: str) -> None:
        """Delete what a player wrote, in the transaction that deletes the account."""
        ...
