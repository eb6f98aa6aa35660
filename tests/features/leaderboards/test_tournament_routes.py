"""The tournament endpoints over HTTP: statuses, codes, texts and shapes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import SessionSettings, Settings
from palestra.core.ids import new_id
from palestra.features.leaderboards.tournaments import TournamentService
from palestra.testing import Bot, BotError, Platform

HOUR = 3_600
CUP = "/v2/tournament/cup"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def platform(database_url: str, clock: ManualClock) -> AsyncIterator[Platform]:
    settings = Settings(session=SessionSettings(token_seconds=86_400))
    async with Platform.start(database_url=database_url, clock=clock, settings=settings) as started:
        yield started


@pytest.fixture
def tournaments(platform: Platform) -> TournamentService:
    parts = platform.node.parts
    assert parts is not None
    return parts.services.boards.tournaments


@pytest.fixture
async def ann(platform: Platform) -> Bot:
    return await platform.bot("ann")


async def refused(bot: Bot, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, int, str]:
    with pytest.raises(BotError) as error:
        await bot.call(method, path, body, query=query)
    return error.value.status, error.value.code, error.value.message


async def test_a_tournament_is_listed_with_what_it_is_and_how_it_stands(
    tournaments: TournamentService, ann: Bot, clock: ManualClock
) -> None:
    now = int(clock.now())
    await tournaments.create(
        "cup",
        duration_seconds=HOUR,
        reset="@daily",
        start_time=now,
        end_time=now + 90_000,
        title="The cup",
        description="For all",
        category=3,
        max_size=2,
        max_num_score=4,
        join_required=True,
        authoritative=True,
        metadata={"a": 1},
    )
    await tournaments.create("plain", duration_seconds=HOUR, sort="asc", operator="incr", start_time=now + 1)
    cup, plain = (await ann.call("GET", "/v2/tournament"))["tournaments"]
    midnight = now - now % 86_400 + 86_400
    assert cup.pop("create_time").endswith("Z") and plain.pop("create_time").endswith("Z")
    assert cup == {
        "id": "cup",
        "title": "The cup",
        "description": "For all",
        "category": 3,
        "sort_order": 1,
        "max_size": 2,
        "max_num_score": 4,
        "end_active": midnight + HOUR,
        "next_reset": now + 90_000,
        "metadata": '{"a": 1}',
        "start_time": "2025-06-15T15:06:40Z",
        "end_time": "2025-06-16T16:06:40Z",
        "duration": HOUR,
        "start_active": midnight,
        "prev_reset": midnight - 86_400,
        "operator": 1,
        "authoritative": True,
        "join_required": True,
    }
    assert plain == {
        "id": "plain",
        "max_size": 2_147_483_647,
        "max_num_score": 1_000_000,
        "end_active": now + 1 + HOUR,
        "metadata": "{}",
        "start_time": "2025-06-15T15:06:41Z",
        "duration": HOUR,
        "start_active": now + 1,
        "operator": 3,
    }
    clock.advance(1)
    (plain,) = (await ann.call("GET", "/v2/tournament", query={"category_end": 2, "start_time": 5}))["tournaments"]
    assert plain["can_enter"] is True


async def test_lists_are_paged_and_checked(tournaments: TournamentService, ann: Bot) -> None:
    assert await ann.call("GET", "/v2/tournament") == {}
    for n in range(3):
        await tournaments.create(f"t{n}", duration_seconds=HOUR)
    page = await ann.call("GET", "/v2/tournament", query={"limit": 2})
    assert [t["id"] for t in page["tournaments"]] == ["t0", "t1"]
    page = await ann.call("GET", "/v2/tournament", query={"limit": 2, "cursor": page["cursor"]})
    assert ([t["id"] for t in page["tournaments"]], "cursor" in page) == (["t2"], False)
    assert await ann.call("GET", "/v2/tournament", query={"end_time": 5}) == {}
    assert len((await ann.call("GET", "/v2/tournament", query={"endTime": 0}))["tournaments"]) == 3
    for query, message in (
        ({"limit": -1}, "Limit must be between 1 and 100."),
        ({"category_end": 128}, "Tournament category end must be >=0 and <128."),
        ({"category_start": 2, "category_end": 1}, "Tournament category end must be greater than category start."),
        ({"start_time": 2, "end_time": 1}, "Tournament end time must be greater than start time."),
        ({"cursor": "oops"}, "leaderboard cursor invalid"),
    ):
        assert await refused(ann, "GET", "/v2/tournament", **query) == (400, 3, message)
    assert (await refused(ann, "GET", "/v2/tournament", start_time=-1))[:2] == (400, 3)
    assert await ann.call("GET", "/v2/tournament", query={"category_start": 200}) == {}


async def test_what_does_not_exist_is_not_found(tournaments: TournamentService, ann: Bot) -> None:
    not_found = (404, 5, "Tournament not found.")
    assert await refused(ann, "PUT", CUP, {"score": 1}) == not_found
    assert await refused(ann, "POST", CUP) == not_found
    assert await refused(ann, "POST", f"{CUP}/join") == not_found
    assert await refused(ann, "GET", CUP) == not_found
    assert await refused(ann, "GET", CUP, owner_ids="x") == (400, 3, "One or more owner IDs are invalid.")
    assert await refused(ann, "GET", f"{CUP}/owner/{ann.id}") == not_found
    assert await refused(ann, "DELETE", CUP) == (404, 5, "Error deleting score from tournament.")


async def test_a_score_is_written_by_put_and_by_post(tournaments: TournamentService, ann: Bot) -> None:
    await tournaments.create("cup", duration_seconds=HOUR, operator="incr", max_num_score=3)
    first = await ann.call("PUT", CUP, {"score": "5", "metadata": '{"car":"red"}'})
    second = await ann.call("POST", CUP, {"score": 2, "subscore": 1})
    assert {key: second[key] for key in second if not key.endswith("_time")} == {
        "leaderboard_id": "cup",
        "owner_id": ann.id,
        "username": "ann",
        "score": "7",
        "subscore": "1",
        "num_score": 2,
        "metadata": '{"car": "red"}',
        "rank": "1",
        "max_num_score": 3,
    }
    assert first["create_time"] == second["create_time"]
    assert (await ann.call("POST", CUP, {"score": 1, "operator": "SET"}))["score"] == "1"
    assert await refused(ann, "PUT", CUP, {"score": 1}) == (
        400,
        9,
        "Reached allowed max number of score attempts.",
    )
    assert await ann.call("DELETE", CUP) == {}
    assert await ann.call("DELETE", CUP) == {}
    assert await ann.call("GET", CUP) == {}


async def test_each_refusal_of_a_score_has_its_status_and_text(
    platform: Platform, tournaments: TournamentService, ann: Bot, clock: ManualClock
) -> None:
    now, bob = clock.now(), await platform.bot("bob")
    await tournaments.create("later", duration_seconds=HOUR, start_time=now + 60)
    await tournaments.create("joined", duration_seconds=HOUR, join_required=True, max_size=1)
    await tournaments.create("full", duration_seconds=HOUR, max_size=1)
    await tournaments.create("ours", duration_seconds=HOUR, authoritative=True)
    await tournaments.create("over", duration_seconds=HOUR, end_time=now + 60)
    await tournaments.create("cup", duration_seconds=HOUR)
    await bob.call("PUT", "/v2/tournament/full", {"score": 1})
    await bob.call("POST", "/v2/tournament/joined/join")
    parts = platform.node.parts
    assert parts is not None
    await parts.services.boards.leaderboards.create("board")
    writing = "Error writing score to tournament."
    for id, body, answer in (
        ("later", {"score": 1}, (400, 9, "Tournament is not active and cannot accept new scores.")),
        ("joined", {"score": 1}, (400, 9, "Must join tournament before attempting to write value.")),
        ("full", {"score": 1}, (400, 9, "Tournament has reached max size.")),
        ("ours", {"score": 1}, (403, 7, "Tournament only allows authoritative score submissions.")),
        ("cup", {"score": -1}, (400, 3, writing)),
        ("cup", {"operator": 7}, (400, 3, writing)),
        ("cup", {"metadata": "[]"}, (400, 3, "Metadata value must be JSON, if provided.")),
        ("board", {"score": 1}, (404, 5, writing)),
    ):
        assert await refused(ann, "PUT", f"/v2/tournament/{id}", body) == answer
    assert await refused(ann, "POST", "/v2/tournament/joined/join") == (
        400,
        3,
        "Tournament cannot be joined as it has reached its max size.",
    )
    assert await refused(ann, "DELETE", "/v2/tournament/ours") == (403, 7, "Error deleting score from tournament.")
    assert await refused(ann, "POST", "/v2/leaderboard/cup", {"score": 1}) == (404, 5, "Leaderboard not found.")
    assert await refused(ann, "DELETE", "/v2/leaderboard/cup") == (404, 5, "Leaderboard not found.")
    clock.advance(60)
    assert await refused(ann, "PUT", "/v2/tournament/over", {"score": 1}) == (
        404,
        5,
        "Tournament not found or has ended.",
    )
    assert await refused(ann, "GET", "/v2/tournament/over") == (404, 5, "Tournament has ended.")
    assert await ann.call("GET", f"/v2/tournament/over/owner/{ann.id}") == {}
    assert await ann.call("POST", "/v2/tournament/over/join") == {}
    clock.advance(HOUR)
    assert await refused(bob, "POST", "/v2/tournament/joined/join") == (
        400,
        3,
        "Tournament is not active and cannot accept new joins.",
    )


async def test_records_are_listed_ten_at_a_time_and_around_an_owner(tournaments: TournamentService, ann: Bot) -> None:
    await tournaments.create("cup", duration_seconds=HOUR)
    owners = [new_id() for _ in range(12)]
    for score, owner in enumerate(owners, 1):
        await tournaments.submit("cup", owner, "name", score)
    page = await ann.call("GET", CUP)
    assert [record["rank"] for record in page["records"]] == [str(rank) for rank in range(1, 11)]
    assert (page["rank_count"], "owner_records" in page, "prev_cursor" in page) == ("12", False, False)
    second = await ann.call("GET", CUP, query={"cursor": page["next_cursor"]})
    assert [record["rank"] for record in second["records"]] == ["11", "12"]
    both = await ann.call("GET", CUP, query={"owner_ids": owners[0], "limit": 1})
    assert [len(both["records"]), both["owner_records"][0]["rank"]] == [1, "12"]
    assert len((await ann.call("GET", CUP, query={"owner_ids": owners[0]}))["records"]) == 10
    theirs = await ann.call("GET", CUP, query={"owner_ids": owners[0], "cursor": page["next_cursor"]})
    assert set(theirs) == {"owner_records", "rank_count"}
    around = await ann.call("GET", f"{CUP}/owner/{owners[5]}")
    assert len(around["records"]) == 12
    around = await ann.call("GET", f"{CUP}/owner/{owners[5]}", query={"limit": 3})
    assert [record["rank"] for record in around["records"]] == ["6", "7", "8"]
    assert {"next_cursor", "prev_cursor"} <= set(around)
    assert await ann.call("GET", f"{CUP}/owner/{ann.id}") == {}
    limit = (400, 3, "Invalid limit - limit must be between 1 and 100.")
    assert await refused(ann, "GET", CUP, limit=101) == limit
    assert await refused(ann, "GET", f"{CUP}/owner/{ann.id}", limit=101) == limit
    assert await refused(ann, "GET", CUP, owner_ids="ann") == (400, 3, "One or more owner IDs are invalid.")
    assert await refused(ann, "GET", CUP, cursor="oops") == (400, 3, "Cursor is invalid or expired.")
    assert await refused(ann, "GET", f"{CUP}/owner/ann") == (400, 3, "Invalid owner ID provided.")
    same = await ann.call("GET", "/v2/leaderboard/cup", query={"limit": 10})
    assert same["records"] == page["records"]


async def test_a_player_who_deletes_the_account_leaves_the_tournament(
    platform: Platform, tournaments: TournamentService, ann: Bot
) -> None:
    await tournaments.create("cup", duration_seconds=HOUR, max_size=1, join_required=True)
    await ann.call("POST", f"{CUP}/join")
    await ann.call("DELETE", "/v2/account")
    bob = await platform.bot("bob")
    await bob.call("POST", f"{CUP}/join")
    page = await bob.call("GET", CUP)
    assert [record["username"] for record in page["records"]] == ["bob"]
    assert page["rank_count"] == "1"
