"""Rows of messages, and the batch that senders share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import asyncpg

from palestra.cluster.cache import Caches
from palestra.cluster.pages import Pages
from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.transaction import at_end
from palestra.features.chat.contract import BadContent, HistoryPage, Message
from palestra.features.chat.rules import HistoryCursor

SQL = load_queries(__file__)
HISTORY_PAGE_BYTES = 16_384
"""About what a page takes in memory, also in JSON."""

# Well-formed JSON that PostgreSQL cannot hold all the same: NULs, numbers beyond its range, nesting beyond its stack.
_UNSTORABLE = (asyncpg.DataError, asyncpg.StatementTooComplexError, asyncpg.ProgramLimitExceededError)


class ChatStore:
    """Reads and writes rows of `messages`."""

    def __init__(self, database: Database, settings: DatabaseSettings, caches: Caches) -> None:
        self._database = database
        self._caches = caches
        self._pages: Pages[HistoryPage] | None = None
        self._send: Batch[Message, None] = Batch(
            "chat.send",
            database,
            _send,
            size_bytes=lambda message: len(message.content),
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            idempotent=True,
        )
        lookups = Lookups("chat.lookup", database, settings)
        self._later = lookups.of(SQL["list_later"], by_limit)
        self._earlier = lookups.of(SQL["list_earlier"], by_limit)
        self.batches = [self._send, *lookups.batches]

    async def stop(self) -> None:
        """Finish what is queued and close the connection of the batch."""
        for batch in self.batches:
            await batch.stop()

    def pages(self, load: Callable[..., Awaitable[HistoryPage]]) -> Pages[HistoryPage]:
        """Pages of histories as `load` makes them, kept until something changes in their channel."""
        self._pages = Pages("chat_history", self._caches, load, HISTORY_PAGE_BYTES, self._caches.terms)
        return self._pages

    def _changed(self, channel_id: str) -> None:
        if self._pages is not None:
            self._pages.invalidate((channel_id,))

    async def send(self, message: Message) -> None:
        """Store a message, in a round trip shared with others. Raises BadContent."""
        try:
            await self._send.submit(message)
        except _UNSTORABLE:
            raise BadContent from None
        finally:
            self._changed(message.channel_id)

    async def update(
        self, channel_id: str, message_id: str, sender_id: str, content: str, username: str, at: datetime
    ) -> Message | None:
        """Replace the content of a sender's message, if there is one. Raises BadContent."""
        try:
            row = await self._database.fetchrow(SQL["update"], message_id, channel_id, sender_id, content, username, at)
        except _UNSTORABLE:
            raise BadContent from None
        finally:
            self._changed(channel_id)
        return Message(*row) if row else None

    async def remove(self, channel_id: str, message_id: str, sender_id: str) -> Message | None:
        """Delete a sender's message, if there is one."""
        try:
            row = await self._database.fetchrow(SQL["remove"], message_id, channel_id, sender_id)
        finally:
            self._changed(channel_id)
        return Message(*row) if row else None

    async def list(self, start: HistoryCursor, limit: int) -> list[Message]:
        """What lies beyond a position in the direction of its cursor, nearest first."""
        read = self._later if start.forward == start.ahead else self._earlier
        rows = await read(start.channel_id, start.at.created_at, start.at.id, limit)
        return [Message(*row) for row in rows]

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete what a player wrote."""
        if self._pages is not None:
            at_end(tx, self._pages.invalidate_all)
        await tx.execute(SQL["forget"], user_id)


async def _send(connection: asyncpg.Connection, messages: list[Message]) -> list[None]:
    rows = [
        (one.id, one.channel_id, one.code, one.sender_id, one.username, one.content, one.created_at) for one in messages
    ]
    await connection.execute(SQL["send"], *map(list, zip(*rows, strict=True)))
    return [None] * len(messages)
