"""The rows of storage indexes: written in the transaction of the objects, built chunk by chunk, looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import asyncpg

from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.storage.contract import Index
from palestra.features.storage.index_rules import IndexChange, Sort, Stretch
from palestra.features.storage.rules import Row

SQL = load_queries(__file__)


class Entry(NamedTuple):
    """An object in an index; `fields` is the JSON of what the index looks at."""

    key: str
    user_id: str
    permission_read: int
    fields: str


class IndexStore:
    """Reads and writes rows of `object_indexes`, `object_index_entries` and `object_index_values`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def declare(self, index_ids: Sequence[str]) -> dict[str, bool]:
        """Know these indexes from now on; all that there are, and whether they are ready. Two round trips."""
        await self._database.execute(SQL["declare_indexes"], index_ids)
        return {row[0]: row[1] for row in await self._database.fetch(SQL["all_indexes"])}

    async def is_ready(self, index_id: str) -> bool:
        """Whether an index holds all objects."""
        return bool(await self._database.fetchval(SQL["index_is_ready"], index_id))

    async def build_chunk(
        self, index: Index, size: int, change: Callable[[Row], IndexChange | None]
    ) -> tuple[bool, int]:
        """Enter the next objects of the collection; whether there are more, and how many were looked at so far.

        Objects are held meanwhile, so that whoever writes one of them comes before or after. One transaction.
        """
        async with self._database.transaction() as tx:
            at = await tx.fetchrow(SQL["lock_index"], index.id)
            if at is None or at["ready"]:
                return False, 0 if at is None else at["built_rows"]
            rows = await tx.fetch(SQL["objects_to_index"], index.collection, at["built_key"], at["built_user"], size)
            objects = [Row((index.collection, row[0], row[1]), row[2], "", row[3], row[4], "", True) for row in rows]
            changes = [found for found in map(change, objects) if found is not None]
            await change_indexes(tx, changes)
            last = objects[-1].id[1:] if objects else (at["built_key"], at["built_user"])
            done = at["built_rows"] + len(rows)
            await tx.execute(SQL["note_progress"], index.id, *last, done, len(rows) < size)
            return len(rows) == size, done

    async def drop_chunk(self, index_id: str, size: int) -> bool:
        """Take some objects out of an index, the index itself with the last; whether there are more."""
        async with self._database.transaction() as tx:
            rows = await tx.fetch(SQL["entries_to_drop"], index_id, size)
            await change_indexes(tx, [IndexChange(index_id, row[0], row[1]) for row in rows])
            if len(rows) < size:
                await tx.execute(SQL["forget_index"], index_id)
            return len(rows) == size

    async def lengths(self, index_id: str, stretches: Sequence[Stretch], limit: int) -> list[int]:
        """How many values lie in each of some stretches, counted up to a limit. One round trip."""
        rows = await self._database.fetch(SQL["stretch_lengths"], index_id, *zip(*stretches, strict=True), limit)
        return [row[0] for row in rows]

    async def narrowed(self, index_id: str, stretches: Sequence[Stretch], limit: int) -> list[Entry]:
        """The entries that have a value in one of some stretches. One round trip."""
        rows = await self._database.fetch(SQL["narrowed"], index_id, *zip(*stretches, strict=True), limit)
        return [Entry(*row) for row in rows]

    async def walked(
        self, index_id: str, field: str, downwards: bool, after: Sort | None, limit: int
    ) -> list[tuple[Sort, Entry]]:
        """Entries in the order of a field, behind a place. One round trip."""
        start = after or (_LAST if downwards else _FIRST)
        rows = await self._database.fetch(SQL["walk_down" if downwards else "walk_up"], index_id, field, *start, limit)
        return [(Sort(*row[:5]), Entry(*row[3:])) for row in rows]


_FIRST = Sort(-1, 0.0, "", "", "00000000-0000-0000-0000-000000000000")
_LAST = Sort(4, 0.0, "", "", "00000000-0000-0000-0000-000000000000")


async def change_indexes(tx: asyncpg.Connection, changes: Sequence[IndexChange]) -> None:
    """Enter objects, or take them out, in the transaction that holds them."""
    entering = [one for one in changes if one.enters]
    if changes:
        await tx.execute(SQL["take_out"], *_columns((one.index_id, one.key, one.user_id) for one in changes))
    if not entering:
        return
    entries = ((one.index_id, one.key, one.user_id, one.permission_read, one.fields) for one in entering)
    await tx.execute(SQL["enter"], *_columns(entries))
    rows = (
        (one.index_id, *value, one.key, one.user_id, sorts)
        for one in entering
        for sorts, several in ((False, one.found_by), (True, one.sorted_by))
        for value in several
    )
    await tx.execute(SQL["enter_values"], *_columns(rows))


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
