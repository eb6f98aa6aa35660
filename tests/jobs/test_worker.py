"""A worker through a stop, a lost connection and a restart of its database: no job is lost, its outcome neither."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from palestra.database.embedded import EmbeddedPostgres
from palestra.database.migrate import migrate
from palestra.database.pool import Database
from palestra.jobs.connection import WorkerConnection
from palestra.jobs.contract import Job
from palestra.jobs.engine import Statements
from tests.jobs.world import QUICK, Note, Recorder, World, until

LOST = "the worker's connection is lost, it makes another"
WORKERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%pgqueuer%' AND pid != pg_backend_pid()
"""


class Gate:
    """A handler that waits for the test's word."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.going = asyncio.Event()
        self.ended: list[str] = []

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await self.going.wait()
            self.ended.append("done")
        except asyncio.CancelledError:
            self.ended.append("cut off")
            raise


async def test_pgqueuer_finds_its_schema_as_it_would_have_made_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHANNEL", "PGQUEUER_PREFIX", "QUEUE_TABLE", "PGQUEUER_SCHEMA", "DURABILITY"):
        monkeypatch.setenv(name, "volatile")
    connection = WorkerConnection(database)
    try:
        plan = await Statements(connection).plan_upgrade()
        assert (plan.statements, plan.notes) == ((), ())
    finally:
        await connection.close()


async def test_a_stop_lets_jobs_in_hand_finish_and_takes_no_others(database: Database) -> None:
    gate = Gate()
    world = World(database, [Job("gate", gate)])
    async with world.worker() as worker:
        await world.queue.enqueue(None, "gate")
        await gate.begun.wait()
        stop = asyncio.ensure_future(worker.stop(20))
        await until(worker._stopping.is_set)
        await world.queue.enqueue(None, "gate")
        gate.going.set()
        await stop
    assert gate.ended == ["done"]
    assert await world.rows() == [("queued", 0)]


async def test_a_job_that_outlasts_the_stop_goes_back_to_the_queue_and_is_run_again(database: Database) -> None:
    gate, again = Gate(), Recorder()
    world = World(database, [Job("gate", gate, attempts_max=1)])
    await world.queue.enqueue(None, "gate")
    async with world.worker() as worker:
        await gate.begun.wait()
        await worker.stop(0)
        assert gate.ended == ["cut off"]
        assert await world.rows() == [("queued", 1)]
    assert world.queue.figures["gate"].failed == 0
    world.queue.declare("tests", [Job("gate", again, attempts_max=1)])
    async with world.worker():
        await again.called(1)
        await world.until_rows([])


async def test_a_job_whose_process_cancels_everything_is_run_again_when_its_heartbeat_is_overdue(
    database: Database,
) -> None:
    gate = Gate()
    world = World(database, [Job("gate", gate)])
    await world.queue.enqueue(None, "gate")
    mine = asyncio.all_tasks()
    async with world.worker():
        await gate.begun.wait()
        # As the end of `asyncio.run` does.
        theirs = asyncio.all_tasks() - mine
        for task in theirs:
            task.cancel()
        await asyncio.wait(theirs)
    assert gate.ended == ["cut off"]
    assert await world.rows() == [("picked", 0)]
    gate.going.set()
    async with world.worker():
        await world.until_rows([])
    assert gate.ended == ["cut off", "done"]


async def test_a_job_that_takes_longer_than_the_heartbeat_is_not_taken_by_another(database: Database) -> None:
    gate, beats = Gate(), set()
    world = World(database, [Job("gate", gate)], heartbeat_timeout_seconds=0.4)
    async with world.worker(), world.worker():
        await world.queue.enqueue(None, "gate")
        async with asyncio.timeout(20):
            while len(beats) < 6:
                beats.add(await database.fetchval("SELECT heartbeat FROM pgqueuer"))
        gate.going.set()
        await world.until_rows([])
    assert gate.ended == ["done"]


async def test_a_killed_connection_is_replaced_and_the_job_in_hand_does_not_notice(database: Database) -> None:
    gate, seen = Gate(), Recorder()
    # Polling is out of the question here: it must hear of new jobs again.
    world = World(database, [Job("gate", gate), Job("note", seen, Note)], poll_seconds=60.0)
    with capture_logs() as logs:
        async with world.worker():
            await world.queue.enqueue(None, "gate")
            await gate.begun.wait()
            assert await database.fetch(WORKERS)
            await until(lambda: any(entry["event"] == LOST for entry in logs))
            await world.queue.enqueue(None, "note", Note(1))
            await seen.called(1)
            gate.going.set()
            await world.until_rows([])
    assert gate.ended == ["done"]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A server to be stopped and killed."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("away"))
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_work_goes_on_after_the_database_was_away(server: EmbeddedPostgres, how: str) -> None:
    gate, seen = Gate(), Recorder(failing=1)
    database = Database(await server.start())
    await database.open()
    await migrate(database)
    world = World(
        database, [Job("gate", gate), Job("note", seen, Note, **QUICK), Job("tick", Recorder(), cron="* * * * * * *")]
    )
    with capture_logs() as logs:
        async with world.worker():
            await world.queue.enqueue(None, "gate")
            await gate.begun.wait()
            for n in range(20):
                await world.queue.enqueue(None, "note", Note(n), run_after_seconds=0.2)
            if how == "stopped":
                await server.stop()
            else:
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
                await until(lambda: server.pid is None)
            # It ends while there is nobody to tell; that is told later.
            gate.going.set()
            await until(lambda: any(entry["event"] == LOST for entry in logs))
            await server.start()
            await seen.called(21)
            async with asyncio.timeout(20):
                while await database.fetchval("SELECT count(*) FROM pgqueuer WHERE entrypoint != 'tick'"):
                    pass
    await database.close()
    # Twice at most, when the database was away for longer than a heartbeat may be.
    assert set(gate.ended) == {"done"}
    assert set(seen.calls) == set(range(20))
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []


async def test_a_stop_while_the_database_is_away_ends_and_the_job_is_still_there(server: EmbeddedPostgres) -> None:
    gate = Gate()
    url = await server.start()
    database = Database(url)
    await database.open()
    await migrate(database)
    world = World(database, [Job("gate", gate)])
    async with world.worker() as worker:
        await world.queue.enqueue(None, "gate")
        await gate.begun.wait()
        await server.stop()
        async with asyncio.timeout(5):
            await worker.stop(0.1)
    await database.close()
    connection = await asyncpg.connect(await server.start())
    assert await connection.fetchval("SELECT status::text FROM pgqueuer") == "picked"
    await connection.close()
