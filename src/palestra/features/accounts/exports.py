"""Everything about one player, read section by section as of one moment."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
import msgspec

from palestra.core.clock import Clock, timestamp, utc
from palestra.features.accounts.contract import (
    AccountExport,
    AccountNotFound,
    ExportsBusy,
    IdentityKind,
    Section,
)
from palestra.features.accounts.store import SQL, AccountStore

SECTION_ITEMS_MAX = 10_000
SECTION_BYTES_MAX = 4 << 20
PAGE_ROWS = 50
EXPORTS_AT_ONCE_MAX = 2
"""Of different players. Each holds a connection of the small pool, and `SECTION_BYTES_MAX` a section in memory."""


class Exports:
    """Makes exports of what features keep; `statements` by section, see `AccountExport`."""

    def __init__(self, store: AccountStore, statements: Mapping[str, str], clock: Clock) -> None:
        self._store = store
        self._statements = statements
        self._clock = clock
        self._being_made: set[str] = set()

    async def make(self, user_id: str) -> AccountExport:
        """Everything about a player. Raises AccountNotFound, ExportsBusy."""
        if user_id in self._being_made or len(self._being_made) >= EXPORTS_AT_ONCE_MAX:
            raise ExportsBusy
        self._being_made.add(user_id)
        try:
            return await self._read(user_id)
        finally:
            self._being_made.discard(user_id)

    async def _read(self, user_id: str) -> AccountExport:
        async with self._store.database.transaction("repeatable_read") as tx:
            identities = await self._store.identities_in(tx, user_id)
            if identities is None:
                raise AccountNotFound("Account not found.")
            await tx.execute(SQL["export_in_utc"])
            sections = {"identifiers": _identifiers(identities)}
            for name, statement in self._statements.items():
                sections[name] = await _section(tx, statement, user_id)
        return AccountExport(user_id, timestamp(utc(self._clock.now())), sections)


def _identifiers(identities: tuple[tuple[int, str], ...]) -> Section:
    """Devices, addresses and ids at providers, which only the key ring opens."""
    told = [{"kind": IdentityKind(kind).name.lower(), "id": text} for kind, text in identities[:SECTION_ITEMS_MAX]]
    return Section([msgspec.Raw(msgspec.json.encode(one)) for one in told], truncated=len(identities) > len(told))


async def _section(tx: asyncpg.Connection, statement: str, user_id: str) -> Section:
    """The rows of a statement, page by page, until the section is full."""
    items: list[msgspec.Raw] = []
    size_bytes = 0
    # One more than fits tells whether there are more.
    async for row in tx.cursor(statement, user_id, SECTION_ITEMS_MAX + 1, prefetch=PAGE_ROWS):
        text: bytes = row[0].encode()
        size_bytes += len(text)
        if len(items) >= SECTION_ITEMS_MAX or size_bytes > SECTION_BYTES_MAX:
            return Section(items, truncated=True)
        items.append(msgspec.Raw(text))
    return Section(items)
