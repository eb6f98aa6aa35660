"""Authoritative matches are found by label, query and size, from the moment they change."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from palestra import Game, Match, MatchMessage
from palestra.core.query import BadQuery
from palestra.features.matches import feature, wire
from palestra.features.matches.routes import MatchesRoutes
from palestra.gateway.operation import Call
from tests.features.listener import Listener
from tests.features.matches.games import Hall

game = Game("test")


class Nothing(msgspec.Struct):
    """There is nothing to remember."""


@game.match("labelled", ticks_per_second=5)
class Labelled(Match[Nothing]):
    """Carries the label it is told."""

    def init(self, label: Any) -> Nothing:
        self.label = label
        return Nothing()

    def tick(self, messages: list[MatchMessage]) -> None:
        pass

    def signal(self, data: str) -> str:
        self.label = data
        return ""


async def labelled(hall: Hall, *labels: Any) -> list[str]:
    return [await hall.matches.create("labelled", label) for label in labels]


async def found(hall: Hall, **query: Any) -> list[str]:
    return [one.match_id for one in await hall.matches.list(**query)]


async def test_queries_see_labels_and_what_every_match_has() -> None:
    hall = Hall(game)
    duel, team, plain = await labelled(
        hall,
        {"mode": "duel", "skill": 10, "open": True, "tags": ["a", "b"], "deep": {"x": 1}},
        {"mode": "team", "skill": 60, "open": False, "tags": ["b"], "since": "2026-01-31"},
        "plain",
    )
    everything = {plain, team, duel}
    for query, expected in {
        "*": everything,
        "": everything,
        "+label.mode:duel": {duel},
        "+label.skill:>=10": {duel, team},
        "+label.open:T": {duel},
        "+label.tags:b -label.tags:a": {team},
        "+label.deep.x:1": {duel},
        '+label.since:>"2026-01-01"': {team},
        "+label_string:plain": {plain},
        "+handler_name:labelled": everything,
        "+node:node +tick_rate:5": everything,
        "+node:other": set(),
        '+create_time:>"2000-01-01"': everything,
    }.items():
        assert set(await found(hall, query=query)) == expected, query
    assert await found(hall, query="label.mode:duel label.tags:b^3 label.skill:>50") == [team, duel]
    with pytest.raises(BadQuery):
        await found(hall, query='"')


async def test_the_newest_come_first_and_the_limit_holds() -> None:
    hall = Hall(game)
    ids = await labelled(hall, "a", "b", "c")
    assert await found(hall) == ids[::-1]
    assert await found(hall, limit=2) == [ids[2], ids[1]]
    assert await found(hall, query="*", limit=2) == [ids[2], ids[1]]
    assert await found(hall, label="a") == [ids[0]]
    assert await found(hall, label="") == []
    assert await found(hall, label="a", query="*") == ids[::-1]


async def test_a_change_of_label_is_found_at_once_and_an_end_too() -> None:
    hall = Hall(game)
    (match_id,) = await labelled(hall, {"mode": "duel"})
    assert await found(hall, query="+label.mode:duel") == [match_id]
    await hall.matches.signal(match_id, '{"mode":"team"}')
    assert await found(hall, query="+label.mode:duel") == []
    assert await found(hall, query="+label.mode:team") == [match_id]
    await hall.matches.signal(match_id, '{"mode":')
    assert await found(hall, query="+label.mode:team") == []
    assert await found(hall, label='{"mode":') == [match_id]


async def test_sizes_count_members_and_relayed_matches_come_last() -> None:
    hall = Hall(game)
    empty, full = await labelled(hall, "a", "b")
    await hall.enter(full, "ann", "bob")
    relayed = hall.matches.create_relayed(Listener("eve"), "").match_id
    assert await found(hall) == [full, empty, relayed]
    assert await found(hall, authoritative=True) == [full, empty]
    assert await found(hall, authoritative=False) == [relayed]
    assert await found(hall, min_size=1) == [full, relayed]
    assert await found(hall, max_size=1) == [empty, relayed]
    assert await found(hall, limit=2) == [full, empty]


async def test_the_wire_has_all_fields_and_keeps_an_empty_label() -> None:
    hall = Hall(game)
    (match_id,) = await labelled(hall, "")
    await hall.enter(match_id, "ann")
    routes = MatchesRoutes(hall.matches)
    (operation,) = feature.operations(routes)
    answer = await routes.list(Call(operation, None), wire.ListMatches())
    assert json.loads(wire.encode(answer)) == {
        "matches": [
            {
                "match_id": match_id,
                "authoritative": True,
                "label": "",
                "size": 1,
                "tick_rate": 5,
                "handler_name": "labelled",
            }
        ]
    }


async def test_quotes_are_for_game_code_and_find_nothing_for_clients() -> None:
    hall = Hall(game)
    (duel,) = await labelled(hall, {"mode": "a duel"})
    query = '+label.mode:"a duel"'
    assert await found(hall, query=query) == [duel]
    routes = MatchesRoutes(hall.matches)
    (operation,) = feature.operations(routes)
    assert (await routes.list(Call(operation, None), wire.ListMatches(query=query))).matches == []
    escaped = wire.ListMatches(query="+label.mode:a\\ duel")
    assert [one.match_id for one in (await routes.list(Call(operation, None), escaped)).matches] == [duel]
