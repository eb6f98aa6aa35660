"""Which tournaments are listed, in which order and pages."""

from __future__ import annotations

import random

import pytest

from palestra.core.cursors import seal_cursor
from palestra.features.leaderboards.contract import InvalidCursor, InvalidTournament, Tournament
from palestra.features.leaderboards.tournaments import TournamentService
from tests.features.leaderboards.conftest import Bench

HOUR = 3_600


async def some(bench: Bench, count: int) -> list[Tournament]:
    """Tournaments of all kinds, in the order in which they are to be listed."""
    dice, now = random.Random(5), int(bench.clock.now())
    made = []
    for n in range(count):
        start = now + dice.randrange(-3, 3) * HOUR
        end = dice.choice([0, start + HOUR, start + 2 * HOUR, start + 9 * HOUR])
        made.append(
            await bench.tournaments.create(
                f"t{n:02}", duration_seconds=HOUR, start_time=start, end_time=end, category=dice.randrange(4)
            )
        )
    return sorted(made, key=lambda t: (t.start_time, -t.end_time, t.category, t.id))


async def listed(tournaments: TournamentService, limit: int, **wanted: int | None) -> list[Tournament]:
    """All pages of a list, one after the other."""
    found, cursor = list[Tournament](), ""
    while True:
        page = await tournaments.list(limit=limit, cursor=cursor, **wanted)  # type: ignore[arg-type]
        assert len(page.tournaments) <= limit
        found += page.tournaments
        cursor = page.cursor
        if not cursor:
            return found


async def test_pages_hold_what_the_filters_leave_in_order(bench: Bench) -> None:
    everything, now = await some(bench, 40), int(bench.clock.now())
    for limit in (1, 7, 100):
        assert await listed(bench.tournaments, limit) == [t for t in everything if not t.end_time or t.end_time > now]
        assert await listed(bench.tournaments, limit, end_time=0) == [t for t in everything if not t.end_time]
        until = now + 2 * HOUR
        assert await listed(bench.tournaments, limit, end_time=until) == [
            t for t in everything if t.end_time and t.end_time <= until
        ]
        assert await listed(bench.tournaments, limit, start_time=now, end_time=0) == [
            t for t in everything if not t.end_time and t.start_time >= now
        ]
        assert await listed(bench.tournaments, limit, category_start=1, category_end=2, end_time=2**32 - 1) == [
            t for t in everything if t.end_time and 1 <= t.category <= 2
        ]


async def test_a_list_cannot_be_asked_for_with_filters_that_contradict_each_other(
    tournaments: TournamentService,
) -> None:
    wrong: list[tuple[dict[str, int], str]] = [
        ({"limit": 0}, "Limit must be between 1 and 100."),
        ({"limit": 101}, "Limit must be between 1 and 100."),
        ({"category_end": 128}, "Tournament category end must be >=0 and <128."),
        ({"category_start": 5, "category_end": 4}, "Tournament category end must be greater than category start."),
        ({"start_time": 9, "end_time": 8}, "Tournament end time must be greater than start time."),
    ]
    for wanted, complaint in wrong:
        with pytest.raises(InvalidTournament) as refused:
            await tournaments.list(**wanted)  # type: ignore[arg-type]
        assert refused.value.message == complaint


async def test_categories_beyond_the_last_hold_nothing(tournaments: TournamentService) -> None:
    await tournaments.create("cup", duration_seconds=HOUR, category=127)
    assert [len((await tournaments.list(start)).tournaments) for start in (-1, 127, 128, 2**32 - 1)] == [1, 1, 0, 0]


async def test_a_cursor_serves_only_the_list_it_was_given_out_for(bench: Bench) -> None:
    await some(bench, 10)
    cursor = (await bench.tournaments.list(end_time=0, limit=1)).cursor
    assert cursor
    forged = seal_cursor(Tournament(*[0] * 22))  # type: ignore[arg-type]
    for wanted, given in (({}, cursor), ({"end_time": 0, "category_start": 1}, cursor), ({}, "oops"), ({}, forged)):
        with pytest.raises(InvalidCursor, match="leaderboard cursor invalid"):
            await bench.tournaments.list(cursor=given, **wanted)
