"""Friends brought along from Facebook and Steam."""

from __future__ import annotations

from typing import Any

import pytest

from palestra.features.friends.contract import FriendJoined
from palestra.testing import Platform
from tests.features.accounts.players import Client, player, refusal
from tests.features.friends.players import Recorder
from tests.features.identity.fakes import FakeProvider

FRIEND, SENT, RECEIVED, BLOCKED = range(4)
IDS = {name: f"7656119000000000{number}" for number, name in enumerate(("ann", "bob", "dan", "eve", "fay"))}


class World:
    """Players who know each other at a provider."""

    def __init__(self, platform: Platform, provider: FakeProvider, kind: str) -> None:
        self.platform = platform
        self.provider = provider
        self.kind = kind
        self.told = Recorder(platform.node.parts.services.friends._events, FriendJoined)

    def proof(self, name: str) -> dict[str, str]:
        """A proof with access to friends."""
        if self.kind == "steam":
            return {"token": IDS[name].encode().hex()}
        self.provider.people[f"token-of-{name}"] = {"id": IDS[name]}
        return {"token": f"token-of-{name}"}

    def are_friends_of_ann(self, *names: str) -> None:
        ids = [IDS.get(name, f"7656{name}") for name in names]
        if self.kind == "steam":
            self.provider.steam_friends = ids
        else:
            self.provider.graph_friends = ids

    async def meet(self, name: str, **query: str) -> Client:
        return await player(self.platform, self.kind, self.proof(name), username=name, **query)

    async def bring(self, ann: Client, **query: str) -> None:
        await ann.call("POST", f"/v2/friend/{self.kind}", self.proof("ann"), **query)

    async def edges(self, who: Client) -> dict[str, tuple[int, str]]:
        """Name → state and metadata of a player's edges."""
        found = (await who.call("GET", "/v2/friend")).get("friends", [])
        return {one["user"]["username"]: (one["state"], one["metadata"]) for one in found}

    async def states(self, who: Client) -> dict[str, int]:
        return {name: state for name, (state, _) in (await self.edges(who)).items()}

    async def assert_counts_are_true(self) -> None:
        rows = await self.platform.node.parts.database.fetch(
            "SELECT username, edge_count, (SELECT count(*) FROM friends WHERE user_id = id) FROM users"
        )
        assert {row[0]: row[1] for row in rows} == {row[0]: row[2] for row in rows}


@pytest.fixture(params=["facebook", "steam"])
def world(request: pytest.FixtureRequest, platform: Platform, provider: FakeProvider) -> World:
    return World(platform, provider, request.param)


async def test_friends_there_become_friends_here_at_once_on_both_sides(world: World) -> None:
    ann, bob, dan, eve = [await world.meet(name) for name in ("ann", "bob", "dan", "eve")]
    await dan.call("POST", "/v2/friend", usernames="ann")
    await ann.call("POST", "/v2/friend", usernames="eve")
    world.are_friends_of_ann("bob", "dan", "eve", "plays-elsewhere", "ann")
    await world.bring(ann)
    metadata = f'{{"provider": "{world.kind}"}}'
    assert await world.edges(ann) == dict.fromkeys(("bob", "dan", "eve"), (FRIEND, metadata))
    for friend in (bob, dan, eve):
        assert await world.edges(friend) == {"ann": (FRIEND, metadata)}
    assert sorted(world.told.take(), key=str) == sorted(
        (FriendJoined(friend.id, ann.id, "ann") for friend in (bob, dan, eve)), key=str
    )
    inbox = (await bob.call("GET", "/v2/notification"))["notifications"]
    assert [(one["code"], one["subject"], one["content"], one["sender_id"]) for one in inbox] == [
        (-6, "Your friend has just joined the game", '{"username": "ann"}', ann.id)
    ]
    await world.bring(ann)
    assert world.told.take() == []
    await world.assert_counts_are_true()


async def test_blocks_of_either_side_stay_even_through_a_reset(world: World) -> None:
    ann, bob, dan = [await world.meet(name) for name in ("ann", "bob", "dan")]
    await ann.call("POST", "/v2/friend/block", usernames="bob")
    await dan.call("POST", "/v2/friend/block", usernames="ann")
    world.are_friends_of_ann("bob", "dan")
    for reset in ("false", "true"):
        await world.bring(ann, reset=reset)
        assert await world.states(ann) == {"bob": BLOCKED}
        assert await world.states(bob) == {}
        assert await world.states(dan) == {"ann": BLOCKED}
    assert world.told.take() == []
    await world.assert_counts_are_true()


async def test_a_reset_ends_friendships_and_invitations_that_the_provider_does_not_know(world: World) -> None:
    ann, bob, dan, eve, fay = [await world.meet(name) for name in IDS]
    world.are_friends_of_ann("bob", "dan")
    await world.bring(ann)
    await ann.call("POST", "/v2/friend", usernames="eve")
    await fay.call("POST", "/v2/friend", usernames="ann")
    world.told.take()
    world.are_friends_of_ann("dan")
    await world.bring(ann, reset="true")
    assert await world.states(ann) == {"dan": FRIEND}
    assert [await world.states(one) for one in (bob, eve, fay)] == [{}, {}, {}]
    assert await world.states(dan) == {"ann": FRIEND}
    assert world.told.take() == []
    world.are_friends_of_ann()
    await world.bring(ann, reset="true")
    assert await world.states(ann) == await world.states(dan) == {}
    await world.assert_counts_are_true()


async def test_friends_come_along_at_log_in_when_wanted_and_at_link_unless_unwanted(world: World) -> None:
    bob = await world.meet("bob")
    world.are_friends_of_ann("bob")
    ann = await world.meet("ann")
    assert await world.states(ann) == {}
    await world.meet("ann", sync="true")
    assert await world.states(ann) == {"bob": FRIEND}
    await bob.call("DELETE", "/v2/friend", usernames="ann")

    dan = await player(world.platform, "device", {"id": "device-of-dan"}, username="dan")
    for sync, states in ((False, {}), (None, {"bob": FRIEND})):
        if world.kind == "steam":
            body: Any = {"account": world.proof("dan"), **({} if sync is None else {"sync": sync})}
            await dan.link("steam", body)
        else:
            query = {} if sync is None else {"sync": "false"}
            await dan.call("POST", "/v2/account/link/facebook", world.proof("dan"), **query)
        assert await world.states(dan) == states


async def test_whose_friends_cannot_be_had_is_logged_in_all_the_same(world: World) -> None:
    bob = await world.meet("bob")
    world.are_friends_of_ann("bob")
    if world.kind == "steam":
        world.provider.steam_friends = None
        ann = await world.meet("ann", sync="true")
        private = (400, 9, "The friends of this Steam account are private.")
        assert await refusal(world.bring(ann, reset="true")) == private
    else:
        limited = {"token": world.provider.token(IDS["ann"], "4711")}
        ann = await player(world.platform, "facebook", limited, sync="true")
        await ann.link("facebook", limited)
        told = (401, 16, "Could not authenticate Facebook profile.")
        assert await refusal(ann.call("POST", "/v2/friend/facebook", limited)) == told
    assert await world.states(ann) == await world.states(bob) == {}


async def test_an_import_needs_a_token_that_proves_something(world: World) -> None:
    ann = await world.meet("ann")
    name = world.kind.capitalize()
    assert await refusal(ann.call("POST", f"/v2/friend/{world.kind}", {})) == (400, 3, f"{name} token is required.")
    told = (401, 16, f"Could not authenticate {name} profile.")
    assert await refusal(ann.call("POST", f"/v2/friend/{world.kind}", {"token": "bad"})) == told
