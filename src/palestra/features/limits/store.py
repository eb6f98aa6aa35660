"""Rows of the record of limit changes, which are added and never changed."""

from __future__ import annotations

import asyncpg
import msgspec

from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.limits.contract import ChangedLimit, LimitChange, Lock
from palestra.features.limits.rules import Position

SQL = load_queries(__file__)


class Content(msgspec.Struct):
    """What a row says was changed."""

    limits: tuple[ChangedLimit, ...] = ()
    lock: Lock | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Content).decode


class LimitStore:
    """Reads and writes rows of `limit_changes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, change: LimitChange) -> None:
        """Add a row. Raises AccountNotFound for a player who is gone."""
        content = _encode(Content(change.limits, change.lock)).decode()
        try:
            await self._database.execute(SQL["record"], change.id, change.player_id, change.author, content, change.at)
        except asyncpg.ForeignKeyViolationError:
            raise AccountNotFound from None

    async def history(self, after: Position, limit: int) -> list[LimitChange]:
        """Up to `limit` changes behind a position, newest first. One round trip."""
        rows = await self._database.fetch(SQL["history"], after.player_id, after.at, after.id, limit)
        found = []
        for change_id, author, content, at in rows:
            decoded = _decode(content)
            found.append(LimitChange(change_id, after.player_id, author, decoded.limits, decoded.lock, at))
        return found
