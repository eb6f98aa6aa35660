"""What others may know of chat: messages, pages of history, errors and the `Chat` protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import InvalidArgument

PAGE_MESSAGES_MAX = 100
CONTENT_BYTES_MAX = 1 << 18
"""Longest content, as JSON text."""
SAID = 0
"""The code of what somebody wrote. Higher codes tell of what happened in a group (`groups.contract.Happening`)."""


class Message(msgspec.Struct, frozen=True):
    """A message of a channel's history. `content` is the text of a JSON object."""

    id: str
    channel_id: str
    code: int
    sender_id: str
    username: str
    content: str
    created_at: datetime
    updated_at: datetime


class HistoryPage(msgspec.Struct, frozen=True):
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


class Chat(Protocol):
    """The history of channels, as other features and game modules see it.

    A channel is named by its id: `2...<room name>`, `3.<group id>..` or `4.<lower user id>.<higher user id>.`.
    Every call raises BadChannelId for other texts, and Unavailable while the database is away.
    """

    async def send(
        self, channel_id: str, content: Mapping[str, Any], sender_id: str, username: str, *, code: int = SAID
    ) -> Message:
        """Put a message into a channel's history, whoever the sender is; one round trip, shared with other senders.

        Messages sent on one node are kept in the order of the calls. Raises BadContent; Overloaded when too many wait.
        """
        ...

    async def update(
        self, channel_id: str, message_id: str, content: Mapping[str, Any], sender_id: str, username: str
    ) -> Message:
        """Replace the content of a message that `sender_id` sent. Raises BadMessageId, BadContent, MessageNotFound."""
        ...

    async def remove(self, channel_id: str, message_id: str, sender_id: str) -> Message:
        """Delete a message that `sender_id` sent, and return it. Raises BadMessageId, MessageNotFound."""
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
