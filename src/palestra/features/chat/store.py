"""Rows of messages, and the batch that senders share."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.chat.contract import BadContent, Message
from palestra.features.chat.rules import HistoryCursor

SQL = load_queries(__file__)

# Well-formed JSON that PostgreSQL cannot hold all the same: NULs, numbers beyond its range, nesting beyond its stack.
_UNSTORABLE = (asyncpg.DataError, asyncpg.StatementTooComplexError, asyncpg.ProgramLimitExceededError)


class ChatStore:
    """Reads and writes rows of `messages`."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._database = database
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

    async def send(self, message: Message) -> None:
        """Store a message, in a round trip shared with others. Raises BadContent."""
        try:
            await self._send.submit(message)
        except _UNSTORABLE:
            raise BadContent from None

    async def update(
        self, channel_id: str, message_id: str, sender_id: str, content: str, username: str, at: datetime
    ) -> Message | None:
        """Replace the content of a sender's message, if there is one. Raises BadContent."""
        try:
            row = await self._database.fetchrow(SQL["update"], message_id, channel_id, sender_id, content, username, at)
        except _UNSTORABLE:
            raise BadContent from None
        return Message(*row) if row else None

    async def remove(self, channel_id: str, message_id: str, sender_id: str) -> Message | None:
        """Delete a sender's message, if there is one."""
        row = await self._database.fetchrow(SQL["remove"], message_id, channel_id, sender_id)
        return Message(*row) if row else None

    async def list(self, start: HistoryCursor, limit: int) -> list[Message]:
        """What lies beyond a position in the direction of its cursor, nearest first."""
        read = self._later if start.forward == start.ahead else self._earlier
        rows = await read(start.channel_id, start.at.created_at, start.at.id, limit)
        return [Message(*row) for row in rows]

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete what a player wrote."""
        await tx.execute(SQL["forget"], user_id)


async def _send(connection: asyncpg.Connection, messages: list[Message]) -> list[None]:
    rows = [
        (one.id, one.channel_id, one.code, one.sender_id, one.username, one.content, one.created_at) for one in messages
    ]
    await connection.execute(SQL["send"], *map(list, zip(*rows, strict=True)))
    return [None] * len(messages)
