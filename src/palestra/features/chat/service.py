"""What the server does in channels and with their histories; implements the contract's `Chat`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from palestra.core.clock import Clock, utc
from palestra.core.ids import new_id
from palestra.features.chat import rules, wire
from palestra.features.chat.addresses import Addresses
from palestra.features.chat.contract import (
    EDITED,
    PAGE_MESSAGES_MAX,
    REMOVED,
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
from palestra.features.streams.contract import DIRECT, GROUP, Presences, Stream

TICK = timedelta(microseconds=1)


class ChatService:
    """Channels for game code and other features, and their histories for everybody."""

    def __init__(
        self, store: ChatStore, presences: Presences, addresses: Addresses, groups: Groups, clock: Clock
    ) -> None:
        self._store = store
        self._presences = presences
        self._addresses = addresses
        self._groups = groups
        self._clock = clock
        self._pages = store.pages(self._read_page)
        self._sent_at = datetime(1970, 1, 1, tzinfo=UTC)

    async def channel_id(self, target: str, kind: int, sender_id: str = "") -> str:
        """See Chat.channel_id."""
        return rules.channel_id(await self._addresses.find(target, kind, sender_id))

    # -- writing

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
        """See Chat.send."""
        channel = rules.channel_of(channel_id)
        text, author = rules.content_text(content), rules.sender(sender_id)
        return await self.say(channel, text, author, username, persist=persist, code=code)

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
        """See Chat.update."""
        found_id = rules.message_id(message_id)
        channel = rules.channel_of(channel_id)
        text, author = rules.content_text(content), rules.sender(sender_id)
        return await self.edit(channel, found_id, text, author, username, persist=persist)

    async def remove(
        self, channel_id: str, message_id: str, sender_id: str = "", username: str = "", *, persist: bool = True
    ) -> Message:
        """See Chat.remove."""
        found_id = rules.message_id(message_id)
        channel = rules.channel_of(channel_id)
        return await self.erase(channel, found_id, rules.sender(sender_id), username, persist=persist)

    async def say(
        self, channel: Stream, text: str, sender_id: str, username: str, *, persist: bool, code: int = SAID
    ) -> Message:
        """Keep a message, if it is to be kept, and tell it."""
        # No two messages of this node have the same time, so the history keeps their order.
        self._sent_at = at = max(self._now(), self._sent_at + TICK)
        message = Message(new_id(), rules.channel_id(channel), code, sender_id, username, text, at, at, persist)
        if persist:
            await self._store.send(message)
        return self._tell(channel, message)

    async def edit(
        self, channel: Stream, message_id: str, text: str, sender_id: str, username: str, *, persist: bool
    ) -> Message:
        """Change a sender's message, if it was kept, and tell it."""
        channel_id, at = rules.channel_id(channel), self._now()
        made_at = at
        if persist:
            kept = await self._store.update(channel_id, message_id, sender_id, text, username, at)
            if kept is None:
                raise MessageNotFound("update")
            made_at = kept.created_at
        return self._tell(
            channel, Message(message_id, channel_id, EDITED, sender_id, username, text, made_at, at, persist)
        )

    async def erase(self, channel: Stream, message_id: str, sender_id: str, username: str, *, persist: bool) -> Message:
        """Take a sender's message out of the history, if it was kept, and tell it."""
        channel_id, at = rules.channel_id(channel), self._now()
        made_at = at
        if persist:
            kept = await self._store.remove(channel_id, message_id, sender_id)
            if kept is None:
                raise MessageNotFound("remove")
            made_at, at = kept.created_at, kept.updated_at
        return self._tell(
            channel, Message(message_id, channel_id, REMOVED, sender_id, username, "{}", made_at, at, persist)
        )

    def _tell(self, channel: Stream, message: Message) -> Message:
        if self._presences.audience(channel):
            self._presences.send(channel, wire.push_of(message))
        return message

    def _now(self) -> datetime:
        return utc(self._clock.now())

    # -- reading

    async def history(
        self, channel_id: str, limit: int = 1, forward: bool = True, cursor: str = "", *, caller_id: str | None = None
    ) -> HistoryPage:
        """See Chat.history."""
        channel = rules.channel_of(channel_id)
        if not 1 <= limit <= PAGE_MESSAGES_MAX:
            raise BadLimit
        if caller_id is not None:
            await self._check_reader(channel, caller_id)
        found_id = rules.channel_id(channel)
        return await self._pages.page(found_id, found_id, limit, forward, cursor)

    async def _read_page(self, channel_id: str, limit: int, forward: bool, cursor: str) -> HistoryPage:
        start = rules.history_start(channel_id, forward, cursor)
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
