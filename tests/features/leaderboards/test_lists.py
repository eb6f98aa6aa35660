"""Pages, windows, cursors, owners and past periods, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
from itertools import pairwise

import asyncpg
import pytest

from palestra.core.ids import new_id
from palestra.features.leaderboards.contract import InvalidCursor, InvalidLimit, InvalidOwner, LeaderboardNotFound
from palestra.features.leaderboards.rules import SCORE_MAX
from palestra.features.leaderboards.service import LeaderboardService
from tests.features.leaderboards.conftest import Bench, until


async def filled(
    boards: LeaderboardService, id: str, scores: list[int | tuple[int, int]], **board: object
) -> list[str]:
    """A board with one owner per score, in that order."""
    await boards.create(id, **board)  # type: ignore[arg-type]
    owners = [new_id() for _ in scores]
    pairs = [score if isinstance(score, tuple) else (score, 0) for score in scores]
    await asyncio.gather(*(boards.submit(id, o, "name", *pair) for o, pair in zip(owners, pairs, strict=True)))
    return owners


async def test_pages_follow_each_other_forwards_and_back(boards: LeaderboardService) -> None:
    owners = await filled(boards, "b", [(90, 1), (80, 9), (80, 5), (70, 0), (60, 1), (60, 0), (50, 0), (0, 0)])
    first = await boards.records("b", limit=3)
    second = await boards.records("b", limit=3, cursor=first.next_cursor)
    third = await boards.records("b", limit=3, cursor=second.next_cursor)
    pages = [first, second, third]
    assert [r.owner_id for page in pages for r in page.records] == owners
    assert [r.rank for page in pages for r in page.records] == list(range(1, 9))
    assert [(bool(page.prev_cursor), bool(page.next_cursor)) for page in pages] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    back = await boards.records("b", limit=3, cursor=third.prev_cursor)
    assert (back.records, bool(back.prev_cursor), bool(back.next_cursor)) == (second.records, True, True)
    top = await boards.records("b", limit=3, cursor=back.prev_cursor)
    assert (top.records, top.prev_cursor, bool(top.next_cursor)) == (first.records, "", True)


@pytest.mark.parametrize("sort", ["asc", "desc"])
async def test_ties_are_broken_by_owner_id_and_never_by_time(boards: LeaderboardService, sort: str) -> None:
    owners = await filled(boards, "b", [5] * 6, sort=sort)
    page = await boards.records("b", limit=10)
    assert [r.owner_id for r in page.records] == sorted(owners, reverse=sort == "desc")
    assert [r.rank for r in page.records] == [1, 2, 3, 4, 5, 6]


async def test_the_extreme_scores_are_listed(boards: LeaderboardService) -> None:
    for sort in ("asc", "desc"):
        owners = await filled(boards, sort, [(SCORE_MAX, SCORE_MAX), (0, 0)], sort=sort)
        page = await boards.records(sort, limit=1)
        page_two = await boards.records(sort, limit=1, cursor=page.next_cursor)
        listed = [r.owner_id for r in page.records + page_two.records]
        assert listed == (owners if sort == "desc" else owners[::-1])


async def test_owners_asked_for_come_in_board_order_and_without_strangers(boards: LeaderboardService) -> None:
    owners = await filled(boards, "b", [90, 80, 70])
    page = await boards.records("b", [owners[2], owners[0].upper(), new_id(), owners[0]])
    assert [(r.owner_id, r.rank) for r in page.owner_records] == [(owners[0], 1), (owners[2], 3)]
    assert (page.records, page.rank_count) == ([], 3)
    page = await boards.records("b", [owners[2]], 2)
    assert [r.rank for r in page.records] == [1, 2]
    assert [r.rank for r in page.owner_records] == [3]


@pytest.mark.parametrize(
    ("place", "limit", "first", "last", "has_prev", "has_next"),
    [
        (5, 1, 5, 5, True, True),
        (5, 2, 5, 6, True, True),
        (5, 4, 4, 7, True, True),
        (5, 9, 1, 9, False, False),
        (5, 20, 1, 9, False, False),
        (1, 1, 1, 1, False, True),
        (1, 4, 1, 4, False, True),
        (2, 4, 1, 4, False, True),
        (9, 4, 6, 9, True, False),
        (8, 5, 5, 9, True, False),
    ],
)
async def test_a_window_shows_the_owner_among_neighbours(
    boards: LeaderboardService, place: int, limit: int, first: int, last: int, has_prev: bool, has_next: bool
) -> None:
    for sort in ("desc", "asc"):
        scores = list(range(90, 0, -10)) if sort == "desc" else list(range(10, 100, 10))
        owners = await filled(boards, sort, list(scores), sort=sort)
        page = await boards.around(sort, owners[place - 1], limit)
        assert [r.rank for r in page.records] == list(range(first, last + 1))
        assert [r.owner_id for r in page.records] == owners[first - 1 : last]
        assert (bool(page.prev_cursor), bool(page.next_cursor)) == (has_prev, has_next)
        assert page.rank_count == 9


async def test_the_cursors_of_a_window_lead_to_plain_pages_with_ranks(boards: LeaderboardService) -> None:
    owners = await filled(boards, "b", list(range(90, 0, -10)))
    window = await boards.around("b", owners[4], 3)
    after = await boards.around("b", owners[4], 3, window.next_cursor)
    before = await boards.around("b", owners[4], 3, window.prev_cursor)
    assert [r.rank for r in after.records] == [7, 8, 9]
    assert (bool(after.prev_cursor), after.next_cursor) == (True, "")
    assert [r.rank for r in before.records] == [1, 2, 3]
    assert (before.prev_cursor, bool(before.next_cursor)) == ("", True)


async def test_without_a_record_there_is_no_window(boards: LeaderboardService) -> None:
    await filled(boards, "b", [1, 2])
    page = await boards.around("b", new_id(), 3)
    assert (page.records, page.rank_count) == ([], 0)


async def test_a_board_without_ranks_counts_positions_in_lists_only(boards: LeaderboardService) -> None:
    owners = await filled(boards, "b", [30, 20, 10], enable_ranks=False)
    assert (await boards.submit("b", owners[0], "name", 40)).rank == 0
    page = await boards.records("b", [owners[0]], 2)
    assert [r.rank for r in page.records] == [1, 2]
    assert [r.rank for r in page.owner_records] == [0]
    assert page.rank_count == 0
    window = await boards.around("b", owners[1], 1)
    assert [r.rank for r in window.records] == [0]
    assert [r.rank for r in (await boards.around("b", owners[1], 1, window.next_cursor)).records] == [0]


async def test_a_cursor_serves_only_the_board_and_the_period_it_was_made_for(bench: Bench) -> None:
    boards = bench.service
    await filled(boards, "b", [3, 2, 1], reset="@daily")
    await filled(boards, "other", [3, 2, 1])
    cursor = (await boards.records("b", limit=1)).next_cursor
    assert len((await boards.records("b", limit=1, cursor=cursor)).records) == 1
    packed = bytearray(base64.urlsafe_b64decode(cursor))
    packed[2] ^= 1
    forged = base64.urlsafe_b64encode(packed).decode()
    for id, wrong in (("other", cursor), ("b", "garbage"), ("b", cursor[:-4]), ("b", forged), ("b", "é"), ("b", "=")):
        with pytest.raises(InvalidCursor, match=r"^Cursor is invalid or expired\.$"):
            await boards.records(id, limit=1, cursor=wrong)
    with pytest.raises(InvalidCursor, match=r"^Error querying records from leaderboard\.$"):
        await boards.around("b", new_id(), 1, "garbage")
    bench.clock.advance(86_400)
    with pytest.raises(InvalidCursor):
        await boards.records("b", limit=1, cursor=cursor)


async def test_wrong_questions_are_refused(boards: LeaderboardService) -> None:
    await boards.create("b")
    for limit in (0, 1001, -1):
        with pytest.raises(InvalidLimit, match="between 1 and 1000"):
            await boards.records("b", limit=limit)
    for limit in (0, 101):
        with pytest.raises(InvalidLimit, match="between 1 and 100"):
            await boards.around("b", new_id(), limit)
    with pytest.raises(InvalidOwner, match=r"^One or more owner IDs are invalid\.$"):
        await boards.records("b", ["ann"])
    with pytest.raises(InvalidOwner, match=r"^Invalid owner ID provided\.$"):
        await boards.around("b", "ann")
    for id in ("unknown", "", "a\0b", "x" * 200):
        with pytest.raises(LeaderboardNotFound):
            await boards.records(id)
        with pytest.raises(LeaderboardNotFound):
            await boards.around(id, new_id())


async def test_an_expiry_at_which_nothing_ends_finds_nothing(boards: LeaderboardService) -> None:
    owners = await filled(boards, "b", [3])
    for expiry in (1, 1_000_000, -1, 2**62):
        page = await boards.records("b", limit=3, expiry=expiry)
        assert (page.records, page.rank_count) == ([], 0)
        assert (await boards.around("b", owners[0], expiry=expiry)).records == []


async def test_equal_questions_at_the_same_time_share_one_page(bench: Bench) -> None:
    boards = bench.service
    await filled(boards, "b", [3, 2, 1])
    (pages_batch,) = [batch for batch in bench.store.batches if batch.name == "leaderboards.page"]
    rounds = pages_batch.rounds
    pages = await asyncio.gather(*(boards.records("b", limit=2) for _ in range(20)), boards.records("b", limit=3))
    assert all(one is two for one, two in pairwise(pages[:20]))
    assert [len(page.records) for page in pages[19:]] == [2, 3]
    assert pages_batch.rounds == rounds + 1


async def test_different_boards_share_a_round_trip_and_are_not_mixed_up(boards: LeaderboardService) -> None:
    owners = {f"b{n}": await filled(boards, f"b{n}", [3, 2, 1], sort=("asc", "desc")[n % 2]) for n in range(6)}
    pages = await asyncio.gather(*(boards.records(id, limit=3) for id in owners))
    for page, (id, expected) in zip(pages, owners.items(), strict=True):
        listed = [r.owner_id for r in page.records]
        assert {r.leaderboard_id for r in page.records} == {id}
        assert listed == (expected if id in ("b1", "b3", "b5") else expected[::-1])


async def test_a_list_shows_what_is_committed_even_if_the_connection_of_the_batch_was_cut(bench: Bench) -> None:
    boards = bench.service
    await filled(boards, "b", [3, 2, 1])
    await boards.records("b", limit=3)
    other = await asyncpg.connect(bench.database.url)
    await until(
        lambda: other.fetchval(
            "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    )
    await other.close()
    assert len((await boards.records("b", limit=3)).records) == 3
