"""Records that are kept in memory: shown again without a query, and never older than what was written."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest

from palestra.cluster.cache import Terms
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.leaderboards.contract import LeaderboardRecord
from palestra.features.leaderboards.kept import KeptRecords
from palestra.features.leaderboards.ranked import owner_bytes
from palestra.features.leaderboards.rules import window
from palestra.features.leaderboards.service import LeaderboardService
from tests.features.leaderboards.conftest import Bench, until

ANN = owner_bytes(new_id())
BOB = owner_bytes(new_id())


def record(score: int) -> LeaderboardRecord:
    now = datetime.now(UTC)
    return LeaderboardRecord("b", new_id(), "ann", score, 0, 1, 1, "{}", now, now, None)


class Shelf:
    """Records to be read; `reading` is set while a reading waits for `go`."""

    def __init__(self) -> None:
        self.records = {ANN: record(1)}
        self.reads: list[list[bytes]] = []
        self.reading, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def read(self, wanted: list[bytes]) -> list[tuple[bytes, LeaderboardRecord]]:
        self.reads.append(wanted)
        found = [(owner, self.records[owner]) for owner in wanted if owner in self.records]
        self.reading.set()
        await self.go.wait()
        return found


@pytest.fixture
def kept() -> KeptRecords:
    return KeptRecords(Terms(60, 5, 100, 1_000_000))


async def test_what_was_read_is_not_read_again_and_each_period_keeps_its_own(kept: KeptRecords) -> None:
    shelf, period, other = Shelf(), kept.of_period(), kept.of_period()
    for _ in range(2):
        assert await period.records([ANN, BOB], shelf.read) == shelf.records
    # That there is no record is not kept: whoever has none is not asked for again and again.
    assert shelf.reads == [[ANN, BOB], [BOB]]
    assert await other.records([ANN], shelf.read) == shelf.records
    assert shelf.reads[2:] == [[ANN]]


async def test_what_is_written_while_it_is_read_is_not_kept(kept: KeptRecords) -> None:
    shelf, period = Shelf(), kept.of_period()
    shelf.go.clear()
    old = shelf.records[ANN]
    reading = asyncio.create_task(period.records([ANN], shelf.read))
    await shelf.reading.wait()
    shelf.records[ANN] = record(2)
    period.drop(ANN)
    shelf.go.set()
    assert await reading == {ANN: old}
    assert await period.records([ANN], shelf.read) == shelf.records
    assert len(shelf.reads) == 2


async def test_a_reading_that_fails_leaves_nothing_behind(kept: KeptRecords) -> None:
    shelf, period = Shelf(), kept.of_period()

    async def fails(wanted: list[bytes]) -> list[tuple[bytes, LeaderboardRecord]]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await period.records([ANN], fails)
    assert not period._awaited
    assert await period.records([ANN], shelf.read) == shelf.records


@pytest.mark.parametrize("sort", ["desc", "asc"])
async def test_after_any_writes_records_and_windows_are_those_of_the_database(
    bench: Bench, boards: LeaderboardService, database: Database, sort: str
) -> None:
    chance, owners = random.Random(sort), [new_id() for _ in range(14)]
    await boards.create("b", sort=sort, operator="set")

    async def write() -> None:
        owner = chance.choice(owners)
        if chance.random() < 0.25:
            await boards.remove("b", owner)
        else:
            metadata = {"n": chance.randrange(1000)}
            await boards.submit("b", owner, f"name {chance.randrange(9)}", chance.randrange(6), metadata=metadata)

    order = "DESC" if sort == "desc" else "ASC"
    for _ in range(60):
        await asyncio.gather(*(write() for _ in range(chance.randrange(3))))
        rows = await database.fetch(
            "SELECT owner_id::text, username, score, num_score, metadata::text FROM leaderboard_records"
            f" WHERE leaderboard_id = 'b' ORDER BY score {order}, subscore {order}, owner_id {order}"
        )
        stored = [tuple(row) for row in rows]
        asked = chance.sample(owners, 3)
        page = await boards.records("b", asked)
        assert [_seen(one) for one in page.owner_records] == [
            (*row, rank) for rank, row in enumerate(stored, 1) if row[0] in asked
        ]
        if stored:
            at, limit = chance.randrange(len(stored)), chance.randint(1, 8)
            up, down = window(at, len(stored) - 1 - at, limit)
            page = await boards.around("b", stored[at][0], limit)
            assert [_seen(one) for one in page.records] == [
                (*row, rank) for rank, row in enumerate(stored, 1) if at - up < rank <= at + down + 1
            ]
            assert (bool(page.prev_cursor), bool(page.next_cursor)) == (at > up, len(stored) > at + down + 1)
            assert page.rank_count == len(stored)
    kept = bench.store._kept
    assert kept.hits > 0 and kept.misses >= kept.loaded > 0 and kept.bytes > kept.entries > 0


async def test_a_board_that_is_made_anew_knows_nothing_of_the_former(boards: LeaderboardService) -> None:
    ann = new_id()
    for score in (5, 7):
        await boards.create("b")
        await boards.submit("b", ann, "ann", score)
        assert (await boards.around("b", ann)).records[0].score == score
        await boards.delete("b")


async def test_records_changed_behind_the_back_of_the_ranks_are_found_by_the_long_way(
    boards: LeaderboardService, database: Database, bench: Bench
) -> None:
    owners = [new_id() for _ in range(3)]
    await boards.create("b")
    for score, owner in enumerate(owners):
        await boards.submit("b", owner, "", score)
    await database.execute("UPDATE leaderboard_records SET score = 9 WHERE owner_id = $1", owners[0])
    page = await boards.around("b", owners[1], 3)
    assert [one.owner_id for one in page.records] == [owners[0], owners[2], owners[1]]


async def test_while_ranks_are_loading_windows_come_from_the_database(
    bench: Bench, boards: LeaderboardService, database: Database
) -> None:
    ann, bob = new_id(), new_id()
    await boards.create("b")
    await boards.submit("b", ann, "ann", 5)
    await boards.submit("b", bob, "bob", 6)
    board = bench.boards.known("b")
    assert board is not None
    period = board.current(bench.clock.now())
    period.ranks = board.new_ranks(loading=True)
    page = await boards.around("b", ann, 2)
    assert [(one.owner_id, one.rank) for one in page.records] == [(bob, 0), (ann, 0)]
    bench.boards.reload(board, period)

    async def ranked() -> bool:
        return (await boards.around("b", ann, 2)).records[0].rank == 1

    await until(ranked)


def _seen(one: LeaderboardRecord) -> tuple[object, ...]:
    return one.owner_id, one.username, one.score, one.num_score, one.metadata, one.rank
