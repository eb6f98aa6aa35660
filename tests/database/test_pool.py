"""The way to the database: transactions, limits, and a server that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from palestra.core.errors import DeadlineExceeded, OutcomeUnknown, Overloaded, PalestraError, SetupError, Unavailable
from palestra.database import pool as pool_module
from palestra.database.embedded import EmbeddedPostgres
from palestra.database.pool import Database, redacted


@pytest.fixture
async def table(database: Database) -> Database:
    """A Database with an empty table `numbers (n int primary key)`."""
    await database.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
    return database


@pytest.fixture
async def server(with_database: Callable[[Path], Path], tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server of this test's own, to be stopped and started at will."""
    server = EmbeddedPostgres(with_database(tmp_path), extra_settings={"fsync": "off"})
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def on_server(server: EmbeddedPostgres) -> AsyncIterator[Database]:
    database = Database(await server.start())
    await database.open()
    yield database
    await database.close()


async def test_a_transaction_keeps_its_work_when_the_block_ends_well(table: Database) -> None:
    async with table.transaction() as tx:
        await tx.execute("INSERT INTO numbers VALUES (1)")
        assert await table.fetchval("SELECT count(*) FROM numbers") == 0
        assert await tx.fetchval("SHOW transaction_isolation") == "read committed"
    assert await table.fetchval("SELECT count(*) FROM numbers") == 1


async def test_a_transaction_undoes_its_work_when_the_block_raises(table: Database) -> None:
    with pytest.raises(LookupError):
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO numbers VALUES (1)")
            raise LookupError
    assert await table.fetchval("SELECT count(*) FROM numbers") == 0


async def test_a_stricter_isolation_can_be_asked_for(database: Database) -> None:
    async with database.transaction("serializable") as tx:
        assert await tx.fetchval("SHOW transaction_isolation") == "serializable"


async def test_one_off_statements_answer_rows_values_and_tags(table: Database) -> None:
    assert await table.execute("INSERT INTO numbers SELECT generate_series(1, $1::int)", 3) == "INSERT 0 3"
    assert [row["n"] for row in await table.fetch("SELECT n FROM numbers ORDER BY n")] == [1, 2, 3]
    assert await table.fetchval("SELECT n FROM numbers WHERE n > $1", 2) == 3
    assert await table.fetchrow("SELECT n FROM numbers WHERE n > $1", 3) is None


