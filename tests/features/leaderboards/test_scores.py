"""Submitting and removing scores, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.errors import OutcomeUnknown
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.leaderboards.boards import Period
from palestra.features.leaderboards.contract import (
    AuthoritativeDeletion,
    AuthoritativeSubmission,
    InvalidMetadata,
    InvalidOwner,
    InvalidScore,
    LeaderboardNotFound,
    Operator,
)
from palestra.features.leaderboards.rules import SCORE_MAX, SORTS, Score, change_of
from palestra.features.leaderboards.service import LeaderboardService
from tests.features.leaderboards.conftest import Bench, node, until
from tests.features.leaderboards.model import applied

ANN, BOB, CID = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")


async def test_a_first_score_makes_a_record_with_a_rank(boards: LeaderboardService) -> None:
    await boards.create("weekly")
    await boards.submit("weekly", BOB, "bob", 50)
    record = await boards.submit("weekly", ANN, "ann", 10, 1, {"car": "red"})
    assert (record.leaderboard_id, record.owner_id, record.username) == ("weekly", ANN, "ann")
    assert (record.score, record.subscore, record.num_score, record.rank) == (10, 1, 1, 2)
    assert (record.max_num_score, record.metadata, record.expires_at) == (1_000_000, '{"car": "red"}', None)


async def test_a_score_that_changes_nothing_leaves_the_whole_record_as_it_was(boards: LeaderboardService) -> None:
    await boards.create("weekly")
    first = await boards.submit("weekly", ANN, "ann", 10, 1, {"car": "red"})
    assert await boards.submit("weekly", ANN, "anna", 9, 1, {"car": "blue"}) == first


async def test_a_better_score_takes_the_new_name_and_keeps_metadata_that_is_not_given(
    boards: LeaderboardService,
) -> None:
    await boards.create("weekly")
    await boards.submit("weekly", ANN, "ann", 10, 0, {"car": "red"})
    record = await boards.submit("weekly", ANN, "anna", 11)
    assert (record.username, record.metadata, record.num_score) == ("anna", '{"car": "red"}', 2)
    record = await boards.submit("weekly", ANN, "anna", 12, metadata={})
    assert (record.metadata, record.num_score) == ("{}", 3)


async def test_the_operator_of_a_submission_overrides_the_boards(boards: LeaderboardService) -> None:
    await boards.create("weekly", operator="best")
    for operator, score, after in (("set", 10, 10), (3, 5, 15), ("decrement", 4, 11), (0, 8, 11), (None, 12, 12)):
        assert (await boards.submit("weekly", ANN, "ann", score, operator=operator)).score == after


ASC, DESC = "ascending", "descending"
BEST, SET, INCR, DECR = "best", "set", "increment", "decrement"
# order, operator, stored score, submitted score, what is stored then (None: the record stays as it was)
TABLE = [
    (DESC, BEST, None, (10, 1), (10, 1)),
    (DESC, BEST, (10, 1), (1, 20), (10, 20)),
    (DESC, BEST, (10, 20), (5, 5), None),
    (DESC, BEST, (10, 20), (10, 20), None),
    (ASC, BEST, (10, 10), (11, 11), None),
    (ASC, BEST, (10, 10), (9, 12), (9, 10)),
    (ASC, BEST, (9, 10), (0, 20), (0, 10)),
    (DESC, SET, None, (4, 9), (4, 9)),
    (DESC, SET, (10, 1), (4, 9), (4, 9)),
    (DESC, SET, (4, 9), (4, 9), None),
    (DESC, INCR, None, (10, 1), (10, 1)),
    (DESC, INCR, (10, 1), (1, 5), (11, 6)),
    (DESC, INCR, (10, 1), (0, 0), None),
    (DESC, INCR, (SCORE_MAX - 1, 0), (5, 0), (SCORE_MAX, 0)),
    (DESC, DECR, None, (10, 1), (0, 0)),
    (DESC, DECR, (10, 1), (3, 5), (7, 0)),
    (DESC, DECR, (0, 0), (30, 0), (0, 0)),
    (DESC, DECR, (10, 1), (0, 0), None),
]


async def test_each_operator_does_what_its_table_says(boards: LeaderboardService) -> None:
    for n, (sort, operator, stored, given_score, after) in enumerate(TABLE):
        await boards.create(f"b{n}", sort=sort, operator=operator)
        before = await boards.submit(f"b{n}", ANN, "ann", *stored, operator="set") if stored else None
        record = await boards.submit(f"b{n}", ANN, "ann", *given_score)
        if after is None:
            assert record == before
        else:
            assert (record.score, record.subscore) == after
            assert record.num_score == (2 if stored else 1)


async def test_sums_stop_at_the_largest_number(boards: LeaderboardService) -> None:
    await boards.create("sum", operator="increment")
    await boards.submit("sum", ANN, "ann", SCORE_MAX - 1, SCORE_MAX)
    record = await boards.submit("sum", ANN, "ann", 5, 5)
    assert (record.score, record.subscore) == (SCORE_MAX, SCORE_MAX)


async def test_players_cannot_write_to_an_authoritative_board_but_the_game_can(boards: LeaderboardService) -> None:
    await boards.create("auth", authoritative=True)
    with pytest.raises(AuthoritativeSubmission):
        await boards.submit("auth", ANN, "ann", 10, authority=False)
    await boards.submit("auth", ANN, "ann", 10)
    with pytest.raises(AuthoritativeDeletion):
        await boards.remove("auth", ANN, authority=False)
    await boards.remove("auth", ANN)
    assert (await boards.records("auth", limit=10)).records == []


async def test_what_cannot_be_stored_is_refused_and_its_neighbours_are_not_harmed(boards: LeaderboardService) -> None:
    await boards.create("weekly")
    outcomes = await asyncio.gather(
        boards.submit("weekly", ANN, "ann", 1, metadata='{"a": "\\u0000"}'),
        boards.submit("weekly", BOB, "bob", 2),
        boards.submit("weekly", CID, "c\0", 3),
        boards.submit("weekly", new_id(), "dan", 4, metadata='{"a": 1e999999}'),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "InvalidMetadata",
        "LeaderboardRecord",
        "InvalidScore",
        "InvalidMetadata",
    ]
    assert (await boards.records("weekly", [BOB], 10)).rank_count == 1


async def test_wrong_input_is_refused_before_anything_is_written(boards: LeaderboardService) -> None:
    await boards.create("weekly")
    with pytest.raises(LeaderboardNotFound):
        await boards.submit("other", ANN, "ann", 1)
    with pytest.raises(LeaderboardNotFound):
        await boards.submit("a\0b", ANN, "ann", 1)
    with pytest.raises(InvalidOwner):
        await boards.submit("weekly", "ann", "ann", 1)
    with pytest.raises(InvalidScore):
        await boards.submit("weekly", ANN, "ann", -1)
    with pytest.raises(InvalidScore):
        await boards.submit("weekly", ANN, "ann", 1, operator=5)
    with pytest.raises(InvalidMetadata):
        await boards.submit("weekly", ANN, "ann", 1, metadata="[]")
    assert (await boards.records("weekly", limit=10)).records == []


async def test_removing_a_record_moves_the_others_up(boards: LeaderboardService) -> None:
    await boards.create("weekly")
    await boards.submit("weekly", ANN, "ann", 10)
    await boards.submit("weekly", BOB, "bob", 5)
    await boards.remove("weekly", ANN)
    await boards.remove("weekly", ANN)
    page = await boards.records("weekly", [ANN, BOB], 10)
    assert [(record.owner_id, record.rank) for record in page.records] == [(BOB, 1)]
    assert [(record.owner_id, record.rank) for record in page.owner_records] == [(BOB, 1)]
    assert page.rank_count == 1
    assert (await boards.submit("weekly", ANN, "ann", 3)).rank == 2


operators = st.sampled_from([None, "best", "set", "increment", "decrement"])
small = st.integers(0, 4)
steps = st.tuples(
    st.sampled_from([ANN, BOB, CID]), operators, small, small, st.sampled_from(["submit"] * 6 + ["remove"])
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["asc", "desc"]),
    st.sampled_from(["best", "set", "incr", "decr"]),
    st.lists(st.lists(steps, min_size=1, max_size=6), max_size=6),
)
async def test_any_crowd_of_submissions_leads_to_the_records_and_ranks_of_the_serial_model(
    boards: LeaderboardService,
    database: Database,
    sort: str,
    operator: str,
    crowds: list[list[tuple[str, str | None, int, int, str]]],
) -> None:
    """Each crowd is sent at once; one owner's steps happen in order of submission."""
    board = await boards.create(new_id(), sort=sort, operator=operator)
    model: dict[str, tuple[Score, int]] = {}

    async def step(owner: str, override: str | None, score: int, subscore: int, kind: str) -> object:
        if kind == "remove":
            model.pop(owner, None)
            return await boards.remove(board.id, owner)
        change = change_of(SORTS[sort], board.operator if override is None else Operator[override.upper()])
        stored, count = model.get(owner, (None, 0))
        after = applied(change, stored, Score(score, subscore))
        expected = model[owner] = (stored, count) if after is None and stored else (after or Score(0, 0), count + 1)
        record = await boards.submit(board.id, owner, "name", score, subscore, operator=override)
        assert (Score(record.score, record.subscore), record.num_score) == expected
        return record

    for crowd in crowds:
        await asyncio.gather(*(step(*one) for one in crowd))
    page = await boards.records(board.id, [ANN, BOB, CID], 1000)
    assert {r.owner_id: (Score(r.score, r.subscore), r.num_score) for r in page.records} == model
    direction = "ASC" if sort == "asc" else "DESC"
    oracle = await database.fetch(
        f"""SELECT owner_id::text, row_number() OVER (ORDER BY score {direction}, subscore {direction},
                owner_id {direction}) AS rank
            FROM leaderboard_records WHERE leaderboard_id = $1 ORDER BY rank""",
        board.id,
    )
    assert [(r.owner_id, r.rank) for r in page.records] == [tuple(row) for row in oracle]
    assert page.owner_records == page.records
    assert page.rank_count == len(model)


