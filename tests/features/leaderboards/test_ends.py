"""What is told when windows close and periods end: to whom, when, and how often."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from palestra.core.errors import Unavailable
from palestra.features.leaderboards.contract import LeaderboardReset, TournamentEnd, TournamentReset
from tests.features.leaderboards.conftest import Bench, node, until

HOUR, DAY = 3_600, 86_400
ANN, BOB = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
KINDS = (LeaderboardReset, TournamentEnd, TournamentReset)


def listen(bench: Bench) -> list[Any]:
    """All that a node tells of, as it is told."""
    told: list[Any] = []

    async def note(event: Any) -> None:
        told.append(event)

    for kind in KINDS:
        bench.events.subscribe(kind, note)
    return told


def brief(told: list[Any], since: int) -> list[tuple[str, int]]:
    """Kinds of events and when they happened, in hours since a moment."""
    return [(type(event).__name__, (getattr(event, "end_time", event.reset_time) - since) // HOUR) for event in told]


async def at_midnight(bench: Bench) -> int:
    bench.clock.advance(DAY - bench.clock.now() % DAY)
    return int(bench.clock.now())


async def test_the_closing_of_a_window_and_the_end_of_its_period_are_told_once_each(bench: Bench) -> None:
    midnight, told = await at_midnight(bench), listen(bench)
    await bench.tournaments.create("daily", duration_seconds=2 * HOUR, reset="@daily", max_size=9)
    await bench.tournaments.submit("daily", ANN, "ann", 5)
    assert await bench.announcer.announce() == midnight + 2 * HOUR
    bench.clock.advance(2 * HOUR)
    assert await bench.announcer.announce() == midnight + DAY
    assert await bench.announcer.announce() == midnight + DAY
    (end,) = told
    assert (end.end_time, end.reset_time) == (midnight + 2 * HOUR, midnight + DAY)
    assert (end.tournament.id, end.tournament.size, end.tournament.can_enter) == ("daily", 1, False)
    bench.clock.advance(22 * HOUR)
    assert await bench.announcer.announce() == midnight + DAY + 2 * HOUR
    assert told[1:] == [TournamentReset(told[1].tournament, midnight + DAY)]
    assert (told[1].tournament.size, told[1].tournament.next_reset) == (1, midnight + DAY)
    assert (await bench.tournaments.get(["daily"]))[0].size == 0


async def test_a_window_that_closes_as_its_period_ends_is_told_of_before_the_period(bench: Bench) -> None:
    midnight, told = await at_midnight(bench), listen(bench)
    await bench.tournaments.create("daily", duration_seconds=DAY, reset="@daily", end_time=midnight + 36 * HOUR)
    await bench.tournaments.create("once", duration_seconds=HOUR, end_time=midnight + 3 * HOUR)
    await bench.tournaments.create("endless", duration_seconds=5 * HOUR)
    bench.clock.advance(9 * DAY)
    assert await bench.announcer.announce() is None
    assert brief(told, midnight) == [
        ("TournamentEnd", 1),
        ("TournamentReset", 3),
        ("TournamentEnd", 5),
        ("TournamentEnd", 24),
        ("TournamentReset", 24),
        ("TournamentEnd", 36),
        ("TournamentReset", 36),
    ]
    assert [event.reset_time for event in told if event.tournament.id == "endless"] == [0]


async def test_what_ends_while_no_node_runs_is_told_at_the_next_start(bench: Bench) -> None:
    midnight = await at_midnight(bench)
    await bench.tournaments.create("daily", duration_seconds=HOUR, reset="@daily")
    await bench.service.create("board", reset="@daily")
    bench.clock.advance(HOUR)
    await bench.announcer.announce()
    bench.clock.advance(2 * DAY)
    for expected in (
        [
            ("LeaderboardReset", 24),
            ("TournamentReset", 24),
            ("TournamentEnd", 25),
            ("LeaderboardReset", 48),
            ("TournamentReset", 48),
            ("TournamentEnd", 49),
        ],
        [],
    ):
        async with node(bench.database, bench.clock) as later:
            told = listen(later)
            await later.boards.start()
            await later.announcer.announce()
            assert brief(told, midnight) == expected


async def test_a_subscriber_that_cannot_do_its_part_now_is_told_again(bench: Bench) -> None:
    midnight, told = await at_midnight(bench), listen(bench)
    away = [True]

    async def pay(end: TournamentEnd) -> None:
        if away.pop():
            raise Unavailable

    bench.events.subscribe(TournamentEnd, pay)
    await bench.tournaments.create("cup", duration_seconds=HOUR)
    bench.clock.advance(HOUR)
    with pytest.raises(Unavailable):
        await bench.announcer.announce()
    away.append(False)
    async with node(bench.database, bench.clock) as later:
        again = listen(later)
        await later.boards.start()
        await later.announcer.announce()
        assert brief(again, midnight) == [("TournamentEnd", 1)]
    await bench.announcer.announce()
    assert brief(told, midnight) == [("TournamentEnd", 1)]


async def test_a_mistake_of_a_subscriber_keeps_nobody_from_hearing_of_the_next_end(bench: Bench) -> None:
    midnight, told = await at_midnight(bench), listen(bench)

    async def fail(end: TournamentEnd) -> None:
        raise RuntimeError("a mistake")

    bench.events.subscribe(TournamentEnd, fail)
    for hours in (1, 2):
        await bench.tournaments.create(f"cup{hours}", duration_seconds=hours * HOUR)
    bench.clock.advance(DAY)
    await bench.announcer.announce()
    assert brief(told, midnight) == [("TournamentEnd", 1), ("TournamentEnd", 2)]


async def test_nothing_is_told_of_a_tournament_that_was_deleted(bench: Bench) -> None:
    told = listen(bench)
    for id in ("here", "elsewhere"):
        await bench.tournaments.create(id, duration_seconds=HOUR)
    await bench.tournaments.delete("here")
    await bench.database.execute("DELETE FROM leaderboards")
    bench.clock.advance(DAY)
    assert await bench.announcer.announce() is None
    assert told == []


async def test_a_score_that_was_accepted_in_time_is_stored_before_the_end_is_told(bench: Bench) -> None:
    bench.clock.advance(DAY - bench.clock.now() % DAY)
    tournaments, found = bench.tournaments, list[int]()

    async def look(end: TournamentEnd) -> None:
        page = await tournaments.records(end.tournament.id, expiry=end.reset_time)
        found.extend(record.score for record in page.records)

    bench.events.subscribe(TournamentEnd, look)
    await tournaments.create("daily", duration_seconds=DAY, reset="@daily")
    other = await asyncpg.connect(bench.database.url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM leaderboards FOR UPDATE")
        last = asyncio.ensure_future(tournaments.submit("daily", ANN, "ann", 5))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await until(lambda: other.fetchval(waiting))
        bench.clock.advance(DAY)
        first = asyncio.ensure_future(tournaments.submit("daily", BOB, "bob", 7))
        telling = asyncio.ensure_future(bench.announcer.announce())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not telling.done()
        await transaction.rollback()
        await telling
        assert found == [(await last).score]
        assert (await first).rank == 1
    finally:
        await other.close()


async def test_a_started_node_tells_of_ends_by_itself_and_tries_again(bench: Bench) -> None:
    heard, times = asyncio.Event(), list[int]()

    async def pay(end: TournamentEnd) -> None:
        times.append(end.end_time)
        if len(times) == 1:
            raise Unavailable
        heard.set()

    bench.events.subscribe(TournamentEnd, pay)
    bench.announcer.start()
    await bench.tournaments.create("cup", duration_seconds=HOUR)
    bench.clock.advance(DAY)
    bench.boards.added.set()  # wakes it up, as time would
    await asyncio.wait_for(heard.wait(), 10)
    assert len(set(times)) == 1
