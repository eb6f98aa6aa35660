"""Listing parties: order, filters, queries, pages, and what stays unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import PartySettings
from palestra.core.query import BadQuery
from palestra.features.parties import feature, wire
from palestra.features.parties.contract import BadListing
from palestra.features.parties.routes import PartyRoutes
from palestra.features.parties.service import PartyService
from palestra.features.streams.engine import PresenceEngine
from palestra.gateway.operation import Call
from tests.features.listener import Listener
from tests.features.parties.hall import Tickets

Make = Callable[..., str]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def parties(clock: ManualClock) -> PartyService:
    return PartyService(PresenceEngine(), Tickets(), PartySettings(per_session_max=9999), "hall", clock)


@pytest.fixture
def make(parties: PartyService) -> Make:
    """Makes a party that carries its name in its label; its id."""
    ann = Listener("ann")

    def made(name: str = "", *, open: bool = True, hidden: bool = False, max_size: int = 4, **label: Any) -> str:
        text = json.dumps({"name": name, **label}) if name else ""
        return parties.create(ann, open=open, max_size=max_size, label=text, hidden=hidden).id

    return made


async def names(parties: PartyService, **asked: Any) -> list[str]:
    return [json.loads(one.label)["name"] for one in (await parties.list(**asked)).parties]


async def test_the_newest_come_first_ten_unless_more_are_asked_for(parties: PartyService, make: Make) -> None:
    for number in range(12):
        make(f"{number}")
    assert await names(parties) == [str(number) for number in range(11, 1, -1)]
    assert len(await names(parties, limit=100)) == 12
    for limit in (0, 101, -1):
        with pytest.raises(BadListing, match="Invalid limit - limit must be between 1 and 100"):
            await parties.list(limit=limit)


async def test_open_and_closed_ones_are_told_apart_if_asked(parties: PartyService, make: Make) -> None:
    make("open")
    make("closed", open=False)
    assert await names(parties) == ["closed", "open"]
    assert await names(parties, open=True) == ["open"]
    assert await names(parties, open=False) == ["closed"]


async def test_hidden_ones_are_for_game_modules_only(parties: PartyService, make: Make) -> None:
    make("seen")
    make("hidden", hidden=True)
    assert await names(parties, query="+hidden:T") == []
    assert await names(parties, show_hidden=True) == ["hidden", "seen"]
    assert await names(parties, show_hidden=True, query="+hidden:T") == ["hidden"]
    routes = PartyRoutes(parties)
    (operation,) = feature.operations(routes)
    listed = await routes.list(Call(operation, None), wire.ListParties())
    assert [json.loads(one.label)["name"] for one in listed.parties] == ["seen"]


async def test_queries_look_into_labels_and_at_what_every_party_has(
    parties: PartyService, make: Make, clock: ManualClock
) -> None:
    make("small", max_size=2, level=3, tags=["calm", "new"], by={"clan": "reds"}, ranked=True)
    clock.advance(60)
    make("large", max_size=9, level=30, open=False, ranked=False)
    found = {
        "+label.level:>=10": ["large"],
        "+label.tags:new": ["small"],
        "+label.by.clan:re*": ["small"],
        "label.ranked:T": ["small"],
        "-label.ranked:T": ["large"],
        "+open:F": ["large"],
        "+max_size:<5": ["small"],
        "+node:hall": ["large", "small"],
        "+node:other": [],
        f"+create_time:>{int(clock.now()) - 1}": ["large"],
        '+create_time:<"2025-06-15T15:06:41Z"': ["small"],
        "*": ["large", "small"],
        "": ["large", "small"],
    }
    assert {query: await names(parties, query=query) for query in found} == found
    with pytest.raises(BadQuery):
        await parties.list(query='label.name:"')


async def test_the_best_match_comes_first_and_of_equals_the_newer(parties: PartyService, make: Make) -> None:
    for name, level in (("a", 1), ("b", 2), ("c", 1), ("d", 2)):
        make(name, level=level)
    assert await names(parties, query="label.level:1^3 label.level:2") == ["c", "a", "d", "b"]


async def test_pages_follow_each_other_though_parties_come_and_go(parties: PartyService, make: Make) -> None:
    ids = {name: make(name, level=level) for name, level in (("a", 1), ("b", 2), ("c", 1), ("d", 2), ("e", 2))}
    query = "label.level:1^3 label.level:2"
    page = await parties.list(limit=2, query=query)
    assert [one.party_id for one in page.parties] == [ids["c"], ids["a"]]
    make("f", level=1)
    parties.leave(Listener("ann"), ids["a"])
    parties.leave(Listener("ann"), ids["d"])
    page = await parties.list(limit=2, query=query, cursor=page.cursor)
    assert [one.party_id for one in page.parties] == [ids["e"], ids["b"]]
    assert page.cursor == ""


async def test_a_cursor_is_good_for_its_own_listing_only(parties: PartyService, make: Make) -> None:
    for name in "abc":
        make(name)
    asked: dict[str, Any] = {"limit": 1, "query": "+label.name:*", "open": True}
    cursor = (await parties.list(**asked)).cursor
    assert await names(parties, **asked, cursor=cursor) == ["b"]
    for other in ({"limit": 2}, {"query": "*"}, {"open": None}):
        with pytest.raises(BadListing, match="Cursor belongs to a listing with another query, limit or filter"):
            await parties.list(**{**asked, **other}, cursor=cursor)
    for garbage in ("x", "é", "AAAA", "A" * 5000):
        with pytest.raises(BadListing, match="Cursor is invalid"):
            await parties.list(**asked, cursor=garbage)


async def test_a_long_query_has_pages_too(parties: PartyService, make: Make) -> None:
    make("a")
    make("b")
    query = f'label.name:"{"x" * 4000}" label.name:*'
    page = await parties.list(limit=1, query=query)
    assert await names(parties, limit=1, query=query, cursor=page.cursor) == ["a"]


async def test_a_change_is_found_at_once(parties: PartyService, make: Make) -> None:
    ann = Listener("ann")
    party_id = make("before")
    parties.update(ann, party_id, '{"name":"after"}', open=True, hidden=False)
    assert await names(parties, query="+label.name:after") == ["after"]
    assert await names(parties, query="+label.name:before") == []
    parties.update(ann, party_id, "", open=True, hidden=True)
    assert (await parties.list()).parties == []


async def test_labels_are_listed_compact_and_an_empty_one_is_an_empty_object(parties: PartyService, make: Make) -> None:
    ann = Listener("ann")
    party_id = make()
    routes = PartyRoutes(parties)
    (operation,) = feature.operations(routes)

    async def listed() -> Any:
        return json.loads(msgspec.json.encode(await routes.list(Call(operation, None), wire.ListParties())))

    assert await listed() == {"parties": [{"party_id": party_id, "open": True, "max_size": 4, "label": "{}"}]}
    parties.update(ann, party_id, '{ "a" : [ 1, 2 ] }', open=False, hidden=False)
    assert await listed() == {"parties": [{"party_id": party_id, "max_size": 4, "label": '{"a":[1,2]}'}]}
