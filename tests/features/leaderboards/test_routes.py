"""What the leaderboard endpoints put on the wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from palestra.core.ids import new_id
from palestra.features.leaderboards import feature
from palestra.features.leaderboards.contract import AuthoritativeDeletion, AuthoritativeSubmission, InvalidScore
from palestra.features.leaderboards.routes import LeaderboardRoutes
from palestra.features.leaderboards.service import LeaderboardService
from palestra.gateway.fields import RequestDecoder
from palestra.gateway.operation import Call, Caller


class Player:
    """Calls operations as one player, from JSON to JSON."""

    def __init__(self, boards: LeaderboardService, name: str) -> None:
        self.id = new_id()
        self.last: Any = None
        self._caller = Caller(self.id, name, {}, new_id(), 2**40, 0)
        self._table = {operation.name: operation for operation in feature.operations(LeaderboardRoutes(boards))}

    async def __call__(self, name: str, board: str, body: str = "", **fields: Any) -> Any:
        operation = self._table[name]
        request = operation.request(leaderboard_id=board, **fields)
        if operation.body:
            decoder = RequestDecoder(type(getattr(request, operation.body)))
            setattr(request, operation.body, decoder.json(body))
        self.last = await operation.handler(Call(operation, self._caller), request)
        return json.loads(msgspec.json.encode(self.last))


@pytest.fixture
def ann(boards: LeaderboardService) -> Player:
    return Player(boards, "ann")


async def test_a_submission_answers_with_the_record(boards: LeaderboardService, ann: Player) -> None:
    await boards.create("yearly", reset="@yearly")
    body = '{"score": "9007199254740993", "metadata": "{\\"car\\":\\"red\\"}"}'
    answer = await ann("leaderboards.submit", "yearly", body)
    assert answer.pop("create_time").endswith("Z")
    assert answer.pop("update_time").endswith("Z")
    assert answer == {
        "leaderboard_id": "yearly",
        "owner_id": ann.id,
        "username": "ann",
        "score": "9007199254740993",
        "num_score": 1,
        "metadata": '{"car": "red"}',
        "expiry_time": "2026-01-01T00:00:00Z",
        "rank": "1",
        "max_num_score": 1_000_000,
    }


async def test_an_empty_submission_is_zero_and_zeros_are_left_out(boards: LeaderboardService, ann: Player) -> None:
    await boards.create("b")
    answer = await ann("leaderboards.submit", "b")
    assert not {"score", "subscore", "expiry_time"} & set(answer)
    assert (answer["metadata"], answer["rank"]) == ("{}", "1")


async def test_operators_come_by_number_or_name_and_unknown_names_are_ignored(
    boards: LeaderboardService, ann: Player
) -> None:
    await boards.create("b", operator="set")
    for operator, score in (("2", "5"), ('"INCREMENT"', "10"), ("3", "15"), ("4", "10"), ('"BIGGEST"', "5")):
        answer = await ann("leaderboards.submit", "b", f'{{"score": 5, "operator": {operator}}}')
        assert answer["score"] == score
    with pytest.raises(InvalidScore):
        await ann("leaderboards.submit", "b", '{"score": 5, "operator": 7}')


async def test_players_may_not_touch_authoritative_boards(boards: LeaderboardService, ann: Player) -> None:
    await boards.create("b", authoritative=True)
    with pytest.raises(AuthoritativeSubmission):
        await ann("leaderboards.submit", "b", '{"score": 5}')
    with pytest.raises(AuthoritativeDeletion):
        await ann("leaderboards.delete_record", "b")


async def test_a_list_has_one_record_unless_more_are_asked_for(boards: LeaderboardService, ann: Player) -> None:
    await boards.create("b")
    bob = Player(boards, "bob")
    assert await ann("leaderboards.list", "b", limit=5) == {}
    await ann("leaderboards.submit", "b", '{"score": 5}')
    await bob("leaderboards.submit", "b", '{"score": 7}')
    answer = await ann("leaderboards.list", "b")
    assert [record["username"] for record in answer["records"]] == ["bob"]
    assert (answer["rank_count"], "next_cursor" in answer, "prev_cursor" in answer) == ("2", True, False)
    answer = await ann("leaderboards.list", "b", owner_ids=[ann.id])
    assert set(answer) == {"owner_records", "rank_count"}
    answer = await ann("leaderboards.around", "b", owner_id=ann.id)
    assert [record["rank"] for record in answer["records"]] == ["2"]
    assert await ann("leaderboards.around", "b", owner_id=new_id()) == {}


async def test_those_who_share_a_page_share_its_wire_form(boards: LeaderboardService, ann: Player) -> None:
    await boards.create("b")
    bob = Player(boards, "bob")
    await ann("leaderboards.submit", "b", '{"score": 5}')
    await asyncio.gather(ann("leaderboards.list", "b", limit=5), bob("leaderboards.list", "b", limit=5))
    assert ann.last is bob.last


async def test_deleting_the_own_record_answers_nothing(boards: LeaderboardService, ann: Player) -> None:
    await boards.create("b")
    await ann("leaderboards.submit", "b", '{"score": 5}')
    assert await ann("leaderboards.delete_record", "b") == {}
    assert await ann("leaderboards.delete_record", "b") == {}
    assert await ann("leaderboards.list", "b", limit=5) == {}
