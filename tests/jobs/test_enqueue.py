"""Putting jobs into the queue: with the caller's transaction or not at all, once per key, later, within limits."""

from __future__ import annotations

import asyncio
import time

import pytest

from palestra.core.errors import SetupError
from palestra.database.pool import Database
from palestra.jobs.contract import DEDUPE_KEY_CHARS_MAX, PAYLOAD_BYTES_MAX, RUN_AFTER_SECONDS_MAX, Job, JobTooLarge
from tests.jobs.world import Note, Recorder, World


async def test_a_job_exists_if_and_only_if_its_transaction_commits(database: Database) -> None:
    seen = Recorder()
    world = World(database, [Job("note", seen, Note)])
    async with world.worker():
        with pytest.raises(KeyError):
            async with database.transaction() as tx:
                await world.queue.enqueue(tx, "note", Note(1))
                raise KeyError("the caller's own")
        async with database.transaction() as tx:
            await world.queue.enqueue(tx, "note", Note(2))
            assert seen.calls == []
        await seen.called(1)
        await world.until_rows([])
    assert seen.calls == [2]
    assert world.queue.figures["note"].done == 1


async def test_many_jobs_are_each_done_once_by_two_workers(database: Database) -> None:
    seen = Recorder()
    world = World(database, [Job("note", seen, Note)])
    async with world.worker(), world.worker():
        await asyncio.gather(*[world.queue.enqueue(None, "note", Note(n)) for n in range(300)])
        await seen.called(300)
        await world.until_rows([])
    assert sorted(n for n in seen.calls if n is not None) == list(range(300))


async def test_no_more_jobs_than_the_limit_are_in_hand(database: Database) -> None:
    going, most = asyncio.Event(), 0

    async def note(given: Note) -> None:
        nonlocal most
        most = max(most, world.queue.figures["note"].running)
        await going.wait()

    world = World(database, [Job("note", note, Note)], concurrency_max=4)
    for n in range(20):
        await world.queue.enqueue(None, "note", Note(n))
    async with world.worker():
        await world.until_rows([("picked", 0)] * 4 + [("queued", 0)] * 16)
        going.set()
        await world.until_rows([])
    assert most == 4


async def test_a_second_job_of_a_key_is_not_queued_while_the_first_waits_or_runs(database: Database) -> None:
    begun, going = asyncio.Event(), asyncio.Event()

    async def note(given: Note) -> None:
        begun.set()
        await going.wait()

    world = World(database, [Job("note", note, Note), Job("other", note, Note)])
    enqueue = world.queue.enqueue
    assert await enqueue(None, "note", Note(1), dedupe_key="a")
    assert not await enqueue(None, "note", Note(2), dedupe_key="a")
    assert await enqueue(None, "note", Note(3), dedupe_key="b")
    assert await enqueue(None, "other", Note(4), dedupe_key="a"), "keys belong to their job"
    async with world.worker():
        await begun.wait()
        assert not await enqueue(None, "note", Note(5), dedupe_key="a")
        going.set()
        await world.until_rows([])
        assert await enqueue(None, "note", Note(6), dedupe_key="a")
        await world.until_rows([])
    assert world.queue.figures["note"].done == 3


async def test_a_delayed_job_runs_when_its_time_has_come_and_not_before(database: Database) -> None:
    seen = Recorder()
    world = World(database, [Job("note", seen, Note)], poll_seconds=60.0)
    async with world.worker():
        started = time.monotonic()
        await world.queue.enqueue(None, "note", Note(1), run_after_seconds=0.5)
        await world.queue.enqueue(None, "note", Note(2))
        await seen.called(2)
        assert seen.calls == [2, 1]
        assert 0.5 <= time.monotonic() - started < 5


async def test_what_is_no_job_is_refused_with_a_reason(database: Database) -> None:
    seen = Recorder()
    world = World(database, [Job("note", seen, Note), Job("tick", seen), Job("text", seen, str)])
    enqueue = world.queue.enqueue
    fits = "x" * (PAYLOAD_BYTES_MAX - 2)
    assert await enqueue(None, "text", fits)
    with pytest.raises(JobTooLarge, match=str(PAYLOAD_BYTES_MAX)):
        await enqueue(None, "text", fits + "x")
    for told, name, payload, options in (
        ("no job 'noet'; did you mean 'note'", "noet", Note(1), {}),
        ("Expected `int`", "note", {"n": "one"}, {}),
        ("takes no payload", "tick", Note(1), {}),
        ("it can wait", "tick", None, {"run_after_seconds": RUN_AFTER_SECONDS_MAX + 1}),
        ("it can wait", "tick", None, {"run_after_seconds": -1}),
        ("it can wait", "tick", None, {"run_after_seconds": float("nan")}),
        ("dedupe key", "tick", None, {"dedupe_key": "k" * (DEDUPE_KEY_CHARS_MAX + 1)}),
        ("dedupe key", "tick", None, {"dedupe_key": "\0"}),
    ):
        with pytest.raises(ValueError, match=told):
            await enqueue(None, name, payload, **options)
    assert await enqueue(None, "tick", run_after_seconds=RUN_AFTER_SECONDS_MAX, dedupe_key="k" * DEDUPE_KEY_CHARS_MAX)
    assert len(await world.rows()) == 2


def test_a_declaration_that_makes_no_sense_is_told() -> None:
    seen = Recorder()
    for told, options in (
        ("1 to 128 characters", {"name": ""}),
        ("above zero", {"attempts_max": 0}),
        ("above zero", {"seconds_max": 0.0}),
        ("takes no payload", {"cron": "* * * * *", "payload": Note}),
        ("minute", {"cron": "61 * * * *"}),
        ("not supported", {"payload": type("Thing", (), {"__slots__": ()}) | int | str | list | dict | Note}),
    ):
        with pytest.raises(SetupError, match=told):
            Job(**{"name": "note", "handler": seen, **options})


async def test_two_jobs_of_one_name_are_refused_and_what_was_declared_stays(database: Database) -> None:
    world = World(database, [Job("note", Recorder(), Note)])
    with pytest.raises(SetupError, match="two jobs 'note'"):
        world.queue.declare("others", [Job("note", Recorder())])
    assert world.queue.table["note"].payload is Note
