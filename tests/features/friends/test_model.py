"""Random acts of several players, one by one and all at once, do what they do in some order in a plain model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.errors import PalestraError
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.friends.contract import (
    FriendAccepted,
    FriendBlocked,
    FriendInvited,
    FriendJoined,
    FriendRemoved,
    NobodyNamed,
    OwnId,
)
from tests.features.friends.world import BLOCKED, FRIEND, RECEIVED, SENT, World

PLAYERS = 5
Edges = dict[tuple[str, str], int]


@dataclass(frozen=True)
class Act:
    """What one player does to others. `verb` is a method of the service, or "leave": the account is deleted."""

    verb: str
    me: int
    targets: tuple[int, ...] = ()
    by_name: bool = False
    reset: bool = False


player = st.integers(0, PLAYERS - 1)
targets = st.lists(player, max_size=4, unique=True).map(tuple)
acts = st.one_of(
    st.builds(Act, st.just("add"), player, targets, st.booleans()),
    st.builds(Act, st.sampled_from(["add", "delete", "block"]), player, targets, st.booleans()),
    st.builds(Act, st.just("befriend"), player, targets, st.just(False), st.booleans()),
)
leaving = st.builds(Act, st.just("leave"), player)
bounded = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Model:
    """What the edges should be, without a database. Players go by their names."""

    players: set[str]
    edges: Edges = field(default_factory=dict)

    def act(
        self, verb: str, me: str, others: Sequence[str], by_name: bool = False, reset: bool = False
    ) -> list[object]:
        """Carry out an act; what it tells to others."""
        if verb == "leave":
            self.players.discard(me)
            self.edges = {pair: state for pair, state in self.edges.items() if me not in pair}
            return []
        known = [other for other in others if other in self.players]
        if verb != "befriend":
            if me in others:
                raise OwnId
            if not others or (by_name and not known and verb == "delete"):
                return []
            if by_name and not known:
                raise NobodyNamed
        if me not in self.players:
            raise AccountNotFound
        friends = {other for other in known if self.edges.get((me, other)) == FRIEND}
        if reset:
            spared = {pair: state for pair, state in self.edges.items() if me not in pair or state == BLOCKED}
            self.edges = spared
        told = [getattr(self, verb)(me, other) for other in known if other != me]
        return [event for event in told if event and not (isinstance(event, FriendJoined) and event.user_id in friends)]

    def add(self, me: str, you: str) -> object:
        mine, theirs = self.edges.get((me, you)), self.edges.get((you, me))
        if mine is None and theirs is None:
            self.edges[me, you], self.edges[you, me] = SENT, RECEIVED
            return FriendInvited(you, me, me)
        if mine == RECEIVED:
            self.edges[me, you] = self.edges[you, me] = FRIEND
            return FriendAccepted(you, me, me)
        return None

    def delete(self, me: str, you: str) -> object:
        if self.edges.pop((me, you), None) in (None, BLOCKED):
            return None
        del self.edges[you, me]
        return FriendRemoved(you, me, me)

    def block(self, me: str, you: str) -> object:
        if self.edges.get((me, you)) == BLOCKED:
            return None
        self.edges[me, you] = BLOCKED
        if self.edges.get((you, me)) != BLOCKED:
            self.edges.pop((you, me), None)
        return FriendBlocked(you, me)

    def befriend(self, me: str, you: str) -> object:
        if BLOCKED in (self.edges.get((me, you)), self.edges.get((you, me))) or self.edges.get((me, you)) == FRIEND:
            return None
        self.edges[me, you] = self.edges[you, me] = FRIEND
        return FriendJoined(you, me, me)


class Crowd:
    """The players of one example, in the feature and by name."""

    def __init__(self, world: World, ids: list[str]) -> None:
        self.world = world
        self.ids = ids
        self.names = [f"p{number}" for number in range(PLAYERS)]
        self._name_of = dict(zip(ids, self.names, strict=True))

    async def act(self, act: Act) -> None:
        """Carry out an act. Raises what the feature raises."""
        me, name, friends = self.ids[act.me], self.names[act.me], self.world.friends
        if act.verb == "leave":
            await self.world.players.delete(me, friends)
        elif act.verb == "befriend":
            await friends.befriend(me, name, [self.ids[one] for one in act.targets], "somewhere", act.reset)
        elif act.by_name:
            await getattr(friends, act.verb)(me, name, (), [self.names[one] for one in act.targets])
        else:
            await getattr(friends, act.verb)(me, name, [self.ids[one] for one in act.targets])

    def told(self) -> list[object]:
        """What was told, with names for ids."""
        return [
            FriendBlocked(self._name_of[event.user_id], self._name_of[event.from_user_id])
            if isinstance(event, FriendBlocked)
            else type(event)(self._name_of[event.user_id], self._name_of[event.from_user_id], event.from_username)
            for event in self.world.told.take()
        ]

    async def edges(self) -> Edges:
        """Every edge, with names for ids."""
        return {(self._name_of[a], self._name_of[b]): state for (a, b), state in (await self.world.edges()).items()}


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path)
    yield world
    await world.stop()


async def gathered(world: World) -> Crowd:
    await world.database.execute("DELETE FROM friends; DELETE FROM users")
    return Crowd(world, await world.players.make(*(f"p{number}" for number in range(PLAYERS))))


@settings(bounded, max_examples=150)
@given(st.lists(st.one_of(acts, acts, acts, acts, leaving), max_size=20))
async def test_one_after_the_other_every_act_answers_and_tells_exactly_as_in_the_model(
    world: World, drawn: list[Act]
) -> None:
    crowd = await gathered(world)
    model = Model(set(crowd.names))
    for act in drawn:
        names = [crowd.names[one] for one in act.targets]
        expected: object
        got: object
        try:
            expected = model.act(act.verb, crowd.names[act.me], names, act.by_name, act.reset)
        except PalestraError as error:
            expected = type(error)
        try:
            await crowd.act(act)
            got = crowd.told()
        except PalestraError as error:
            got = type(error)
        assert got == expected, act
        assert await crowd.edges() == model.edges, act
    await world.assert_counts_are_true()


@settings(bounded, max_examples=150)
@given(st.lists(acts, max_size=10), st.lists(acts, min_size=6, max_size=12), st.lists(leaving, max_size=1))
async def test_all_at_once_every_pair_ends_as_some_order_of_the_acts_would_have_it(
    world: World, before: list[Act], drawn: list[Act], last: list[Act]
) -> None:
    crowd = await gathered(world)
    for act in before:
        await asyncio.gather(crowd.act(act), return_exceptions=True)
    started = await crowd.edges()

    async def done(act: Act) -> Act | None:
        try:
            await crowd.act(act)
        except (AccountNotFound, NobodyNamed, OwnId):
            return None
        return act

    async with asyncio.timeout(60):
        finished = [act for act in await asyncio.gather(*map(done, [*drawn, *last])) if act is not None]
    edges = await crowd.edges()
    assert_both_sides_agree(edges)
    await world.assert_counts_are_true()
    gone = {crowd.names[act.me] for act in last}
    assert not {name for pair in edges for name in pair} & gone
    for number, one in enumerate(crowd.names):
        for other in crowd.names[number + 1 :]:
            if not {one, other} & gone:
                concerned = [step for act in finished if (step := step_of(act, crowd.names, one, other))]
                assert pair_of(edges, one, other) in reachable(pair_of(started, one, other), concerned, one, other)


def assert_both_sides_agree(edges: Edges) -> None:
    for (one, other), state in edges.items():
        back = edges.get((other, one))
        if state == BLOCKED:
            assert back in (None, BLOCKED)
        else:
            assert back == {FRIEND: FRIEND, SENT: RECEIVED, RECEIVED: SENT}[state]


Step = tuple[str, str, tuple[str, ...], bool]
"""A verb, who does it, to the other of a pair or to nobody, and whether all edges end before."""


def step_of(act: Act, names: list[str], one: str, other: str) -> Step | None:
    """What an act amounts to between two players."""
    me = names[act.me]
    if me not in (one, other):
        return None
    meant = tuple(name for name in (names[target] for target in act.targets) if name in (one, other) and name != me)
    return (act.verb, me, meant, act.reset) if meant or act.reset else None


def pair_of(edges: Edges, one: str, other: str) -> tuple[int | None, int | None]:
    return edges.get((one, other)), edges.get((other, one))


def reachable(
    start: tuple[int | None, int | None], steps: list[Step], one: str, other: str
) -> set[tuple[int | None, int | None]]:
    """How a pair may stand after the steps, in whatever order they came."""
    states = {(start, frozenset(range(len(steps))))}
    for _ in steps:
        following = set()
        for pair, left in states:
            for number in left:
                edges = dict(zip([(one, other), (other, one)], pair, strict=True))
                model = Model({one, other}, {key: state for key, state in edges.items() if state is not None})
                verb, me, meant, reset = steps[number]
                model.act(verb, me, meant, reset=reset)
                following.add((pair_of(model.edges, one, other), left - {number}))
        states = following
    return {pair for pair, _ in states}
