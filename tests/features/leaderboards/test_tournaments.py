"""Taking part in tournaments: seats, attempts, windows and periods, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from palestra.core.errors import OutcomeUnknown, PalestraError
from palestra.core.ids import new_id
from palestra.features.leaderboards.contract import (
    AttemptsUsedUp,
    AuthoritativeTournament,
    InvalidLeaderboard,
    InvalidMetadata,
    InvalidScore,
    InvalidTournament,
    JoinMissing,
    JoinRefused,
    LeaderboardNotFound,
    RecordNotFound,
    Tournament,
    TournamentClosed,
    TournamentFull,
    TournamentNotFound,
)
from palestra.features.leaderboards.service import LeaderboardService
from palestra.features.leaderboards.tournaments import TournamentService
from tests.features.leaderboards.conftest import Bench, node, until

HOUR, DAY = 3_600, 86_400
ANN, BOB, CID = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))


async def seen(tournaments: TournamentService, id: str) -> Tournament:
    (found,) = await tournaments.get([id])
    return found


# -- making them


async def test_creating_a_tournament_again_changes_nothing(bench: Bench) -> None:
    now = int(bench.clock.now())
    made = await bench.tournaments.create(
        "cup", duration_seconds=HOUR, title="Cup", category=7, max_size=5, end_time=now + DAY, metadata={"a": 1}
    )
    assert (made.title, made.category, made.max_size, made.max_num_score) == ("Cup", 7, 5, 1_000_000)
    assert (made.start_time, made.start_active, made.end_active) == (now, now, now + HOUR)
    assert (made.end_time, made.next_reset, made.prev_reset) == (now + DAY, now + DAY, 0)
    assert (made.can_enter, made.size, made.metadata) == (True, 0, '{"a": 1}')
    assert await bench.tournaments.create("cup", duration_seconds=5, title="Other") == made
    assert await bench.tournaments.get(["cup", "unknown", "cup", ""]) == [made]
    async with node(bench.database, bench.clock) as again:
        await again.boards.start()
        assert await again.tournaments.get(["cup"]) == [made]


async def test_a_game_that_starts_again_after_the_end_of_its_tournament_finds_it_over(bench: Bench) -> None:
    end = bench.clock.now() + HOUR
    await bench.tournaments.create("cup", duration_seconds=HOUR, end_time=end)
    bench.clock.advance(DAY)
    over = await bench.tournaments.create("cup", duration_seconds=HOUR, end_time=end)
    assert (over.can_enter, over.end_active) == (False, int(end))


async def test_a_tournament_that_cannot_be_is_not_made(tournaments: TournamentService) -> None:
    wrong: list[dict[str, Any]] = [
        {"duration_seconds": 0},
        {"sort": "up"},
        {"reset": "never"},
        {"max_size": -1},
        {"metadata": {"a": "\0"}},
        {"end_time": 5},
    ]
    for settings in wrong:
        with pytest.raises(InvalidTournament):
            await tournaments.create("t", **{"duration_seconds": HOUR, **settings})
    assert await tournaments.get(["t"]) == []


async def test_leaderboards_and_tournaments_share_their_ids_and_nothing_else(
    boards: LeaderboardService, tournaments: TournamentService
) -> None:
    await boards.create("board")
    await tournaments.create("cup", duration_seconds=HOUR)
    with pytest.raises(InvalidTournament, match="'board' is the id of a leaderboard"):
        await tournaments.create("board", duration_seconds=HOUR)
    with pytest.raises(InvalidLeaderboard, match="'cup' is the id of a tournament"):
        await boards.create("cup")
    assert [board.id for board in await boards.get(["board", "cup"])] == ["board"]
    assert [board.id for board in (await boards.list()).leaderboards] == ["board"]
    for call in (boards.submit("cup", ANN, "ann", 1), boards.remove("cup", ANN)):
        with pytest.raises(LeaderboardNotFound):
            await call
    with pytest.raises(TournamentNotFound, match="Error writing score to tournament"):
        await tournaments.submit("board", ANN, "ann", 1)
    for refused in (tournaments.join("board", ANN, "ann"), tournaments.remove("board", ANN)):
        with pytest.raises(TournamentNotFound):
            await refused
    await boards.delete("cup")
    await tournaments.delete("board")
    await tournaments.submit("cup", ANN, "ann", 1)
    assert [r.owner_id for r in (await boards.records("cup", limit=5)).records] == [ANN]
    assert len(await boards.get(["board"])) == 1


async def test_deleting_a_tournament_deletes_its_records(tournaments: TournamentService) -> None:
    await tournaments.create("cup", duration_seconds=HOUR, max_size=1)
    await tournaments.submit("cup", ANN, "ann", 5)
    await tournaments.delete("cup")
    with pytest.raises(TournamentNotFound):
        await tournaments.records("cup")
    made = await tournaments.create("cup", duration_seconds=HOUR, max_size=1)
    assert (made.size, (await tournaments.records("cup")).records) == (0, [])


async def test_a_score_for_a_tournament_that_was_just_deleted_elsewhere_finds_none(bench: Bench) -> None:
    await bench.tournaments.create("cup", duration_seconds=HOUR)
    await bench.database.execute("DELETE FROM leaderboards WHERE id = 'cup'")
    with pytest.raises(TournamentNotFound):
        await bench.tournaments.submit("cup", ANN, "ann", 5)


# -- scores


async def test_every_score_counts_as_an_attempt_and_the_operator_decides_what_stays(
    tournaments: TournamentService,
) -> None:
    await tournaments.create("best", duration_seconds=HOUR)
    await tournaments.create("fast", duration_seconds=HOUR, sort="asc")
    await tournaments.create("sum", duration_seconds=HOUR, operator="incr")
    await tournaments.create("down", duration_seconds=HOUR, operator="decr")
    for id, expected in (("best", [5, 9, 9]), ("fast", [5, 5, 3]), ("sum", [5, 14, 17]), ("down", [0, 0, 0])):
        records = [await tournaments.submit(id, ANN, "ann", score, 1) for score in (5, 9, 3)]
        assert [record.score for record in records] == expected
        assert [record.num_score for record in records] == [1, 2, 3]
        assert {record.max_num_score for record in records} == {1_000_000}
    record = await tournaments.submit("best", ANN, "anna", 2, operator="set", metadata={"a": 1})
    assert (record.score, record.username, record.metadata) == (2, "anna", '{"a": 1}')
    record = await tournaments.submit("best", ANN, "anna", 1)
    assert (record.score, record.num_score, record.metadata) == (2, 5, '{"a": 1}')
    record = await tournaments.submit("sum", ANN, "ann", 2**63 - 1)
    assert record.score == 2**63 - 1


async def test_a_score_that_cannot_be_is_refused_and_its_neighbours_are_written(
    tournaments: TournamentService,
) -> None:
    await tournaments.create("cup", duration_seconds=HOUR)
    for score in (-1, 2**63):
        with pytest.raises(InvalidScore, match="Error writing score to tournament"):
            await tournaments.submit("cup", ANN, "ann", score)
    with pytest.raises(InvalidScore, match="Error writing score to tournament"):
        await tournaments.submit("cup", ANN, "ann", 1, operator=7)
    with pytest.raises(InvalidMetadata):
        await tournaments.submit("cup", ANN, "ann", 1, metadata="[]")
    outcomes = await asyncio.gather(
        tournaments.submit("cup", ANN, "ann", 1),
        tournaments.submit("cup", BOB, "bob", 1, metadata='{"a": "\\u0000"}'),
        tournaments.submit("cup", CID, "cid\0", 1),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["LeaderboardRecord", "InvalidMetadata", "InvalidScore"]


async def test_scores_count_from_the_opening_of_a_window_until_it_closes(bench: Bench) -> None:
    tournaments, now = bench.tournaments, bench.clock.now()
    await tournaments.create("cup", duration_seconds=HOUR, start_time=now + 10, end_time=now + 2 * HOUR)
    for score in (5, -5):
        with pytest.raises(TournamentClosed):
            await tournaments.submit("cup", ANN, "ann", score)
    assert not (await seen(tournaments, "cup")).can_enter
    bench.clock.advance(10)
    assert (await tournaments.submit("cup", ANN, "ann", 5)).rank == 1
    assert (await seen(tournaments, "cup")).can_enter
    bench.clock.advance(HOUR)
    with pytest.raises(TournamentClosed):
        await tournaments.submit("cup", ANN, "ann", 6)
    assert len((await tournaments.records("cup")).records) == 1
    bench.clock.advance(HOUR)
    with pytest.raises(TournamentNotFound, match="not found or has ended"):
        await tournaments.submit("cup", ANN, "ann", 6)
    with pytest.raises(TournamentNotFound, match="Tournament has ended"):
        await tournaments.records("cup")
    assert (await tournaments.around("cup", ANN)).records == []
    end = int(now + 2 * HOUR)
    assert [r.score for r in (await tournaments.records("cup", expiry=end)).records] == [5]
    assert [r.rank for r in (await tournaments.around("cup", ANN, expiry=end)).records] == [1]


async def test_only_the_game_writes_to_an_authoritative_tournament(tournaments: TournamentService) -> None:
    await tournaments.create("cup", duration_seconds=HOUR, authoritative=True)
    for score in (5, -5):
        with pytest.raises(AuthoritativeTournament, match="only allows authoritative score submissions"):
            await tournaments.submit("cup", ANN, "ann", score, authority=False)
    await tournaments.submit("cup", ANN, "ann", 5)
    with pytest.raises(AuthoritativeTournament, match="Error deleting score from tournament"):
        await tournaments.remove("cup", ANN, authority=False)
    await tournaments.remove("cup", ANN)
    await tournaments.remove("cup", ANN)
    assert (await tournaments.records("cup")).records == []


# -- attempts


async def test_attempts_run_out_with_an_error_or_quietly_where_joining_is_required(
    tournaments: TournamentService,
) -> None:
    await tournaments.create("open", duration_seconds=HOUR, max_num_score=2)
    await tournaments.create("joined", duration_seconds=HOUR, max_num_score=2, join_required=True)
    await tournaments.join("joined", ANN, "ann")
    for id in ("open", "joined"):
        for score in (1, 2):
            record = await tournaments.submit(id, ANN, "ann", score)
        assert (record.num_score, record.max_num_score) == (2, 2)
    with pytest.raises(AttemptsUsedUp):
        await tournaments.submit("open", ANN, "ann", 3)
    assert await tournaments.submit("joined", ANN, "ann", 3) == record


async def test_attempts_can_be_added_and_taken_away(tournaments: TournamentService) -> None:
    await tournaments.create("cup", duration_seconds=HOUR, max_num_score=1)
    with pytest.raises(RecordNotFound):
        await tournaments.add_attempts("cup", ANN, 1)
    await tournaments.submit("cup", ANN, "ann", 1)
    record = await tournaments.add_attempts("cup", ANN, 2)
    assert (record.score, record.username, record.num_score, record.max_num_score) == (1, "ann", 1, 3)
    await tournaments.submit("cup", ANN, "ann", 2)
    assert (await tournaments.add_attempts("cup", ANN, -9)).max_num_score == 0
    with pytest.raises(AttemptsUsedUp):
        await tournaments.submit("cup", ANN, "ann", 3)
    assert (await tournaments.add_attempts("cup", ANN, 2**40)).max_num_score == 2**31 - 1


async def test_of_many_attempts_at_once_exactly_as_many_count_as_are_allowed(bench: Bench) -> None:
    owners = [new_id() for _ in range(10)]
    async with node(bench.database, bench.clock) as other:
        await bench.tournaments.create("cup", duration_seconds=HOUR, max_num_score=7, operator="incr")
        outcomes = await asyncio.gather(
            *(
                service.submit("cup", owner, "name", 1)
                for _ in range(10)
                for owner in owners
                for service in (bench.tournaments, other.tournaments)
            ),
            return_exceptions=True,
        )
    assert Counter(type(outcome).__name__ for outcome in outcomes) == {"LeaderboardRecord": 70, "AttemptsUsedUp": 130}
    page = await bench.tournaments.records("cup", limit=100)
    assert {(record.score, record.num_score) for record in page.records} == {(7, 7)}
    assert len(page.records) == 10


# -- seats


async def test_joining_takes_a_seat_with_a_record_of_zero(bench: Bench) -> None:
    tournaments, now = bench.tournaments, bench.clock.now()
    await tournaments.create(
        "cup", duration_seconds=HOUR, start_time=now + 60, join_required=True, max_size=2, sort="asc"
    )
    for owner, name in ((ANN, "ann"), (ANN, "ann"), (BOB, "bob")):
        await tournaments.join("cup", owner, name)
    with pytest.raises(JoinRefused, match="has reached its max size"):
        await tournaments.join("cup", CID, "cid")
    assert (await seen(tournaments, "cup")).size == 2
    bench.clock.advance(60)
    assert not (await seen(tournaments, "cup")).can_enter
    page = await tournaments.records("cup", [ANN])
    assert [(r.score, r.num_score, r.rank) for r in page.owner_records] == [(0, 0, 1)]
    with pytest.raises(JoinMissing):
        await tournaments.submit("cup", CID, "cid", 5)
    # Where less is better the nought of joining is no score to beat.
    record = await tournaments.submit("cup", ANN, "ann", 5)
    assert (record.score, record.num_score, record.rank) == (5, 1, 2)
    bench.clock.advance(HOUR)
    with pytest.raises(JoinRefused, match="not active and cannot accept new joins"):
        await tournaments.join("cup", ANN, "ann")


async def test_joining_does_nothing_where_it_is_not_required(bench: Bench) -> None:
    await bench.tournaments.create("cup", duration_seconds=HOUR, max_size=1)
    bench.clock.advance(DAY)
    await bench.tournaments.join("cup", ANN, "ann")
    assert (await seen(bench.tournaments, "cup")).size == 0


async def test_a_record_that_is_deleted_frees_its_seat(bench: Bench) -> None:
    tournaments = bench.tournaments
    await tournaments.create("cup", duration_seconds=HOUR, max_size=1)
    await tournaments.submit("cup", ANN, "ann", 1)
    with pytest.raises(TournamentFull):
        await tournaments.submit("cup", BOB, "bob", 1)
    await tournaments.submit("cup", ANN, "ann", 2)
    await tournaments.remove("cup", ANN)
    await tournaments.submit("cup", BOB, "bob", 1)
    async with bench.database.transaction() as tx:
        await bench.service.forget(tx, BOB)
    bench.service.forgotten(BOB)
    assert (await seen(tournaments, "cup")).size == 0
    assert (await tournaments.submit("cup", CID, "cid", 1)).rank == 1


@pytest.mark.parametrize("join_required", [True, False])
async def test_of_two_hundred_who_come_at_once_on_two_nodes_fifty_find_a_seat(
    bench: Bench, join_required: bool
) -> None:
    async with node(bench.database, bench.clock) as other:
        await bench.tournaments.create("cup", duration_seconds=HOUR, max_size=50, join_required=join_required)

        async def come(service: TournamentService) -> bool:
            owner = new_id()
            try:
                if join_required:
                    await service.join("cup", owner, "name")
                else:
                    await service.submit("cup", owner, "name", 1)
            except (JoinRefused, TournamentFull):
                return False
            return True

        came = await asyncio.gather(*(come((bench, other)[n % 2].tournaments) for n in range(200)))
        batches = [bench.tournament_store.batches[0], other.tournament_store.batches[0]]
        assert [batch.retries + batch.splits for batch in batches] == [0, 0]
    assert Counter(came) == {True: 50, False: 150}
    assert (await seen(bench.tournaments, "cup")).size == 50
    rows = "SELECT count(*) FROM leaderboard_records WHERE leaderboard_id = 'cup'"
    assert await bench.database.fetchval(rows) == 50


async def test_coming_and_going_at_once_leaves_as_many_seats_taken_as_there_are_records(bench: Bench) -> None:
    tournaments, owners = bench.tournaments, [new_id() for _ in range(40)]
    await tournaments.create("cup", duration_seconds=HOUR, max_size=10)

    async def come_and_go(owner: str, times: int) -> None:
        for _ in range(times):
            try:
                await tournaments.submit("cup", owner, "name", 1)
            except TournamentFull:
                continue
            await tournaments.remove("cup", owner)

    await asyncio.gather(*(come_and_go(owner, 5) for owner in owners))
    assert (await seen(tournaments, "cup")).size == 0
    assert (await tournaments.records("cup")).rank_count == 0


# -- periods


async def test_each_period_has_its_own_records_seats_and_attempts(bench: Bench) -> None:
    tournaments, clock = bench.tournaments, bench.clock
    clock.advance(DAY - clock.now() % DAY)  # midnight
    midnight = int(clock.now())
    await tournaments.create("daily", duration_seconds=HOUR, reset="@daily", max_size=1, max_num_score=1)
    first = await tournaments.submit("daily", ANN, "ann", 5)
    assert first.expires_at is not None and int(first.expires_at.timestamp()) == midnight + DAY
    for refused in (tournaments.submit("daily", BOB, "bob", 1), tournaments.submit("daily", ANN, "ann", 1)):
        with pytest.raises(PalestraError):
            await refused
    clock.advance(HOUR)
    with pytest.raises(TournamentClosed):
        await tournaments.submit("daily", ANN, "ann", 5)
    between = await seen(tournaments, "daily")
    assert (between.can_enter, between.size, between.prev_reset) == (False, 1, midnight)
    assert (between.end_active, between.next_reset) == (midnight + HOUR, midnight + DAY)
    clock.advance(DAY - HOUR)
    fresh = await seen(tournaments, "daily")
    assert (fresh.can_enter, fresh.size, fresh.prev_reset) == (True, 0, midnight + DAY)
    second = await tournaments.submit("daily", BOB, "bob", 7)
    assert (second.rank, second.num_score) == (1, 1)
    assert (await seen(tournaments, "daily")).size == 1
    old = await tournaments.records("daily", expiry=midnight + DAY)
    assert [(r.owner_id, r.rank) for r in old.records] == [(ANN, 1)]


async def test_who_joined_before_the_start_is_in_the_first_period(bench: Bench) -> None:
    tournaments, clock = bench.tournaments, bench.clock
    clock.advance(DAY - clock.now() % DAY)
    await tournaments.create(
        "daily", duration_seconds=DAY, reset="@daily", join_required=True, start_time=clock.now() + 30 * HOUR
    )
    await tournaments.join("daily", ANN, "ann")
    before = await seen(tournaments, "daily")
    assert before.prev_reset == 0
    clock.advance(30 * HOUR)
    record = await tournaments.submit("daily", ANN, "ann", 5)
    assert (record.score, record.rank) == (5, 1)
    after = await seen(tournaments, "daily")
    assert (before.start_active, before.next_reset) == (after.start_active, after.next_reset)


async def test_a_seat_in_a_period_that_was_followed_by_another_is_not_given(bench: Bench) -> None:
    """Two nodes whose clocks differ: the one behind cannot take seats from the running period."""
    tournaments = bench.tournaments
    await tournaments.create("daily", duration_seconds=DAY, reset="@daily", max_size=2, join_required=True)
    await bench.database.execute("UPDATE leaderboards SET size = 1, size_expires_at = now() + interval '9 years'")
    with pytest.raises(JoinRefused, match="cannot accept new joins"):
        await tournaments.join("daily", ANN, "ann")


async def test_a_restarted_node_knows_seats_and_ranks_again(bench: Bench) -> None:
    await bench.tournaments.create("cup", duration_seconds=DAY, reset="@daily", max_size=9)
    await bench.tournaments.submit("cup", ANN, "ann", 5)
    await bench.tournaments.submit("cup", BOB, "bob", 7)
    async with node(bench.database, bench.clock) as again:
        await again.boards.start()

        async def ranked() -> bool:
            return (await again.tournaments.records("cup")).rank_count == 2

        await until(ranked)
        page = await again.tournaments.around("cup", ANN)
        assert [(r.owner_id, r.rank) for r in page.records] == [(BOB, 1), (ANN, 2)]
        assert (await seen(again.tournaments, "cup")).size == 2


async def test_when_it_is_unknown_whether_a_score_was_written_the_ranks_are_read_again(bench: Bench) -> None:
    tournaments = bench.tournaments
    await tournaments.create("cup", duration_seconds=HOUR)
    await tournaments.submit("cup", BOB, "bob", 5)
    other = await asyncpg.connect(bench.database.url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM leaderboards FOR UPDATE")
        waiting = asyncio.ensure_future(tournaments.submit("cup", BOB, "bob", 9))
        await until(
            lambda: other.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )
        with pytest.raises(OutcomeUnknown):
            await waiting
        await transaction.rollback()

        async def ranked() -> bool:
            return (await tournaments.records("cup", [BOB])).rank_count == 1

        await until(ranked)
        assert (await tournaments.submit("cup", BOB, "bob", 1)).score == 5
    finally:
        await other.close()
