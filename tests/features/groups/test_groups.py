"""Groups as players notice them: roles, requests, bans, counters, errors, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from palestra.core.errors import Code, PalestraError
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.groups.contract import GroupDeleted, Happening, JoinRequested, MemberChanged
from tests.features.groups.world import World

OWNER, ADMIN, MEMBER, REQUEST, BANNED = range(5)
INVALID, MISSING = Code.INVALID_ARGUMENT, Code.NOT_FOUND
VERBS = ("add", "kick", "ban", "promote", "demote")


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path)
    yield world
    await world.stop()


async def refused(awaitable: Any) -> tuple[int, str]:
    with pytest.raises(PalestraError) as caught:
        await awaitable
    return caught.value.code, caught.value.message


async def test_a_new_group_belongs_to_its_maker(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    body = {"name": "club", "description": "a club", "langTag": "fr", "avatarUrl": "http://a/b", "open": True}
    made = await as_ann("POST", "/v2/group", {**body, "max_count": 10})
    times = {key: made.pop(key) for key in ("create_time", "update_time")}
    assert all(text.endswith("Z") and "." not in text for text in times.values())
    group = made.pop("id")
    assert made == {
        "creator_id": ann,
        "name": "club",
        "description": "a club",
        "lang_tag": "fr",
        "metadata": "{}",
        "avatar_url": "http://a/b",
        "open": True,
        "edge_count": 1,
        "max_count": 10,
    }
    assert await world.states(group) == {ann: OWNER}
    plain = await as_ann("POST", "/v2/group", {"name": "plain"})
    assert (plain["open"], plain["max_count"], plain["lang_tag"]) == (False, 100, "en")
    assert "description" not in plain


async def test_a_group_that_cannot_be_made_says_why(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    await as_ann("POST", "/v2/group", {"name": "club"})
    await as_ann("POST", "/v2/group", {"name": "CLUB"})
    assert await refused(as_ann("POST", "/v2/group")) == (INVALID, "Group name must be set.")
    taken = await refused(as_ann("POST", "/v2/group", {"name": "club"}))
    assert taken == (Code.ALREADY_EXISTS, "Group name is in use.")
    answer = await refused(as_ann("POST", "/v2/group", {"name": "x", "max_count": -1}))
    assert answer == (INVALID, "Group max count must be >= 1 when set.")
    too_long = {"name": "n" * 256, "description": "d" * 256, "avatar_url": "a" * 513, "lang_tag": "l" * 19}
    for field, text in [*too_long.items(), ("name", "nul\0")]:
        answer = await refused(as_ann("POST", "/v2/group", {"name": "new", field: text}))
        assert answer == (INVALID, "Error while trying to create group.")
    await as_ann("POST", "/v2/group", {field: text[1:] for field, text in too_long.items()})
    await world.players.delete(ann, world.groups)
    answer = await refused(as_ann("POST", "/v2/group", {"name": "ghost"}))
    assert answer == (MISSING, "User account not found.")


async def test_only_admins_change_a_group_and_only_what_they_name(world: World) -> None:
    (_, as_ann), (bob, as_bob), (_, as_cid) = await world.meet("ann", "bob", "cid")
    await as_ann("POST", "/v2/group", {"name": "taken"})
    made = await as_ann("POST", "/v2/group", {"name": "club", "description": "old", "open": True})
    path = f"/v2/group/{made['id']}"
    await world.act(as_bob, "join", made["id"])
    denied = (MISSING, "Group not found or you're not allowed to update.")
    assert await refused(as_bob("PUT", path, {"description": "x"})) == denied
    assert await refused(as_cid("PUT", path, {"description": "x"})) == denied
    assert await refused(as_ann("PUT", f"/v2/group/{new_id()}", {"description": "x"})) == denied
    await world.act(as_ann, "promote", made["id"], bob)
    assert await as_bob("PUT", path, {"name": "club2", "avatar_url": "http://p", "open": False}) == {}
    (now,) = (await as_ann("GET", "/v2/group", name="club2"))["groups"]
    assert (now["description"], now["avatar_url"], now["open"]) == ("old", "http://p", False)
    await as_ann("PUT", path, {"description": "", "avatar_url": ""})
    (now,) = (await as_ann("GET", "/v2/group", name="club2"))["groups"]
    assert "description" not in now and "avatar_url" not in now
    cases = {
        "Group name cannot be empty.": {"name": ""},
        "Group language cannot be empty.": {"lang_tag": ""},
        "Specify at least one field to update.": {},
        "Group name is in use.": {"name": "taken"},
        "Error while trying to update group.": {"lang_tag": "l" * 19},
    }
    for text, body in cases.items():
        assert await refused(as_ann("PUT", path, body)) == (INVALID, text)
    answer = await refused(as_ann("PUT", "/v2/group/club", {"name": "x"}))
    assert answer == (INVALID, "Group ID must be a valid ID.")


async def test_only_superadmins_delete_a_group(world: World) -> None:
    (_, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    group = (await as_ann("POST", "/v2/group", {"name": "club"}))["id"]
    await world.act(as_ann, "add", group, bob)
    await world.act(as_ann, "promote", group, bob)
    world.told.take()
    denied = (INVALID, "Group not found or you're not allowed to delete.")
    assert await refused(as_bob("DELETE", f"/v2/group/{group}")) == denied
    assert await refused(as_ann("DELETE", f"/v2/group/{new_id()}")) == denied
    assert await as_ann("DELETE", f"/v2/group/{group}") == {}
    assert world.told.take() == [GroupDeleted(group)]
    assert await refused(as_ann("DELETE", f"/v2/group/{group}")) == denied
    assert await world.states(group) == {}


async def test_an_open_group_is_joined_until_it_is_full(world: World) -> None:
    (ann, as_ann), (bob, as_bob), (_, as_cid) = await world.meet("ann", "bob", "cid")
    group = (await as_ann("POST", "/v2/group", {"name": "open", "open": True, "max_count": 2}))["id"]
    assert await world.act(as_bob, "join", group) == {}
    assert world.told.take() == [MemberChanged(group, "open", Happening.JOINED, bob, "bob", bob)]
    assert await refused(world.act(as_cid, "join", group)) == (INVALID, "Group is full.")
    answer = await refused(world.act(as_ann, "leave", group))
    assert answer == (INVALID, "Cannot leave group when you are the last superadmin.")
    await world.act(as_bob, "leave", group)
    await world.act(as_bob, "leave", group)
    assert world.told.take() == [MemberChanged(group, "open", Happening.LEFT, bob, "bob", bob)]
    assert await world.states(group) == {ann: OWNER}
    assert await refused(world.act(as_cid, "join", new_id())) == (MISSING, "Group not found.")
    for verb in ("join", "leave"):
        assert await refused(world.act(as_cid, verb, "nope")) == (INVALID, "Group ID must be a valid ID.")
    await world.act(as_ann, "leave", group)
    assert world.told.take() == [GroupDeleted(group)]
    assert await as_ann("GET", f"/v2/user/{ann}/group") == {}


async def test_a_closed_group_is_asked_and_answers(world: World) -> None:
    (ann, as_ann), (bob, as_bob), (cid, as_cid) = await world.meet("ann", "bob", "cid")
    group = (await as_ann("POST", "/v2/group", {"name": "closed"}))["id"]
    for _ in range(2):
        await world.act(as_bob, "join", group)
    assert world.told.take() == [JoinRequested(group, bob, "bob", (ann,))]
    await world.act(as_ann, "promote", group, bob)
    assert await world.states(group) == {ann: OWNER, bob: REQUEST}
    await world.assert_counts_are_true()
    await world.act(as_ann, "add", group, bob)
    assert world.told.take() == [MemberChanged(group, "closed", Happening.ADDED, bob, "bob", ann)]
    await world.act(as_cid, "join", group)
    world.told.take()
    answer = await refused(world.act(as_bob, "add", group, cid))
    assert answer == (MISSING, "Group not found or permission denied.")
    await world.act(as_ann, "kick", group, cid)
    assert world.told.take() == []
    await world.act(as_cid, "join", group)
    await world.act(as_cid, "leave", group)
    assert [one.happening for one in world.told.take()[1:]] == [Happening.LEFT]
    assert await world.states(group) == {ann: OWNER, bob: MEMBER}
    await world.assert_counts_are_true()


async def test_a_ban_keeps_out_until_it_is_lifted(world: World) -> None:
    (ann, as_ann), (bob, as_bob), (cid, _) = await world.meet("ann", "bob", "cid")
    group = (await as_ann("POST", "/v2/group", {"name": "bans", "open": True}))["id"]
    await world.act(as_bob, "join", group)
    world.told.take()
    await world.act(as_ann, "ban", group, bob, cid)
    assert world.told.take() == [MemberChanged(group, "bans", Happening.BANNED, bob, "bob", ann)]
    assert await world.states(group) == {ann: OWNER, bob: BANNED}
    await world.act(as_bob, "join", group)
    await world.act(as_bob, "leave", group)
    await world.act(as_ann, "add", group, bob)
    assert await world.states(group) == {ann: OWNER, bob: BANNED}
    listed = await as_bob("GET", f"/v2/group/{group}/user")
    assert [one["user"]["id"] for one in listed["group_users"]] == [ann]
    (banned,) = (await as_bob("GET", f"/v2/group/{group}/user", state=4))["group_users"]
    assert (banned["user"]["id"], banned["state"]) == (bob, BANNED)
    for query in ({}, {"state": 4}):
        assert await as_bob("GET", f"/v2/user/{bob}/group", **query) == {}
    await world.act(as_ann, "kick", group, bob)
    assert await world.states(group) == {ann: OWNER}
    await world.act(as_bob, "join", group)
    assert await world.groups.state_of(group, bob) == MEMBER
    assert await world.groups.state_of(group, cid) is None
    await world.assert_counts_are_true()


async def test_power_reaches_down_but_never_up(world: World) -> None:
    people = await world.meet("ann", "bob", "cid", "dan")
    (ann, as_ann), (bob, as_bob), (cid, as_cid), (dan, _) = people
    group = (await as_ann("POST", "/v2/group", {"name": "roles"}))["id"]
    await world.act(as_ann, "add", group, bob, cid, dan)
    await world.act(as_ann, "promote", group, bob)
    for verb in VERBS:
        answer = await refused(world.act(as_cid, verb, group, dan))
        assert answer == (MISSING, "Group not found or permission denied.")
    for verb in ("promote", "demote", "kick", "ban"):
        await world.act(as_bob, verb, group, ann, bob)
    assert await world.states(group) == {ann: OWNER, bob: ADMIN, cid: MEMBER, dan: MEMBER}
    for _ in range(2):
        await world.act(as_bob, "promote", group, cid)
        assert (await world.states(group))[cid] == ADMIN
    for verb in ("kick", "ban"):
        await world.act(as_bob, verb, group, cid)
    assert (await world.states(group))[cid] == ADMIN
    for _ in range(2):
        await world.act(as_bob, "demote", group, cid)
        assert (await world.states(group))[cid] == MEMBER
    await world.act(as_bob, "kick", group, dan)
    await world.act(as_ann, "promote", group, bob)
    await world.act(as_ann, "demote", group, ann)
    assert await world.states(group) == {ann: OWNER, bob: OWNER, cid: MEMBER}
    await world.act(as_bob, "demote", group, ann)
    await world.groups.demote_users(group, [bob])
    await world.groups.kick_users(group, [bob])
    assert await world.states(group) == {ann: ADMIN, bob: OWNER, cid: MEMBER}
    await world.groups.promote_users(group, [ann])
    await world.groups.kick_users(group, [ann, bob])
    assert await world.states(group) == {bob: OWNER, cid: MEMBER}
    await world.assert_counts_are_true()


async def test_lists_of_players_are_checked_before_anything_is_done(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    group = (await as_ann("POST", "/v2/group", {"name": "errors", "max_count": 2}))["id"]
    others = [one for one, _ in await world.meet("cid", "dan")]
    denied = (MISSING, "Group not found or permission denied.")
    for verb in VERBS:
        if verb == "demote":
            assert await refused(world.act(as_ann, verb, group)) == (INVALID, "User IDs must be set.")
        else:
            assert await world.act(as_ann, verb, group) == {}
        assert await refused(world.act(as_ann, verb, group, "bob")) == (INVALID, "User ID must be a valid ID.")
        assert await refused(world.act(as_ann, verb, "x", bob)) == (INVALID, "Group ID must be a valid ID.")
        assert await refused(world.act(as_ann, verb, new_id(), bob)) == denied
        assert await refused(world.act(as_bob, verb, group, ann)) == denied
        assert (await refused(world.act(as_ann, verb, group, *(new_id() for _ in range(1001)))))[0] == INVALID
    answer = await refused(world.act(as_ann, "add", group, bob, new_id()))
    assert answer == (INVALID, "One or more users not found.")
    assert await refused(world.act(as_ann, "add", group, *others)) == (INVALID, "Group is full.")
    assert await world.states(group) == {ann: OWNER}


async def test_a_deleted_player_leaves_all_groups_and_takes_along_those_in_which_nobody_is_in_charge(
    world: World,
) -> None:
    (ann, as_ann), (bob, as_bob), (cid, _) = await world.meet("ann", "bob", "cid")
    alone, led, shared, others = [
        (await player("POST", "/v2/group", {"name": name}))["id"]
        for player, name in ((as_ann, "alone"), (as_ann, "led"), (as_ann, "shared"), (as_bob, "others"))
    ]
    for group in (led, shared):
        await world.act(as_ann, "add", group, bob)
    await world.groups.promote_users(shared, [bob])
    await world.groups.promote_users(shared, [bob])
    await world.act(as_bob, "add", others, ann, cid)
    async with asyncio.timeout(30):
        await asyncio.gather(
            world.players.delete(ann, world.groups),
            world.players.delete(cid, world.groups),
            *(world.groups.add_users(others, [bob]) for _ in range(3)),
        )
    left = {row[0] for row in await world.database.fetch("SELECT id::text FROM groups")}
    assert left == {shared, others} and alone not in left
    assert await world.states(shared) == {bob: OWNER} == await world.states(others)
    await world.assert_counts_are_true()


async def test_joining_and_deleting_an_account_at_once_never_leaves_a_wrong_counter(world: World) -> None:
    names = [f"p{i}" for i in range(9)]
    ids = await world.players.make(*names)
    groups = [(await world.groups.create(ids[0], f"g{i}", open=True)).id for i in range(4)]

    async def join(me: int, group: str) -> None:
        try:
            await world.groups.join(group, ids[me], names[me])
        except PalestraError as error:
            assert error.message == "User account not found."

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(join(me, group) for group in groups for me in range(1, 9)),
            *(world.players.delete(ids[me], world.groups) for me in range(5, 9)),
        )
    for group in groups:
        assert set(await world.states(group)) == set(ids[:5])
    await world.assert_counts_are_true()
