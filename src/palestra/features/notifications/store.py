"""Rows of notifications, and the batches that senders and readers share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from palestra.core.config import DatabaseSettings
from palestra.core.errors import PalestraError
from palestra.core.ids import SYSTEM_USER
from palestra.database.batch import Batch
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.notifications.contract import BadContent, Notification, PlatformCode
from palestra.features.notifications.rules import Position

SQL = load_queries(__file__)
ID_BYTES = 32
"""About what an id takes in a statement."""

Deletion = tuple[str | None, Sequence[str]]
"""Whose notifications are to be deleted, None for anybody's, and their ids."""


class NotificationStore:
    """Reads and writes rows of `notifications`."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._database = database
        limits: dict[str, Any] = {"rows_max": settings.batch_rows_max, "queue_max": settings.batch_queue_max}
        # In one lane and in order: nobody may see a notification while an earlier one is still to come, or a reader's
        # cursor would pass that by.
        self._keep: Batch[Notification, bool] = Batch(
            "notifications.keep",
            database,
            _keep,
            size_bytes=lambda one: len(one.content) + len(one.subject),
            idempotent=True,
            **limits,
        )
        self._delete: Batch[Deletion, None] = Batch(
            "notifications.delete",
            database,
            _delete,
            size_bytes=lambda item: ID_BYTES * len(item[1]),
            idempotent=True,
            **limits,
        )
        lookups = Lookups("notifications.lookup", database, settings)
        self._list = lookups.of(SQL["list"], by_limit)
        self.batches = [self._keep, self._delete, *lookups.batches]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    async def keep(self, notifications: Sequence[Notification]) -> list[bool | BaseException]:
        """Store notifications: for each, whether there is such a player, or what went wrong.

        They are queued at once, before anything is waited for.
        """
        outcomes = await asyncio.gather(*map(self._queued, notifications), return_exceptions=True)
        return [BadContent() if isinstance(outcome, asyncpg.DataError) else outcome for outcome in outcomes]

    def _queued(self, notification: Notification) -> asyncio.Future[bool]:
        try:
            return self._keep.submit(notification)
        except PalestraError as error:
            refused: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    async def list(self, user_id: str, after: Position, limit: int) -> list[Notification]:
        """A player's notifications behind a position."""
        rows = await self._list(user_id, after.created_at, after.id, limit)
        return [_notification(row) for row in rows]

    async def get(self, ids: Sequence[str], user_id: str | None) -> list[Notification]:
        """Notifications by id."""
        return [_notification(row) for row in await self._database.fetch(SQL["get"], ids, user_id)]

    async def update(self, changes: Sequence[tuple[str, str | None, str | None, str | None]]) -> None:
        """Set (id, subject, content, sender) where not None. Raises BadContent."""
        try:
            await self._database.execute(SQL["update"], *map(list, zip(*changes, strict=True)))
        except asyncpg.DataError:
            raise BadContent from None

    async def delete(self, ids: Sequence[str], user_id: str | None) -> None:
        """Delete notifications, in a round trip shared with others."""
        await self._delete.submit((user_id, ids))

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete what a player was told and what the platform told of the player; take the name off the rest."""
        await tx.execute(SQL["forget"], user_id, min(PlatformCode), SYSTEM_USER)

    async def players_after(self, user_id: str, limit: int) -> list[str]:
        """Ids of players in their order, behind one."""
        return [row[0] for row in await self._database.fetch(SQL["players_after"], user_id, limit)]


def _notification(row: Iterable[Any]) -> Notification:
    identity, user_id, subject, content, code, sender_id, created_at = row
    return Notification(
        identity, user_id, subject, content, code, "" if sender_id == SYSTEM_USER else sender_id, created_at
    )


async def _keep(connection: asyncpg.Connection, notifications: list[Notification]) -> list[bool]:
    rows = [
        (one.id, one.user_id, one.subject, one.content, one.code, one.sender_id or SYSTEM_USER, one.created_at)
        for one in notifications
    ]
    try:
        known = {row[0] for row in await connection.fetch(SQL["keep"], *map(list, zip(*rows, strict=True)))}
    except asyncpg.ForeignKeyViolationError:
        # A player was deleted in this very moment. The batch is run again item by item; one that is alone knows that
        # it is theirs.
        if len(notifications) > 1:
            raise
        return [False]
    return [one.id in known for one in notifications]


async def _delete(connection: asyncpg.Connection, items: list[Deletion]) -> list[None]:
    pairs = [(user_id, one) for user_id, ids in items for one in ids]
    await connection.execute(SQL["delete"], *map(list, zip(*pairs, strict=True)))
    return [None] * len(items)