async def test_two_hundred_submissions_at_once_by_fifty_owners_equal_the_serial_model(
    boards: LeaderboardService,
) -> None:
    await boards.create("crowd", operator="increment")
    dice = random.Random(7)
    owners = [new_id() for _ in range(50)]
    submissions = [(dice.choice(owners), dice.randrange(1, 100)) for _ in range(200)]
    records = await asyncio.gather(*(boards.submit("crowd", owner, "name", score) for owner, score in submissions))
    sums = dict.fromkeys(owners, 0)
    for (owner, score), record in zip(submissions, records, strict=True):
        sums[owner] += score
        assert record.score == sums[owner]
    page = await boards.records("crowd", limit=1000)
    order = sorted(((score, owner) for owner, score in sums.items() if score), reverse=True)
    assert [(r.score, r.owner_id, r.rank) for r in page.records] == [(*one, at) for at, one in enumerate(order, 1)]


async def test_two_nodes_that_write_the_same_records_lose_no_point_and_never_deadlock(bench: Bench) -> None:
    async with node(bench.database, bench.clock) as other:
        for service in (bench.service, other.service):
            await service.create("shared", operator="increment")
        owners = [new_id() for _ in range(20)]
        dice = random.Random(3)
        work = [(dice.choice((bench, other)).service, dice.choice(owners)) for _ in range(600)]
        await asyncio.gather(*(service.submit("shared", owner, "name", 1) for service, owner in work))
        page = await bench.service.records("shared", limit=1000)
        assert sum(record.score for record in page.records) == 600
        assert [batch.retries + batch.splits for batch in (*bench.store.batches, *other.store.batches)] == [0] * 8


