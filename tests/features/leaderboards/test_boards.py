"""Making boards, resets, restarts and players who leave, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from palestra.core.ids import new_id
from palestra.features.leaderboards.contract import (
    InvalidLeaderboard,
    InvalidLimit,
    LeaderboardNotFound,
    LeaderboardReset,
    Operator,
    Sort,
)
from palestra.features.leaderboards.service import LeaderboardService
from tests.features.leaderboards.conftest import Bench, node, until

DAY = 86_400


async def test_creating_a_board_again_changes_nothing(boards: LeaderboardService) -> None:
    made = await boards.create("b", sort="asc", operator="decr", reset="@weekly", metadata={"a": 1}, authoritative=True)
    assert (made.sort, made.operator, made.reset) == (Sort.ASCENDING, Operator.DECREMENT, "@weekly")
    assert (made.metadata, made.authoritative, made.enable_ranks) == ('{"a": 1}', True, True)
    assert await boards.create("b", sort="desc", operator="set", enable_ranks=False) == made
    assert await boards.get(["b", "unknown", "b", ""]) == [made]


async def test_a_board_that_cannot_be_is_not_made(boards: LeaderboardService) -> None:
    for settings in ({"sort": "up"}, {"operator": "max"}, {"reset": "never"}, {"metadata": {"a": "\0"}}):
        with pytest.raises(InvalidLeaderboard):
            await boards.create("b", **settings)  # type: ignore[arg-type]
    assert await boards.get(["b"]) == []


async def test_boards_are_listed_in_pages(boards: LeaderboardService) -> None:
    for id in ("c", "a", "b"):
        await boards.create(id)
    page = await boards.list(2)
    assert [board.id for board in page.leaderboards] == ["a", "b"]
    page = await boards.list(2, page.cursor)
    assert ([board.id for board in page.leaderboards], page.cursor) == (["c"], "")
    with pytest.raises(InvalidLimit):
        await boards.list(101)


async def test_deleting_a_board_deletes_its_records(boards: LeaderboardService) -> None:
    await boards.create("b")
    await boards.submit("b", new_id(), "ann", 5)
    await boards.delete("b")
    await boards.delete("b")
    with pytest.raises(LeaderboardNotFound):
        await boards.records("b", limit=1)
    await boards.create("b")
    page = await boards.records("b", limit=1)
    assert (page.records, page.rank_count) == ([], 0)


async def test_a_restarted_node_knows_every_rank_again(bench: Bench) -> None:
    owners = [new_id() for _ in range(1200)]
    await bench.service.create("b")
    await bench.service.create("rankless", enable_ranks=False)
    await asyncio.gather(*(bench.service.submit("b", owner, "name", n // 3) for n, owner in enumerate(owners)))
    before = {r.owner_id: r.rank for r in (await bench.service.records("b", owners)).owner_records}
    async with node(bench.database, bench.clock) as again:
        await again.boards.start()
        await until(lambda: _count(again.service, "b", 1200))
        after = {r.owner_id: r.rank for r in (await again.service.records("b", owners)).owner_records}
    assert after == before
    assert sorted(after.values()) == list(range(1, 1201))


async def test_scores_written_while_ranks_are_loading_are_not_lost(bench: Bench) -> None:
    owners = [new_id() for _ in range(1200)]
    await bench.service.create("b")
    await asyncio.gather(*(bench.service.submit("b", owner, "name", 1 + n) for n, owner in enumerate(owners)))
    async with node(bench.database, bench.clock) as again:
        await again.boards.start()
        moved = [again.service.submit("b", owner, "name", 5000 + n) for n, owner in enumerate(owners[:100])]
        gone = [again.service.remove("b", owner) for owner in owners[100:200]]
        await asyncio.gather(*moved, *gone)
        await until(lambda: _count(again.service, "b", 1100))
        page = await again.service.records("b", owners, 1000)
        assert [r.rank for r in page.owner_records] == list(range(1, 1101))
        assert page.owner_records[:1000] == page.records


async def test_a_board_made_on_another_node_is_found_with_its_ranks(bench: Bench) -> None:
    owner = new_id()
    async with node(bench.database, bench.clock) as other:
        await bench.boards.start()
        await other.service.create("late")
        await other.service.submit("late", owner, "ann", 5)
        assert [r.owner_id for r in (await bench.service.records("late", limit=5)).records] == [owner]
        await until(lambda: _count(bench.service, "late", 1))


async def _count(boards: LeaderboardService, id: str, count: int) -> bool:
    return (await boards.records(id, limit=1)).rank_count == count


async def test_a_reset_begins_an_empty_period_and_the_old_one_stays_readable(bench: Bench) -> None:
    boards, ann, bob = bench.service, new_id(), new_id()
    await boards.create("daily", operator="increment", reset="@daily")
    first = await boards.submit("daily", ann, "ann", 5)
    await boards.submit("daily", bob, "bob", 7)
    assert first.expires_at == datetime(2025, 6, 16, tzinfo=UTC)
    bench.clock.advance(DAY)
    assert (await boards.records("daily", limit=5)).records == []
    second = await boards.submit("daily", ann, "ann", 1)
    assert (second.score, second.num_score, second.rank) == (1, 1, 1)
    assert second.expires_at == datetime(2025, 6, 17, tzinfo=UTC)
    old = await boards.records("daily", [ann], limit=5, expiry=int(first.expires_at.timestamp()))
    assert [(r.owner_id, r.score, r.rank) for r in old.records] == [(bob, 7, 1), (ann, 5, 2)]
    assert [(r.owner_id, r.rank) for r in old.owner_records] == [(ann, 0)]
    assert old.rank_count == 0
    window = await boards.around("daily", ann, 5, expiry=int(first.expires_at.timestamp()))
    assert [r.owner_id for r in window.records] == [bob, ann]
    running = await boards.records("daily", limit=5, expiry=int(second.expires_at.timestamp()))
    assert [(r.owner_id, r.score) for r in running.records] == [(ann, 1)]
    assert running.rank_count == 1


async def test_every_ended_period_is_told_of_once(bench: Bench) -> None:
    told: list[tuple[str, int]] = []

    async def note(event: LeaderboardReset) -> None:
        told.append((event.leaderboard.id, event.reset_time))

    async def fail(event: LeaderboardReset) -> None:
        raise RuntimeError("a mistake in a game")

    bench.events.subscribe(LeaderboardReset, note)
    bench.events.subscribe(LeaderboardReset, fail)
    boards = bench.service
    for id, reset in (("daily", "@daily"), ("hourly", "@hourly"), ("never", None)):
        await boards.create(id, reset=reset)
    midnight = int(datetime(2025, 6, 16, tzinfo=UTC).timestamp())
    next_hour = int(bench.clock.now()) // 3600 * 3600 + 3600
    assert await bench.announcer.announce() == next_hour
    assert told == []
    bench.clock.advance(3600)
    await boards.submit("hourly", new_id(), "ann", 1)
    assert await bench.announcer.announce() == next_hour + 3600
    assert told == [("hourly", next_hour)]
    bench.clock.advance(midnight - bench.clock.now())
    assert await bench.announcer.announce() == midnight + 3600
    hours = [("hourly", at) for at in range(next_hour + 3600, midnight + 1, 3600)]
    assert told[1:] == [*hours[:-1], ("daily", midnight), hours[-1]]
    await bench.announcer.announce()
    assert len(told) == 2 + len(hours)


async def test_a_started_node_tells_of_resets_by_itself(bench: Bench) -> None:
    told = asyncio.Event()

    async def note(event: LeaderboardReset) -> None:
        told.set()

    bench.events.subscribe(LeaderboardReset, note)
    bench.announcer.start()
    await bench.service.create("daily", reset="@daily")
    bench.clock.advance(DAY)
    await bench.service.create("another")  # wakes it up, as time would
    await asyncio.wait_for(told.wait(), 10)


async def test_a_player_who_leaves_has_neither_records_nor_ranks_any_more(bench: Bench) -> None:
    boards, ann, bob = bench.service, new_id(), new_id()
    for id in ("one", "two"):
        await boards.create(id)
        await boards.submit(id, ann, "ann", 9)
        await boards.submit(id, bob, "bob", 5)
    async with bench.database.transaction() as tx:
        await boards.forget(tx, ann)
    boards.forgotten(ann)
    for id in ("one", "two"):
        page = await boards.records(id, [ann, bob], 5)
        assert [(r.owner_id, r.rank) for r in page.owner_records] == [(bob, 1)]
        assert (len(page.records), page.rank_count) == (1, 1)
