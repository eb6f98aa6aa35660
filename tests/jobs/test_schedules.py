"""Jobs fired by the clock: once for all workers, made up for when nobody was there, never piled up."""

from __future__ import annotations

import asyncio

from palestra.core.clock import ManualClock, SystemClock
from palestra.database.pool import Database
from palestra.jobs.contract import Job
from palestra.jobs.scheduler import Scheduler
from tests.jobs.world import Recorder, World

MIDNIGHT = 1_750_032_000.0


async def fired(database: Database) -> int:
    """How many jobs the schedules have put into an otherwise untouched queue."""
    return await database.fetchval("SELECT count(*) FROM pgqueuer")


async def done(database: Database) -> None:
    """As if a worker had done them."""
    await database.execute("DELETE FROM pgqueuer")


async def test_two_workers_whose_clocks_differ_fire_each_moment_once(database: Database) -> None:
    ahead, behind = ManualClock(MIDNIGHT - 3), ManualClock(MIDNIGHT - 5)
    world = World(database, [Job("root", Recorder(), cron="0 0 * * *")])
    workers = [Scheduler(database, world.queue, clock) for clock in (ahead, behind)]
    for day in range(3):
        for second in range(12):
            await asyncio.gather(*[worker.fire_due() for worker in workers])
            assert await fired(database) == (1 if second in (3, 4, 5) else 0), (day, second)
            if second == 5:
                await done(database)
            for clock in (ahead, behind):
                clock.advance(1)
        for clock in (ahead, behind):
            clock.advance(86_400 - 12)


async def test_every_few_seconds_means_that(database: Database) -> None:
    clock = ManualClock(MIDNIGHT + 1)
    world = World(database, [Job("sweep", Recorder(), cron="*/5 * * * * * *")])
    scheduler = Scheduler(database, world.queue, clock)
    at = []
    for second in range(1, 21):
        await scheduler.fire_due()
        at += [second] * await fired(database)
        await done(database)
        clock.advance(1)
    assert at == [5, 10, 15, 20]


async def test_moments_missed_while_no_worker_ran_are_made_up_for_once(database: Database) -> None:
    clock = ManualClock(MIDNIGHT - 3_600)
    world = World(database, [Job("root", Recorder(), cron="0 0 * * *")])
    await Scheduler(database, world.queue, clock).fire_due()
    assert await fired(database) == 0, "the first moment is still to come"
    clock.advance(3 * 86_400)
    later = Scheduler(database, world.queue, clock)
    for _ in range(3):
        await later.fire_due()
        assert await fired(database) == 1


async def test_a_schedule_does_not_pile_up_behind_a_run_that_takes_long(database: Database) -> None:
    clock, begun, going = ManualClock(MIDNIGHT), asyncio.Event(), asyncio.Event()

    async def sweep() -> None:
        begun.set()
        await going.wait()

    world = World(database, [Job("sweep", sweep, cron="* * * * *")], clock)
    async with world.worker():
        await asyncio.wait_for(_advance_until(clock, begun), 10)
        for _ in range(3):
            clock.advance(60)
            await Scheduler(database, world.queue, clock).fire_due()
            assert await world.rows() == [("picked", 0)]
        going.set()
        await world.until_rows([])


async def _advance_until(clock: ManualClock, happened: asyncio.Event) -> None:
    """Let a minute pass each time the worker has looked, until it has fired."""
    while not happened.is_set():
        clock.advance(60)
        await asyncio.wait([asyncio.ensure_future(happened.wait())], timeout=1.1)


async def test_a_fired_job_that_fails_is_tried_again_like_any_other(database: Database) -> None:
    seen = Recorder(failing=1)
    world = World(database, [Job("sweep", seen, cron="* * * * * * *", back_off_seconds=0.01)], SystemClock())
    async with world.worker(), world.worker():
        await seen.called(3)
    assert world.queue.figures["sweep"].retried == 1


async def test_a_schedule_that_is_over_and_one_that_is_taken_back_stay_silent(database: Database) -> None:
    clock = ManualClock(MIDNIGHT)
    world = World(database, [Job("past", Recorder(), cron="0 0 1 1 * 2024"), Job("gone", Recorder(), cron="* * * * *")])
    scheduler = Scheduler(database, world.queue, clock)
    await scheduler.fire_due()
    world.queue.declare("tests", [job for job in world.queue.table.values() if job.name == "past"])
    clock.advance(400 * 86_400)
    await scheduler.fire_due()
    assert await fired(database) == 0
