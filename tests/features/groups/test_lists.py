"""Lists of groups, of their players, and of a player's groups: filters, orders, pages, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from palestra.core.errors import Code, PalestraError
from palestra.core.ids import new_id
from palestra.database.pool import Database
from tests.features.friends.players import Api
from tests.features.groups.world import World

INVALID = Code.INVALID_ARGUMENT


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path)
    yield world
    await world.stop()


async def refused(awaitable: Any) -> tuple[int, str]:
    with pytest.raises(PalestraError) as caught:
        await awaitable
    return caught.value.code, caught.value.message


async def pages(player: Api, path: str, key: str, limit: int, **query: Any) -> list[dict[str, Any]]:
    """All entries of a list, fetched page by page."""
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await player("GET", path, limit=limit, cursor=cursor, **query)
        entries = page.get(key, [])
        assert len(entries) <= limit
        seen += entries
        cursor = page.get("cursor", "")
        if not cursor:
            return seen
        assert entries


async def fill(world: World) -> Api:
    """Twelve groups that differ in language, openness and size, some of them alike in all three."""
    ((_, as_ann),) = await world.meet("ann")
    for number in range(12):
        body = {"name": f"Team{number:02d}", "lang_tag": "de" if number % 2 else "en", "open": number % 3 == 0}
        group = (await as_ann("POST", "/v2/group", body))["id"]
        await world.database.execute("UPDATE groups SET edge_count = $2 WHERE id = $1", group, 1 + number % 4)
    return as_ann


@pytest.mark.parametrize(
    ("query", "order", "falling"),
    [
        ({}, ("update_time", "edge_count", "id"), False),
        ({"open": True}, ("update_time", "edge_count", "id"), False),
        ({"open": False}, ("update_time", "edge_count", "id"), False),
        ({"name": "team%"}, ("name",), False),
        ({"lang_tag": "de"}, ("edge_count", "id"), False),
        ({"members": 3}, ("edge_count", "update_time", "id"), True),
        ({"lang_tag": "en", "members": 3}, ("edge_count", "id"), True),
        ({"open": True, "members": 3}, ("edge_count", "id"), True),
        ({"open": True, "lang_tag": "en"}, ("edge_count", "id"), True),
        ({"open": True, "lang_tag": "en", "members": 3}, ("edge_count", "id"), True),
    ],
)
async def test_every_filter_has_its_order_and_its_pages_miss_no_group(
    world: World, query: dict[str, Any], order: tuple[str, ...], falling: bool
) -> None:
    as_ann = await fill(world)
    # Whole seconds on the wire: equal times here come from one moment in the table.
    await world.database.execute("UPDATE groups SET updated_at = date_trunc('second', now())")
    every = await pages(as_ann, "/v2/group", "groups", 100)
    assert len(every) == 12
    fits = [
        group
        for group in every
        if group["open"] == query.get("open", group["open"])
        and group["lang_tag"] == query.get("lang_tag", group["lang_tag"])
        and group["edge_count"] <= query.get("members", 100)
    ]
    expected = sorted(fits, key=lambda group: [group[field] for field in order], reverse=falling)
    assert len(expected) > 0
    for limit in (1, 2, 5, 100):
        assert await pages(as_ann, "/v2/group", "groups", limit, **query) == expected


async def test_a_name_is_a_pattern_in_any_case_anchored_at_its_start(world: World) -> None:
    ((_, as_ann),) = await world.meet("ann")
    for name in ("abc", "ABD", "abcd", "xabc", "a_c", "Äbc", "100%", "\U0010ffffz"):
        await as_ann("POST", "/v2/group", {"name": name})

    async def found(pattern: str) -> list[str]:
        return [group["name"] for group in await pages(as_ann, "/v2/group", "groups", 2, name=pattern)]

    assert await found("ABC") == ["abc"]
    assert await found("ab%") == ["abc", "abcd", "ABD"]
    assert await found(" %abc") == ["abc"]
    assert await found("%abc%") == ["abc", "abcd"]
    assert await found("a_c") == ["a_c", "abc"]
    assert await found("a\\_c") == ["a_c"]
    assert await found("100\\%") == ["100%"]
    assert await found("_bc") == ["abc", "Äbc"]
    assert await found("a%d") == ["abcd", "ABD"]
    assert await found("nothing") == [] == await found("%")
    assert await found("\U0010ffff%") == ["\U0010ffffz"]


async def test_a_list_of_groups_that_makes_no_sense_is_refused(world: World) -> None:
    as_ann = await fill(world)
    assert len((await as_ann("GET", "/v2/group"))["groups"]) == 1
    for limit in (0, 101):
        text = "Invalid limit - limit must be between 1 and 100."
        assert await refused(as_ann("GET", "/v2/group", limit=limit)) == (INVALID, text)
    for other in ({"open": True}, {"members": 0}, {"lang_tag": "en"}):
        text = "name filter cannot be combined with any other filter"
        assert await refused(as_ann("GET", "/v2/group", name="x", **other)) == (INVALID, text)
    failed = (INVALID, "Error while trying to list groups.")
    cursor = (await as_ann("GET", "/v2/group"))["cursor"]
    assert await refused(as_ann("GET", "/v2/group", cursor=cursor, open=True)) == failed
    for bad in ("garbage", cursor[:-5], "é"):
        assert await refused(as_ann("GET", "/v2/group", cursor=bad)) == failed
    for name in ("a\\", "nul\0"):
        assert await refused(as_ann("GET", "/v2/group", name=name)) == failed


async def test_players_of_a_group_come_by_state_then_time_of_joining(world: World) -> None:
    people = await world.meet("ann", *(f"p{i}" for i in range(6)))
    (ann, as_ann), ids = people[0], [one for one, _ in people[1:]]
    group = (await as_ann("POST", "/v2/group", {"name": "big"}))["id"]
    world.clock.advance(1)
    await people[6][1]("POST", f"/v2/group/{group}/join")
    world.clock.advance(1)
    await world.groups.add_users(group, ids[:5])
    await world.groups.promote_users(group, [ids[3]])
    await world.groups.ban_users(group, [ids[4]])
    expected = [(ann, 0), (ids[3], 1), (ids[0], 2), (ids[1], 2), (ids[2], 2), (ids[5], 3)]
    path = f"/v2/group/{group}/user"
    for limit in (1, 2, 100):
        found = await pages(people[1][1], path, "group_users", limit)
        assert [(one["user"]["id"], one["state"]) for one in found] == expected
    async with world.database.transaction() as tx:
        await world.players.users.add_edges(tx, {ann: 7})
    assert (await as_ann("GET", path, state=0))["group_users"][0]["user"]["edge_count"] == 7
    members = await pages(as_ann, path, "group_users", 2, state=2)
    assert [one["user"]["id"] for one in members] == ids[:3]
    assert await as_ann("GET", f"/v2/group/{new_id()}/user") == {}
    assert await refused(as_ann("GET", "/v2/group/nope/user")) == (INVALID, "Group ID must be a valid ID.")
    cursor = (await as_ann("GET", path, limit=1))["cursor"]
    (admin,) = (await as_ann("GET", path, cursor=cursor, state=1))["group_users"]
    assert admin["user"]["id"] == ids[3]
    bad = (INVALID, "Cursor is invalid.")
    assert await refused(as_ann("GET", path, cursor=cursor, state=2)) == bad
    assert await refused(as_ann("GET", f"/v2/group/{new_id()}/user", cursor=cursor)) == bad
    assert await refused(as_ann("GET", path, cursor="garbage")) == bad


async def test_the_groups_of_a_player_come_by_state_then_time_of_joining(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    teams = []
    for number in range(3):
        teams.append((await as_ann("POST", "/v2/group", {"name": f"team{number}"}))["id"])
        world.clock.advance(1)
    foreign = (await as_bob("POST", "/v2/group", {"name": "foreign"}))["id"]
    await world.act(as_ann, "join", foreign)
    path = f"/v2/user/{ann}/group"
    expected = [(group, 0) for group in teams] + [(foreign, 3)]
    for limit in (1, 2, 100):
        found = await pages(as_bob, path, "user_groups", limit)
        assert [(one["group"]["id"], one["state"]) for one in found] == expected
    first = await as_ann("GET", path, limit=2)
    # A cursor leads on in the list of one state if the next entry is in that state.
    rest = await as_ann("GET", path, limit=2, state=0, cursor=first["cursor"])
    assert [one["group"]["id"] for one in rest["user_groups"]] == teams[2:]
    bad = (INVALID, "Cursor is invalid.")
    assert await refused(as_ann("GET", path, state=3, cursor=first["cursor"])) == bad
    assert await refused(as_ann("GET", f"/v2/user/{bob}/group", cursor=first["cursor"])) == bad
    last_of_own = await as_ann("GET", path, limit=3)
    assert await refused(as_ann("GET", path, state=0, cursor=last_of_own["cursor"])) == bad
    asked = await as_ann("GET", path, state=3, cursor=last_of_own["cursor"])
    assert [one["group"]["id"] for one in asked["user_groups"]] == [foreign]
    assert await as_ann("GET", path, state=2) == {} == await as_ann("GET", f"/v2/user/{new_id()}/group")
    for limit in (0, 101):
        text = "Invalid limit - limit must be between 1 and 100."
        assert await refused(as_ann("GET", path, limit=limit)) == (INVALID, text)
    for state in (-1, 5):
        text = "Invalid state - state must be between 0 and 4."
        assert await refused(as_ann("GET", path, state=state)) == (INVALID, text)
    assert await refused(as_ann("GET", "/v2/user/x/group")) == (INVALID, "Group ID must be a valid ID.")