async def test_errors_of_a_statement_pass_unchanged(table: Database) -> None:
    await table.execute("INSERT INTO numbers VALUES (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await table.execute("INSERT INTO numbers VALUES (1)")
    with pytest.raises(asyncpg.DataError):
        await table.execute("INSERT INTO numbers VALUES ($1)", "not a number")
    assert table.available


async def test_a_time_out_of_the_callers_own_is_not_taken_for_a_lost_server(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with database.transaction():
            raise TimeoutError
    assert database.available


async def test_a_statement_that_runs_too_long_is_ended(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "STATEMENT_SECONDS_MAX", 0.05)
    database = Database(database_url)
    await database.open()
    with pytest.raises(DeadlineExceeded):
        await database.fetchval("SELECT pg_sleep(60)")
    assert await database.fetchval("SELECT 1") == 1
    await database.close()


async def test_callers_that_find_no_free_connection_in_time_are_told_to_come_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "WAIT_SECONDS_MAX", 0.05)
    database = Database(database_url, pool_connections_max=1)
    await database.open()
    async with database.transaction() as tx:
        with pytest.raises(Overloaded):
            await database.fetchval("SELECT 1")
        assert await tx.fetchval("SELECT 1") == 1
    assert await database.fetchval("SELECT 1") == 1
    await database.close()


async def test_callers_beyond_the_waiting_limit_are_told_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "WAITING_MAX", 1)
    database = Database(database_url, pool_connections_max=1)
    await database.open()
    async with database.transaction():
        waiting = asyncio.create_task(database.fetchval("SELECT 1"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await database.fetchval("SELECT 2")
    assert await waiting == 1
    await database.close()


async def test_a_cancelled_caller_gives_its_connection_back(database_url: str) -> None:
    database = Database(database_url, pool_connections_max=1)
    await database.open()
    for _ in range(3):
        asleep = asyncio.create_task(database.fetchval("SELECT pg_sleep(60)"))
        watcher = await database.connect()
        while not await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"):
            pass
        await watcher.close()
        asleep.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asleep
    assert await database.fetchval("SELECT 1") == 1
    await database.close()


async def test_callers_meet_unavailable_while_the_server_is_away_and_success_when_it_is_back(
    server: EmbeddedPostgres, on_server: Database
) -> None:
    await on_server.execute("CREATE TABLE kept (n serial)")
    outcomes: set[str] = set()
    succeeded = asyncio.Condition()
    finished = False

    async def call() -> None:
        while not finished:
            try:
                async with on_server.transaction() as tx:
                    await tx.execute("INSERT INTO kept DEFAULT VALUES")
                outcomes.add("done")
            except Unavailable as error:
                assert error.retry_after_seconds == 1.0
                outcomes.add("unavailable")
            async with succeeded:
                succeeded.notify_all()

    callers = [asyncio.create_task(call()) for _ in range(12)]
    for _ in range(2):
        for expected in ("done", "unavailable"):
            outcomes.clear()
            async with succeeded:
                await asyncio.wait_for(succeeded.wait_for(lambda: expected in outcomes), 30)  # noqa: B023
            await (server.stop() if expected == "done" else server.start())
    outcomes.clear()
    async with succeeded:
        await asyncio.wait_for(succeeded.wait_for(lambda: "done" in outcomes), 30)
    finished = True
    await asyncio.gather(*callers)
    assert await on_server.fetchval("SELECT 1") == 1


async def test_availability_comes_back_without_anybody_asking(
    server: EmbeddedPostgres, on_server: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "PROBE_SECONDS", 0.01)
    assert await on_server.fetchval("SELECT 1") == 1 and on_server.available
    await server.stop()
    with pytest.raises(Unavailable):
        await on_server.fetchval("SELECT 1")
    with pytest.raises(Unavailable):
        await on_server.connect()
    assert not on_server.available
    await server.start()
    async with asyncio.timeout(30):
        while not on_server.available:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_session_ended_within_a_transaction_is_unavailable_and_the_next_one_works(table: Database) -> None:
    with pytest.raises(Unavailable) as lost:
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO numbers VALUES (1)")
            await table.execute("SELECT pg_terminate_backend($1)", tx.get_server_pid())
            await tx.execute("INSERT INTO numbers VALUES (2)")
    assert not isinstance(lost.value, OutcomeUnknown)
    assert await table.fetchval("SELECT count(*) FROM numbers") == 0


async def test_a_session_lost_before_the_commit_has_certainly_done_nothing(table: Database) -> None:
    with pytest.raises(Unavailable, match="before the commit") as lost:
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO numbers VALUES (1)")
            ended = asyncio.Event()
            tx.add_termination_listener(lambda _: ended.set())
            await table.execute("SELECT pg_terminate_backend($1)", tx.get_server_pid())
            await asyncio.wait_for(ended.wait(), 10)
    assert not isinstance(lost.value, OutcomeUnknown)
    assert await table.fetchval("SELECT count(*) FROM numbers") == 0


async def test_a_session_lost_during_the_commit_has_an_unknown_outcome(table: Database) -> None:
    await table.execute("""
        CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON numbers DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION leave();
    """)
    with pytest.raises(OutcomeUnknown):
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO numbers VALUES (1)")


async def test_a_database_that_does_not_exist_is_a_mistake_in_the_settings(postgres_url: str) -> None:
    database = Database(postgres_url.replace("/postgres?", "/nowhere?"))
    await database.open()
    with pytest.raises(SetupError, match='"nowhere" does not exist'):
        await database.fetchval("SELECT 1")
    with pytest.raises(SetupError, match="Check the database URL"):
        await database.connect()
    await database.close()


async def test_a_url_that_cannot_be_understood_is_refused_when_opened() -> None:
    with pytest.raises(SetupError, match=r"mysql://ann:\*\*\*@host/game must begin with postgresql://"):
        await Database("mysql://ann:secret@host/game").open()


async def test_a_closed_database_says_so() -> None:
    with pytest.raises(PalestraError, match="not open"):
        await Database("postgresql://localhost/none").fetchval("SELECT 1")


async def test_connections_say_whose_they_are(database: Database) -> None:
    assert await database.fetchval("SHOW application_name") == "palestra"
    connection = await database.connect()
    assert await connection.fetchval("SHOW application_name") == "palestra"
    await connection.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3:cr@t@db.example/game", "postgresql://ann:***@db.example/game"),
        ("postgresql://ann@db.example/game", "postgresql://ann@db.example/game"),
        ("postgresql:///game?host=/run", "postgresql:///game?host=/run"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown
