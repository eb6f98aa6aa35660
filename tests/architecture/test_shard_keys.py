"""The page on sharding states a key for every table, and names truly what would not fit into one shard."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg
import pytest

from tests.architecture.sources import ROOT

PAGE = ROOT / "docs/guide/beyond-one-database.md"
_ROW = re.compile(r"^\| `([a-z_]+)` \| (\S+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
EVERYWHERE, ONE = "everywhere", "one"
UNIQUE = """
SELECT i.indrelid::regclass::text AS table,
    coalesce(array_agg(a.attname::text ORDER BY p.place) FILTER (WHERE a.attname IS NOT NULL), '{}') AS columns
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS p (number, place)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = p.number
WHERE i.indisunique GROUP BY i.indexrelid, i.indrelid
"""
FOREIGN = """
SELECT c.conrelid::regclass::text AS table, c.confrelid::regclass::text AS target,
    (SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey))
        AS columns,
    (SELECT array_agg(a.attname::text) FROM pg_attribute a
     WHERE a.attrelid = c.confrelid AND a.attnum = ANY (c.confkey)) AS referenced
FROM pg_constraint c WHERE c.contype = 'f'
"""
TABLES = """
SELECT c.oid::regclass::text AS name,
    (SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns
FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
"""


class Row(NamedTuple):
    """A line of the page."""

    key: str
    lives_with: str
    unique: str
    references: str


def stated() -> dict[str, Row]:
    """The page's table."""
    return {
        table: Row(key.strip("`"), *(cell.strip() for cell in cells))
        for table, key, *cells in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    }


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def test_every_table_has_a_key_that_it_has_as_a_column(connection: asyncpg.Connection) -> None:
    tables = {row["name"]: row["columns"] for row in await connection.fetch(TABLES)}
    rows = stated()
    assert sorted(rows) == sorted(tables)
    wrong = {name for name, row in rows.items() if row.key not in (EVERYWHERE, ONE, *tables[name])}
    assert wrong == set()


async def test_what_is_unique_across_shards_is_named(connection: asyncpg.Connection) -> None:
    rows = stated()
    found: dict[str, list[str]] = {name: [] for name in rows}
    for index in await connection.fetch(UNIQUE):
        row = rows.get(index["table"])
        if row is not None and row.key not in (EVERYWHERE, ONE, *index["columns"]):
            found[index["table"]].append(", ".join(index["columns"]))
    assert {name: row.unique for name, row in rows.items()} == _shown(found)


async def test_references_that_leave_a_shard_are_named(connection: asyncpg.Connection) -> None:
    rows = stated()
    found: dict[str, list[str]] = {name: [] for name in rows}
    for reference in await connection.fetch(FOREIGN):
        row, target = rows.get(reference["table"]), rows[reference["target"]]
        if row is None or target.key == EVERYWHERE or (row.key, target.key) == (ONE, ONE):
            continue
        together = row.lives_with == target.lives_with and row.key in reference["columns"]
        if not together or target.key not in reference["referenced"]:
            found[reference["table"]].append(f"{', '.join(reference['columns'])} → {reference['target']}")
    assert {name: row.references for name, row in rows.items()} == _shown(found)


def _shown(found: dict[str, list[str]]) -> dict[str, str]:
    """Constraints as the page shows them."""
    return {name: "; ".join(f"`{one}`" for one in sorted(several)) or "–" for name, several in found.items()}