async def test_a_score_that_another_node_has_just_beaten_is_answered_with_that_nodes_record(bench: Bench) -> None:
    """The statement starts before the other node's commit, so it cannot see the record it meets."""
    await bench.service.create("race")
    other = await asyncpg.connect(bench.database.url)
    watcher = await asyncpg.connect(bench.database.url)
    try:
        await bench.service.submit("race", BOB, "bob", 1)
        transaction = other.transaction()
        await transaction.start()
        await other.execute(
            "INSERT INTO leaderboard_records (leaderboard_id, owner_id, username, score, subscore)"
            " VALUES ('race', $1, 'ann', 50, 0)",
            ANN,
        )
        await other.execute("UPDATE leaderboard_records SET score = 60 WHERE owner_id = $1", BOB)
        waiting = asyncio.gather(
            bench.service.submit("race", ANN, "ann", 20), bench.service.submit("race", BOB, "bob", 30)
        )
        await until(lambda: watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await transaction.commit()
        ann, bob = await waiting
        assert (ann.score, ann.rank) == (50, 2)
        assert (bob.score, bob.rank) == (60, 1)
    finally:
        await other.close()
        await watcher.close()


async def test_when_it_is_unknown_whether_a_score_was_written_the_ranks_are_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = bench.service
    may_load, load_ranks = asyncio.Event(), bench.store.load_ranks

    async def load_later(periods: list[Period]) -> None:
        await may_load.wait()
        await load_ranks(periods)

    monkeypatch.setattr(bench.store, "load_ranks", load_later)
    await boards.create("cut")
    await boards.submit("cut", BOB, "bob", 5)
    other = await asyncpg.connect(bench.database.url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE leaderboard_records SET score = 70 WHERE owner_id = $1", BOB)
        waiting = asyncio.ensure_future(boards.submit("cut", BOB, "bob", 9))
        # The submission waits for the other's lock; its connection is cut while it does.
        await until(lambda: other.fetchval(CUT_WAITING))
        with pytest.raises(OutcomeUnknown):
            await waiting
        await transaction.commit()
        assert (await boards.records("cut", [BOB])).rank_count == 0
        record = await boards.submit("cut", ANN, "ann", 99)
        assert record.rank == 0
        may_load.set()
        await until(lambda: _ranked(boards, "cut"))
        page = await boards.records("cut", [ANN, BOB])
        assert [(record.owner_id, record.rank) for record in page.owner_records] == [(ANN, 1), (BOB, 2)]
    finally:
        await other.close()


CUT_WAITING = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def _ranked(boards: LeaderboardService, id: str) -> int:
    return (await boards.records(id, [ANN])).rank_count
