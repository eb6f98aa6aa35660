"""What can be done with the history of channels; implements the contract's `Chat`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from palestra.core.clock import Clock, utc
from palestra.core.ids import new_id
from palestra.features.chat import rules
from palestra.features.chat.contract import (
    PAGE_MESSAGES_MAX,
    SAID,
    BadLimit,
    HistoryPage,
    Message,
    MessageNotFound,
    NotInChannel,
    NotInGroup,
)
from palestra.features.chat.store import ChatStore
from palestra.features.groups.contract import Groups, State
from palestra.features.streams.contract import DIRECT, GROUP, Stream

TICK = timedelta(microseconds=1)


class ChatService:
    """Histories for clients and game code."""

    def __init__(self, store: ChatStore, groups: Groups, clock: Clock) -> None:
        self._store = store
        self._groups = groups
        self._clock = clock
        self._sent_at = datetime(1970, 1, 1, tzinfo=UTC)

    async def send(
        self, channel_id: str, content: Mapping[str, Any], sender_id: str, username: str, *, code: int = SAID
    ) -> Message:
        """See Chat.send."""
        channel = rules.channel_of(channel_id)
        text = rules.content_text(content)
        # No two messages of this node have the same time, so the history keeps their order.
        self._sent_at = at = max(utc(self._clock.now()), self._sent_at + TICK)
        message = Message(new_id(), rules.channel_id(channel), code, sender_id, username, text, at, at)
        await self._store.send(message)
        return message

    async def update(
        self, channel_id: str, message_id: str, content: Mapping[str, Any], sender_id: str, username: str
    ) -> Message:
        """See Chat.update."""
        found_id = rules.message_id(message_id)
        channel = rules.channel_id(rules.channel_of(channel_id))
        text = rules.content_text(content)
        at = utc(self._clock.now())
        message = await self._store.update(channel, found_id, sender_id, text, username, at)
        if message is None:
            raise MessageNotFound("update")
        return message

    async def remove(self, channel_id: str, message_id: str, sender_id: str) -> Message:
        """See Chat.remove."""
        found_id = rules.message_id(message_id)
        channel = rules.channel_id(rules.channel_of(channel_id))
        message = await self._store.remove(channel, found_id, sender_id)
        if message is None:
            raise MessageNotFound("remove")
        return message

    async def history(
        self, channel_id: str, limit: int = 1, forward: bool = True, cursor: str = "", *, caller_id: str | None = None
    ) -> HistoryPage:
        """See Chat.history."""
        channel = rules.channel_of(channel_id)
        if not 1 <= limit <= PAGE_MESSAGES_MAX:
            raise BadLimit
        if caller_id is not None:
            await self._check_reader(channel, caller_id)
        start = rules.history_start(rules.channel_id(channel), forward, cursor)
        # One more than asked for tells whether there is more.
        found = await self._store.list(start, limit + 1)
        return rules.history_page(start, bool(cursor), found, limit)

    async def _check_reader(self, channel: Stream, caller_id: str) -> None:
        if channel.mode == GROUP:
            state = await self._groups.state_of(channel.subject, caller_id)
            if state is None or state > State.MEMBER:
                raise NotInGroup
        elif channel.mode == DIRECT and caller_id not in (channel.subject, channel.subcontext):
            raise NotInChannel

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """See Chat.forget."""
        await self._store.forget(tx, user_id)
