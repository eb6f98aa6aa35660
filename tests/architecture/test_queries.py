"""Every statement of the product: where it stands, that PostgreSQL accepts it, and that an index serves it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from tests.architecture.sources import PACKAGE, ROOT, Module, modules

SQL_IN_PYTHON = re.compile(r"\bSELECT\s|\bINSERT INTO\s|\bUPDATE\s+\S+\s+SET\b|\bDELETE FROM\s")
WHOLE_TABLE = re.compile(r"^-- plan: whole table, because \S+", re.MULTILINE)
BOOKKEEPING_TABLES = {"schema_migrations", "key_ring", "pgqueuer_schedules", "nodes", "leases"}
"""Tables that hold a handful of rows for ever; every other table must be seeded."""
SEEDED_ROWS_MIN = 10_000


class Query(NamedTuple):
    """One named statement of a queries.sql file."""

    where: str
    name: str
    text: str

    @property
    def label(self) -> str:
        return f"{self.where}: {self.name}"

    @property
    def comments(self) -> list[str]:
        """The lines that describe the statement."""
        return [line for line in self.text.splitlines() if line.startswith("-- ")]

    @property
    def reads_the_whole_table(self) -> bool:
        """Whether its author says, with a reason, that it reads a table from end to end."""
        return WHOLE_TABLE.search(self.text) is not None


def _queries() -> list[Query]:
    found = []
    for path in sorted(PACKAGE.rglob("queries.sql")):
        where = path.relative_to(ROOT).as_posix()
        pieces = re.split(r"^-- name: *(\S+) *\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found += [Query(where, name, text) for name, text in zip(pieces[1::2], pieces[2::2], strict=True)]
    return found


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def test_every_query_is_one_that_postgresql_accepts(connection: asyncpg.Connection) -> None:
    wrong = []
    for query in _queries():
        try:
            await connection.prepare(query.text)
        except asyncpg.PostgresError as error:
            wrong.append(f"{query.label}: {error}")
    assert not wrong, "\n".join(wrong)


async def test_every_query_is_served_by_an_index(
    connection: asyncpg.Connection,
) -> None:
    await connection.execute((Path(__file__).parent / "seed.sql").read_text(encoding="utf-8"))
    await _assert_every_table_is_seeded(connection)
    assert list(_whole_reads(await _plan(connection, "SELECT id FROM users WHERE location = $1"))) == ["users"]
    assert list(_whole_reads(await _plan(connection, "SELECT id FROM users WHERE username = $1"))) == []
    wrong = []
    for query in _queries():
        whole = sorted(set(_whole_reads(await _plan(connection, query.text))))
        if whole and not query.reads_the_whole_table:
            wrong.append(f"{query.label} reads all of {', '.join(whole)}")
    assert not wrong, "\n".join(wrong)


async def test_every_foreign_key_has_an_index_to_follow_it_back(connection: asyncpg.Connection) -> None:
    missing = await connection.fetch("""
        SELECT c.conrelid::regclass::text AS "table", c.conname AS name
        FROM pg_constraint c
        WHERE c.contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_index i
            WHERE i.indrelid = c.conrelid AND i.indpred IS NULL
              AND (i.indkey::smallint[])[0:cardinality(c.conkey) - 1] @> c.conkey)
    """)
    assert [f"{row['table']}: {row['name']}" for row in missing] == []


def test_every_query_has_its_own_name_and_says_what_it_is_for() -> None:
    queries = _queries()
    labels = [query.label for query in queries]
    assert sorted(set(labels)) == sorted(labels)
    assert [query.label for query in queries if not query.comments] == []


def test_features_hold_no_statement_outside_their_queries_file() -> None:
    wrong = [
        f"{module.where}:{line} holds SQL: {text!r}"
        for module in modules().values()
        if module.name.startswith("palestra.features.")
        for line, text in _strings(module)
        if SQL_IN_PYTHON.search(text)
    ]
    assert not wrong, "\n".join(wrong)


async def _assert_every_table_is_seeded(connection: asyncpg.Connection) -> None:
    tables = await connection.fetch("""
        SELECT relname AS name, reltuples::bigint AS rows FROM pg_class
        WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
    """)
    thin = {table["name"] for table in tables if table["rows"] < SEEDED_ROWS_MIN}
    assert thin - BOOKKEEPING_TABLES == set(), "give these tables rows in tests/architecture/seed.sql"


async def _plan(connection: asyncpg.Connection, text: str) -> dict[str, Any]:
    """The plan that PostgreSQL keeps for a statement whatever its arguments are."""
    count = len((await connection.prepare(text)).get_parameters())
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE looked_at AS {text}")
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE looked_at{arguments}")
    await connection.execute("DEALLOCATE looked_at")
    return json.loads(str(plan))[0]["Plan"]


def _whole_reads(node: dict[str, Any], limited: bool = False) -> Iterator[str]:
    """The tables that a plan reads from end to end: row by row, or along an index with neither condition nor limit."""
    kind, table = node["Node Type"], node.get("Relation Name", "")
    if table not in BOOKKEEPING_TABLES:
        along = kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in node and not limited
        if kind == "Seq Scan" or along:
            yield table
    for child in node.get("Plans", []):
        yield from _whole_reads(child, limited or kind == "Limit")


def _strings(module: Module) -> Iterator[tuple[int, str]]:
    """Every string constant with its line, documentation excepted."""
    documentation = {
        id(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value
