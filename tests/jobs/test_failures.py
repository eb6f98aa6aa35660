"""Jobs that fail: tried again after a while, kept when they fail for good, and never in each other's way."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from palestra.core.errors import Unavailable
from palestra.database.pool import Database
from palestra.jobs import rules
from palestra.jobs.contract import Job
from tests.jobs.world import QUICK, SECONDS_MAX, Note, Recorder, World


def test_waits_double_up_to_the_longest_and_chance_takes_at_most_half() -> None:
    job = Job("note", Recorder(), back_off_seconds=2.0, back_off_seconds_max=100.0)
    assert [rules.back_off_seconds(job, attempt, 0.0) for attempt in range(1, 9)] == [2, 4, 8, 16, 32, 64, 100, 100]
    assert rules.back_off_seconds(job, 3, 1.0) == 4.0
    assert rules.back_off_seconds(job, 5_000, 0.5) == 75.0


async def test_a_failing_job_is_tried_again_until_it_succeeds(database: Database) -> None:
    seen = Recorder(failing=2)
    world = World(database, [Job("note", seen, Note, **QUICK)])
    async with world.worker():
        await world.queue.enqueue(None, "note", Note(1))
        await seen.called(3)
        await world.until_rows([])
    figures = world.queue.figures["note"]
    assert (figures.done, figures.retried, figures.failed, figures.running) == (1, 2, 0, 0)


async def test_it_waits_longer_each_time(database: Database) -> None:
    seen = Recorder(failing=1)
    world = World(database, [Job("note", seen, Note, back_off_seconds=600.0)])
    async with world.worker():
        await world.queue.enqueue(None, "note", Note(1))
        await world.until_rows([("queued", 1)])
    waits = await database.fetchval("SELECT extract(epoch FROM execute_after - updated)::float8 FROM pgqueuer")
    assert 300 <= waits <= 600


async def test_a_job_that_fails_for_good_is_kept_told_and_counted(database: Database) -> None:
    seen = Recorder(failing=9)
    world = World(database, [Job("note", seen, Note, attempts_max=3, **QUICK)])
    with capture_logs() as logs:
        async with world.worker():
            await world.queue.enqueue(None, "note", Note(1), dedupe_key="a")
            await world.until_rows([("failed", 2)])
            assert await world.queue.enqueue(None, "note", Note(1), dedupe_key="a"), "it is not in the way"
            await world.until_rows([("failed", 2)] * 2)
    assert len(seen.calls) == 6
    assert world.queue.figures["note"].failed == 2
    told = [(entry["event"], entry.get("attempt") or entry["attempts"]) for entry in logs]
    assert told == [*[("job failed, it is tried again", n) for n in (1, 2)], ("job failed for good", 3)] * 2
    assert "OSError: not now" in next(entry["reason"] for entry in logs if entry["event"] == "job failed for good")
    kept = await database.fetchval("SELECT traceback->>'exception_message' FROM pgqueuer_log WHERE status = 'failed'")
    assert "OSError: not now" in kept


@pytest.mark.parametrize("raw", [b'{"n": "one"}', b"{", b"\xff", b"[" * 5_000, None])
async def test_a_payload_that_cannot_be_read_fails_at_once_with_the_reason(
    database: Database, raw: bytes | None
) -> None:
    seen = Recorder()
    world = World(database, [Job("note", seen, Note)])
    await world.queue.enqueue(None, "note", Note(1))
    await database.execute("UPDATE pgqueuer SET payload = $1", raw)
    with capture_logs() as logs:
        async with world.worker():
            await world.until_rows([("failed", 0)])
    assert seen.calls == []
    assert [(e["event"], e["attempts"]) for e in logs] == [("job failed for good", 1)]
    assert logs[0]["reason"].startswith("its payload cannot be read: ")


async def test_a_job_that_takes_too_long_is_cut_off_and_has_failed(database: Database) -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    world = World(database, [Job("endless", endless, seconds_max=0.05, attempts_max=1)])
    with capture_logs() as logs:
        async with world.worker():
            await world.queue.enqueue(None, "endless")
            await world.until_rows([("failed", 0)])
    assert "longer than 0.05 s" in logs[0]["reason"]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("\0 and \ud800"),
        asyncio.CancelledError(),
        BaseException("rare"),
        Unavailable("away"),
        OSError("x" * 99_999),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_job_raises_it_is_a_failed_try_and_others_are_done(
    database: Database, error: BaseException
) -> None:
    bad, good = Recorder(failing=9, error=error), Recorder()
    world = World(database, [Job("bad", bad, attempts_max=2, **QUICK), Job("good", good)])
    async with world.worker():
        await world.queue.enqueue(None, "bad")
        await world.queue.enqueue(None, "good")
        await world.until_rows([("failed", 1)])
    assert (len(bad.calls), len(good.calls)) == (2, 1)
    kept = await database.fetchval("SELECT max(length(traceback->>'exception_message')) FROM pgqueuer_log")
    assert kept <= rules.ERROR_CHARS_MAX


async def test_a_job_of_a_newer_version_waits_for_a_worker_that_knows_it(database: Database) -> None:
    old, new = Recorder(), Recorder()
    older = World(database, [Job("note", old, Note)])
    newer = World(database, [Job("note", old, Note), Job("note.v2", new, Note)])
    async with older.worker():
        await newer.queue.enqueue(None, "note.v2", Note(1))
        await newer.queue.enqueue(None, "note", Note(2))
        await old.called(1)
        await older.until_rows([("queued", 0)])
        async with newer.worker():
            await new.called(1)
            await newer.until_rows([])


async def test_jobs_that_are_declared_later_are_run_and_those_taken_back_wait(database: Database) -> None:
    first, second = Recorder(), Recorder()
    world = World(database, [Job("first", first)])
    async with world.worker() as worker:
        await world.queue.enqueue(None, "first")
        await first.called(1)
        world.queue.declare("tests", [Job("first", first), Job("second", second)])
        worker.refresh()
        await world.queue.enqueue(None, "second")
        await second.called(1)
        world.queue.declare("more", [Job("third", second)])
        world.queue.declare("tests", [Job("second", second)])
        worker.refresh()
        await database.execute("INSERT INTO pgqueuer (priority, entrypoint, status) VALUES (0, 'first', 'queued')")
        await world.queue.enqueue(None, "third")
        await second.called(2)
        async with asyncio.timeout(SECONDS_MAX):
            while [status for status, _ in await world.rows()] != ["queued"]:
                pass
    assert len(first.calls) == 1


async def test_tidying_drops_old_lines_and_old_failures_and_nothing_else(database: Database) -> None:
    world = World(database, [], log_keep_days=7, failed_keep_days=30)
    await database.execute("""
        INSERT INTO pgqueuer (priority, entrypoint, status, updated)
        SELECT 0, 'note', status::pgqueuer_status, now() - days * interval '1 day'
        FROM (VALUES ('failed'), ('queued'), ('picked')) AS s (status), generate_series(29, 31, 2) AS days
    """)
    await database.execute("""
        INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, created)
        SELECT n, 'successful', 0, 'note', now() - (6 + 2 * (n % 2)) * interval '1 day'
        FROM generate_series(1, 12000) AS n
    """)
    await world.queue.tidy()
    assert sorted(await world.rows()) == [("failed", 0), *[("picked", 0)] * 2, *[("queued", 0)] * 2]
    assert await database.fetchval("SELECT count(*) FROM pgqueuer_log") == 6_000
    assert [(job.name, bool(job.cron)) for job in world.queue.jobs()] == [("jobs.tidy", True)]
