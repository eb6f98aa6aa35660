"""The migration runner: order, safety between nodes, and databases it must not touch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from palestra.core.errors import SetupError, Unavailable
from palestra.database.migrate import migrate
from palestra.database.pool import Database

FIRST = "-- migrate:up\nCREATE TABLE a (n int);\nINSERT INTO a VALUES (1);\n-- migrate:down\nDROP TABLE a;\n"
SECOND = "-- migrate:up\nALTER TABLE a ADD COLUMN m int NOT NULL DEFAULT 2;\n"


@pytest.fixture
async def empty(postgres_url: str) -> AsyncIterator[Database]:
    """A Database in which nothing was ever done."""
    name = f"test_{uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name}")
    database = Database(postgres_url.replace("/postgres?", f"/{name}?"))
    await database.open()
    yield database
    await database.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0002_more.sql").write_text(SECOND)
    (tmp_path / "0001_begin.sql").write_text(FIRST)
    (tmp_path / "README.md").write_text("not a migration")
    return tmp_path


async def test_files_are_applied_once_in_order_and_told_of(empty: Database, folder: Path) -> None:
    told: list[str] = []
    assert await migrate(empty, told.append, folder=folder) == ["0001_begin.sql", "0002_more.sql"]
    assert told == ["0001_begin.sql", "0002_more.sql"]
    assert tuple(await empty.fetchrow("SELECT n, m FROM a") or ()) == (1, 2)
    assert await migrate(empty, told.append, folder=folder) == []
    assert len(told) == 2
    (folder / "0003_last.sql").write_text("-- migrate:up\nDROP TABLE a;\n")
    assert await migrate(empty, folder=folder) == ["0003_last.sql"]


async def test_nothing_to_do_costs_one_statement(empty: Database, folder: Path) -> None:
    await migrate(empty, folder=folder)
    connection = await empty.connect()
    statements: list[str] = []
    with connection.query_logger(lambda query: statements.append(query.query)):
        assert await migrate(connection, folder=folder) == []
    await connection.close()
    assert len(statements) == 1


async def test_nodes_that_start_at_once_apply_each_file_once(empty: Database, folder: Path) -> None:
    done = await asyncio.gather(*(migrate(empty, folder=folder) for _ in range(6)))
    assert sorted(name for names in done for name in names) == ["0001_begin.sql", "0002_more.sql"]
    assert await empty.fetchval("SELECT count(*) FROM a") == 1


async def test_a_failing_file_leaves_nothing_and_keeps_what_came_before(empty: Database, folder: Path) -> None:
    (folder / "0002_more.sql").write_text("-- migrate:up\nCREATE TABLE b (n int);\nSELECT nonsense;\n")
    with pytest.raises(SetupError, match=r'0002_more\.sql failed and was undone: column "nonsense"'):
        await migrate(empty, folder=folder)
    assert await empty.fetchval("SELECT to_regclass('b')::text") is None
    assert await empty.fetchval("SELECT n FROM a") == 1
    (folder / "0002_more.sql").write_text(SECOND)
    assert await migrate(empty, folder=folder) == ["0002_more.sql"]


async def test_a_file_that_a_serving_node_gets_in_the_way_of_is_tried_again(empty: Database, folder: Path) -> None:
    """Both lock two tables in different orders; PostgreSQL lets the one fail that looks for a circle first."""
    await migrate(empty, folder=folder)
    await empty.execute("CREATE TABLE b (n int)")
    locks = "LOCK TABLE a IN ACCESS EXCLUSIVE MODE;\nSET LOCAL deadlock_timeout = '10ms';\nLOCK TABLE b;\n"
    (folder / "0003_locks.sql").write_text(f"-- migrate:up\n{locks}CREATE TABLE c (n int);\n")
    told = asyncio.Event()
    async with empty.transaction() as node:
        await node.execute("SET LOCAL deadlock_timeout = '1h'")
        await node.execute("LOCK TABLE b IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(migrate(empty, lambda name: told.set(), folder=folder))
        await told.wait()
        await node.execute("LOCK TABLE a IN ROW EXCLUSIVE MODE")
    assert await migrating == ["0003_locks.sql"]
    assert await empty.fetchval("SELECT to_regclass('c')::text") == "c"


async def test_a_file_changed_after_it_was_applied_is_refused(empty: Database, folder: Path) -> None:
    await migrate(empty, folder=folder)
    (folder / "0001_begin.sql").write_text(FIRST.replace("VALUES (1)", "VALUES (2)"))
    (folder / "0003_last.sql").write_text("-- migrate:up\nDROP TABLE a;\n")
    with pytest.raises(SetupError, match=r"0001_begin\.sql was changed after it was applied"):
        await migrate(empty, folder=folder)
    assert await empty.fetchval("SELECT n FROM a") == 1


async def test_line_ends_of_another_system_are_no_change(empty: Database, folder: Path) -> None:
    await migrate(empty, folder=folder)
    (folder / "0001_begin.sql").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert await migrate(empty, folder=folder) == []


async def test_a_database_from_the_future_is_refused(empty: Database, folder: Path) -> None:
    await migrate(empty, folder=folder)
    (folder / "0002_more.sql").unlink()
    with pytest.raises(SetupError, match=r"does not know: 0002_more\.sql"):
        await migrate(empty, folder=folder)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("3_short.sql", SECOND, "must be named like"),
        ("0002_again.sql", SECOND, "two migrations have the number 0002"),
        ("0003_none.sql", "SELECT 1;", "must have one line that says just `-- migrate:up`"),
        ("0003_option.sql", "-- migrate:up transaction:false\nSELECT 1;", "must have one line"),
    ],
)
async def test_a_file_of_no_proper_form_is_refused_before_anything_runs(
    empty: Database, folder: Path, name: str, text: str, complaint: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(SetupError, match=complaint):
        await migrate(empty, folder=folder)
    assert await empty.fetchval("SELECT to_regclass('a')::text") is None


async def test_the_platforms_own_migrations_apply_and_are_then_done(empty: Database) -> None:
    assert "0001_spine.sql" in await migrate(empty)
    assert await migrate(empty) == []


async def test_a_database_that_goes_away_meanwhile_is_no_fault_of_the_set_up(empty: Database, folder: Path) -> None:
    class Leaving(Database):
        """It says goodbye as soon as it was reached."""

        async def connect_directly(self) -> asyncpg.Connection:
            connection = await super().connect_directly()
            await empty.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            return connection

    with pytest.raises(Unavailable, match="went away"):
        await migrate(Leaving(empty.url), folder=folder)
