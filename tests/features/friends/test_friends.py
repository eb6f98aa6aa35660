"""Friendships as players notice them: states, counters, lists, errors, and what is told to the other side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from palestra.core.errors import Code, PalestraError
from palestra.core.ids import SYSTEM_USER, new_id
from palestra.database.pool import Database
from palestra.features.friends import service as service_module
from palestra.features.friends.contract import FriendAccepted, FriendBlocked, FriendInvited, FriendRemoved
from tests.features.friends.world import BLOCKED, FRIEND, RECEIVED, SENT, World


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path)
    yield world
    await world.stop()


async def refused(awaitable: Any) -> tuple[int, str]:
    with pytest.raises(PalestraError) as caught:
        await awaitable
    return caught.value.code, caught.value.message


async def test_an_invitation_shows_on_both_sides_and_is_told_to_the_other(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    assert await as_ann("GET", "/v2/friend") == {}
    assert await as_ann("POST", "/v2/friend", ids=[bob], metadata='{"from": "school"}') == {}
    (sent,) = (await as_ann("GET", "/v2/friend"))["friends"]
    (received,) = (await as_bob("GET", "/v2/friend"))["friends"]
    assert (sent["user"]["id"], sent["state"], sent["metadata"]) == (bob, SENT, '{"from": "school"}')
    assert (received["user"]["username"], received["state"], received["metadata"]) == ("ann", RECEIVED, "{}")
    assert "edge_count" not in sent["user"] and sent["update_time"].endswith("Z")
    assert world.told.take() == [FriendInvited(bob, ann, "ann")]
    await as_ann("POST", "/v2/friend", ids=[bob])
    assert world.told.take() == []
    await world.assert_counts_are_true()


async def test_adding_whoever_invited_makes_friends_and_keeps_both_metadata(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    await as_ann("POST", "/v2/friend", usernames=["bob"], metadata='{"a": 1}')
    world.told.take()
    await as_bob("POST", "/v2/friend", usernames=["ann", "nobody"], metadata='{"b": 2}')
    assert world.told.take() == [FriendAccepted(ann, bob, "bob")]
    (of_ann,) = (await as_ann("GET", "/v2/friend", state=0))["friends"]
    (of_bob,) = (await as_bob("GET", "/v2/friend", state=0))["friends"]
    # State 0 is the default of its type, and written all the same.
    assert (of_ann["state"], of_ann["metadata"]) == (FRIEND, '{"a": 1}')
    assert (of_bob["state"], of_bob["metadata"]) == (FRIEND, '{"b": 2}')


async def test_deleting_ends_friendships_takes_back_and_refuses_invitations(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    for prepare in ([as_ann], [as_bob], [as_ann, as_bob]):
        for one in prepare:
            await one("POST", "/v2/friend", ids=[bob if one is as_ann else ann])
        world.told.take()
        await as_ann("DELETE", "/v2/friend", ids=[bob])
        assert world.told.take() == [FriendRemoved(bob, ann, "ann")]
        assert await world.edges() == {}
        await world.assert_counts_are_true()
    await as_ann("DELETE", "/v2/friend", ids=[bob])
    assert world.told.take() == []


async def test_a_block_replaces_everything_and_silently_stops_invitations(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    await as_ann("POST", "/v2/friend", ids=[bob])
    world.told.take()
    await as_bob("POST", "/v2/friend/block", ids=[ann])
    assert world.told.take() == [FriendBlocked(ann, bob)]
    assert await world.edges() == {(bob, ann): BLOCKED}
    await as_ann("POST", "/v2/friend", ids=[bob])
    await as_bob("POST", "/v2/friend", ids=[ann])
    await as_bob("POST", "/v2/friend/block", ids=[ann])
    assert world.told.take() == []
    assert await world.edges() == {(bob, ann): BLOCKED}
    assert await as_ann("GET", "/v2/friend") == {}
    assert [one["state"] for one in (await as_bob("GET", "/v2/friend"))["friends"]] == [BLOCKED]
    assert await world.friends.blocks(bob, [ann]) == {ann}
    assert await world.friends.blocks(ann, [bob]) == set()
    await as_ann("POST", "/v2/friend/block", usernames=["bob"])
    await as_bob("DELETE", "/v2/friend", usernames=["ann"])
    assert await world.edges() == {(ann, bob): BLOCKED}
    await world.assert_counts_are_true()


@pytest.mark.parametrize(
    ("method", "path", "own"),
    [
        ("POST", "/v2/friend", "Cannot add self as friend."),
        ("DELETE", "/v2/friend", "Cannot delete self."),
        ("POST", "/v2/friend/block", "Cannot block self."),
    ],
)
async def test_whoever_cannot_be_meant_is_refused(world: World, method: str, path: str, own: str) -> None:
    ((ann, as_ann), (_, as_renamed)) = await world.meet("ann", "renamed")
    invalid = Code.INVALID_ARGUMENT
    assert await as_ann(method, path) == {}
    assert await refused(as_ann(method, path, ids=["x'y"])) == (invalid, "Invalid user ID 'x'y'.")
    assert await refused(as_ann(method, path, ids=[""])) == (invalid, "Invalid user ID ''.")
    assert await refused(as_ann(method, path, ids=[SYSTEM_USER])) == (invalid, f"Invalid user ID '{SYSTEM_USER}'.")
    assert await refused(as_ann(method, path, usernames=[""])) == (invalid, "Username must not be empty.")
    assert await refused(as_ann(method, path, ids=[ann.upper()])) == (invalid, own)
    assert await refused(as_ann(method, path, usernames=["ann"])) == (invalid, own)
    await world.database.execute("UPDATE users SET username = 'new name' WHERE username = 'renamed'")
    assert await refused(as_renamed(method, path, usernames=["new name"])) == (invalid, own)
    assert await as_ann(method, path, ids=[new_id()]) == {}
    nobody = as_ann(method, path, usernames=["nobody", "nul\0"])
    if method == "DELETE":
        assert await nobody == {}
    else:
        assert await refused(nobody) == (invalid, "No valid ID or username was provided.")
    too_many = [new_id() for _ in range(1001)]
    assert (await refused(as_ann(method, path, ids=too_many)))[0] == invalid


@pytest.mark.parametrize("metadata", ["oops", "[1", "{} {}", '{"a": "\\u0000"}', '{"a": 1e999999}'])
async def test_metadata_that_is_no_json_changes_nothing(world: World, metadata: str) -> None:
    (_, as_ann), (bob, _) = await world.meet("ann", "bob")
    answer = await refused(as_ann("POST", "/v2/friend", ids=[bob], metadata=metadata))
    assert answer == (Code.INVALID_ARGUMENT, "Error while trying to add friends.")
    assert await world.edges() == {}


@pytest.mark.parametrize("metadata", ["[1]", '"x"', "null"])
async def test_metadata_may_be_any_json(world: World, metadata: str) -> None:
    (_, as_ann), (bob, _) = await world.meet("ann", "bob")
    await as_ann("POST", "/v2/friend", ids=[bob], metadata=metadata)
    assert (await as_ann("GET", "/v2/friend"))["friends"][0]["metadata"] == metadata


async def test_a_deleted_caller_is_told_so(world: World) -> None:
    (ann, as_ann), (bob, _) = await world.meet("ann", "bob")
    await world.players.delete(ann, world.friends)
    assert await refused(as_ann("POST", "/v2/friend", ids=[bob])) == (Code.NOT_FOUND, "User account not found.")


async def test_pages_follow_state_then_age_and_miss_nobody(world: World) -> None:
    people = await world.meet("ann", *(f"p{i}" for i in range(7)))
    (ann, as_ann), others = people[0], people[1:]
    ids = [one for one, _ in others]
    await as_ann("POST", "/v2/friend", ids=ids[:5])
    world.clock.advance(1)
    await as_ann("POST", "/v2/friend/block", ids=[ids[5]])
    await others[6][1]("POST", "/v2/friend", ids=[ann])
    await others[3][1]("POST", "/v2/friend", ids=[ann])
    expected = [(ids[3], 0), (ids[0], 1), (ids[1], 1), (ids[2], 1), (ids[4], 1), (ids[6], 2), (ids[5], 3)]
    for limit in (1, 2, 3, 7):
        seen, cursor = [], ""
        while True:
            page = await as_ann("GET", "/v2/friend", limit=limit, cursor=cursor)
            assert len(page["friends"]) <= limit
            seen += [(one["user"]["id"], one["state"]) for one in page["friends"]]
            cursor = page.get("cursor", "")
            if not cursor:
                break
        assert seen == expected
    # A cursor leads on in the list of one state if the next edge is in that state.
    first = await as_ann("GET", "/v2/friend", limit=1)
    on = await as_ann("GET", "/v2/friend", limit=1, state=1, cursor=first["cursor"])
    assert on["friends"][0]["user"]["id"] == ids[0]
    assert await refused(as_ann("GET", "/v2/friend", state=0, cursor=first["cursor"])) == (3, "Cursor is invalid.")
    first = await as_ann("GET", "/v2/friend", limit=2, state=1)
    rest = await as_ann("GET", "/v2/friend", limit=2, state=1, cursor=first["cursor"])
    assert [one["user"]["id"] for one in first["friends"] + rest["friends"]] == [ids[i] for i in (0, 1, 2, 4)]
    assert "cursor" not in rest
    bad = (Code.INVALID_ARGUMENT, "Cursor is invalid.")
    assert await refused(as_ann("GET", "/v2/friend", state=2, cursor=first["cursor"])) == bad
    assert await refused(others[0][1]("GET", "/v2/friend", cursor=first["cursor"])) == bad
    for garbage in ("garbage", "%", "é", first["cursor"][:-4], "A" * 5000):
        assert await refused(as_ann("GET", "/v2/friend", cursor=garbage)) == bad


async def test_limits_and_states_out_of_range_are_refused(world: World) -> None:
    ((_, as_ann),) = await world.meet("ann")
    invalid = Code.INVALID_ARGUMENT
    for limit in (0, -1, 1001):
        text = "Invalid limit - limit must be between 1 and 1000."
        assert await refused(as_ann("GET", "/v2/friend", limit=limit)) == (invalid, text)
    for state in (-1, 4, 70000):
        text = "Invalid state - state must be between 0 and 3."
        assert await refused(as_ann("GET", "/v2/friend", state=state)) == (invalid, text)
    for limit in (0, 101):
        text = "Invalid limit - limit must be between 1 and 100."
        assert await refused(as_ann("GET", "/v2/friend/friends", limit=limit)) == (invalid, text)
    answer = await refused(as_ann("GET", "/v2/friend/friends", cursor="x"))
    assert answer == (invalid, "Cursor is invalid.")


async def test_friends_of_friends_come_once_per_friend_who_knows_them(world: World) -> None:
    people = await world.meet("ann", "bob", "cid", "dan", "eve", "fay")
    ids = {name: one[0] for name, one in zip("abcdef", people, strict=True)}
    name_of = {value: key for key, value in ids.items()}
    as_ = {name: one[1] for name, one in zip("abcdef", people, strict=True)}
    for one, other in ("ab", "ac", "bc", "bd", "be", "ce", "df"):
        await as_[one]("POST", "/v2/friend", ids=[ids[other]])
        await as_[other]("POST", "/v2/friend", ids=[ids[one]])
    await as_["b"]("POST", "/v2/friend", ids=[ids["f"]])
    expected = {("b", "d"), ("b", "e"), ("c", "e")}
    for limit in (1, 2, 10):
        seen, cursor = [], ""
        while True:
            page = await as_["a"]("GET", "/v2/friend/friends", limit=limit, cursor=cursor)
            seen += [(name_of[one["referrer"]], name_of[one["user"]["id"]]) for one in page["friends_of_friends"]]
            cursor = page.get("cursor", "")
            if not cursor:
                break
        assert len(seen) == 3 and set(seen) == expected
    assert await as_["f"]("GET", "/v2/friend/friends", limit=1) != {}
    (first,) = (await as_["a"]("GET", "/v2/friend/friends", limit=1))["friends_of_friends"]
    assert first["user"]["edge_count"] == {"d": 2, "e": 2}[name_of[first["user"]["id"]]]
    own = (await as_["a"]("GET", "/v2/friend/friends", limit=1))["cursor"]
    assert await refused(as_["b"]("GET", "/v2/friend/friends", cursor=own)) == (3, "Cursor is invalid.")


async def test_counters_of_the_others_fall_when_players_are_deleted_amid_invitations(world: World) -> None:
    names = [f"p{i}" for i in range(8)]
    ids = await world.players.make(*names)
    await world.friends.add(ids[0], names[0], ids[1:])

    async def invite(me: int) -> None:
        await world.friends.add(ids[me], names[me], [one for one in ids if one != ids[me]])

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(invite(me) for me in range(5)), *(world.players.delete(ids[me], world.friends) for me in (5, 6, 7))
        )
    assert {one for pair in await world.edges() for one in pair} == set(ids[:5])
    await world.assert_counts_are_true()


async def test_players_brought_along_are_befriended_a_thousand_at_a_time_and_the_reset_comes_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "USERS_MAX", 2)
    ids = await world.players.make("ann", *[f"friend-{number}" for number in range(5)], "gone", "stranger")
    ann, friends, gone, stranger = ids[0], ids[1:6], ids[6], ids[7]
    await world.friends.add(ann, "ann", [stranger])
    await world.players.delete(gone, world.friends)
    await world.friends.befriend(ann, "ann", [*friends, gone, ann, friends[0]], "somewhere", reset=True)
    expected = {(ann, friend): FRIEND for friend in friends} | {(friend, ann): FRIEND for friend in friends}
    assert await world.edges() == expected
    await world.friends.befriend(ann, "ann", [], "somewhere", reset=True)
    assert await world.edges() == {}
    await world.assert_counts_are_true()


async def test_two_who_bring_each_other_along_at_once_with_a_reset_end_as_friends(world: World) -> None:
    ann, bob, dan = await world.players.make("ann", "bob", "dan")
    for _ in range(5):
        await asyncio.gather(
            world.friends.befriend(ann, "ann", [bob, dan], "somewhere", reset=True),
            world.friends.befriend(bob, "bob", [ann, dan], "somewhere", reset=True),
            world.friends.befriend(dan, "dan", [ann, bob], "somewhere", reset=True),
        )
        edges = await world.edges()
        assert {(one, other) for one, other in edges} == {(other, one) for one, other in edges}
        assert set(edges.values()) == {FRIEND}
        await world.assert_counts_are_true()
