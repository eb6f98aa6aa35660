"""Random acts of several players in groups do one by one what they do in a plain model, and at once break nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.errors import PalestraError
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.groups.contract import (
    ChangeDenied,
    DeleteDenied,
    GroupDeleted,
    GroupFull,
    GroupNotFound,
    Happening,
    JoinRequested,
    LastSuperadmin,
    MemberChanged,
    NameInUse,
    UpdateDenied,
    UsersNotFound,
)
from tests.features.groups.world import World

OWNER, ADMIN, MEMBER, REQUEST, BANNED = range(5)
VERBS = ("add", "kick", "ban", "promote", "demote")
HAPPENINGS = dict(
    zip(
        VERBS,
        (Happening.ADDED, Happening.KICKED, Happening.BANNED, Happening.PROMOTED, Happening.DEMOTED),
        strict=True,
    )
)
PLAYERS = 6
MEMBERS_MAX = 5
NAMES = ("red", "blue")
SERVER = -1


@dataclass(frozen=True)
class Act:
    """What somebody does. `verb` is that of an operation on the group `name`, or "quit": the account is deleted."""

    verb: str
    me: int
    name: str
    targets: tuple[int, ...] = ()
    open: bool = True


player = st.integers(0, PLAYERS - 1)
name = st.sampled_from(NAMES)
targets = st.lists(player, min_size=1, max_size=3, unique=True).map(tuple)
coming = st.builds(Act, st.sampled_from(["join", "join", "join", "leave"]), player, name)
managing = st.builds(
    Act, st.sampled_from(["add", *VERBS, "promote"]), st.one_of(st.just(SERVER), st.just(0), player), name, targets
)
founding = st.builds(Act, st.sampled_from(["create", "open"]), player, name, st.just(()), st.booleans())
ending = st.builds(Act, st.sampled_from(["delete", "quit"]), player, name)
acts = st.one_of(coming, coming, managing, managing, managing, founding)
STARTED = [Act("create", 0, "red"), Act("add", 0, "red", (1, 2, 3)), Act("promote", 0, "red", (1, 2))]
bounded = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class ModelGroup:
    """A group: how players stand to it, those who came first in front."""

    open: bool
    states: dict[int, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(state <= MEMBER for state in self.states.values())

    @property
    def owners(self) -> int:
        return sum(state == OWNER for state in self.states.values())


@dataclass
class Model:
    """What the groups should be, without a database."""

    players: set[int]
    groups: dict[str, ModelGroup] = field(default_factory=dict)

    def act(self, act: Act) -> list[tuple[object, ...]]:
        """Carry out an act; what it tells. Raises what it is refused with."""
        group = self.groups.get(act.name)
        if act.verb in VERBS:
            return self._manage(act, group)
        return getattr(self, f"_{act.verb}")(act, group) or []

    def _create(self, act: Act, group: ModelGroup | None) -> None:
        if group is not None:
            raise NameInUse
        if act.me not in self.players:
            raise AccountNotFound
        self.groups[act.name] = ModelGroup(act.open, {act.me: OWNER})

    def _open(self, act: Act, group: ModelGroup | None) -> None:
        if group is None or group.states.get(act.me, BANNED) > ADMIN:
            raise UpdateDenied
        group.open = act.open

    def _delete(self, act: Act, group: ModelGroup | None) -> list[tuple[object, ...]]:
        if group is None or group.states.get(act.me) != OWNER:
            raise DeleteDenied
        del self.groups[act.name]
        return [("deleted", act.name)]

    def _quit(self, act: Act, group: ModelGroup | None) -> None:
        self.players.discard(act.me)
        for name, one in list(self.groups.items()):
            state = one.states.pop(act.me, BANNED)
            if state <= MEMBER and (not one.size or (state == OWNER and not one.owners)):
                del self.groups[name]

    def _join(self, act: Act, group: ModelGroup | None) -> list[tuple[object, ...]]:
        if group is None:
            raise GroupNotFound
        if group.size >= MEMBERS_MAX:
            raise GroupFull
        if act.me in group.states:
            return []
        if act.me not in self.players:
            raise AccountNotFound
        admins = [one for one, state in group.states.items() if state <= ADMIN]
        group.states[act.me] = MEMBER if group.open else REQUEST
        if group.open:
            return [(Happening.JOINED, act.name, act.me, act.me)]
        return [("asked", act.name, act.me, frozenset(admins))]

    def _leave(self, act: Act, group: ModelGroup | None) -> list[tuple[object, ...]]:
        if group is None or group.states.get(act.me, BANNED) == BANNED:
            return []
        if group.states[act.me] == OWNER and group.owners == 1:
            if group.size > 1:
                raise LastSuperadmin
            del self.groups[act.name]
            return [("deleted", act.name)]
        del group.states[act.me]
        return [(Happening.LEFT, act.name, act.me, act.me)]

    def _manage(self, act: Act, group: ModelGroup | None) -> list[tuple[object, ...]]:
        power = OWNER if act.me == SERVER else BANNED if group is None else group.states.get(act.me, BANNED)
        if group is None or power > ADMIN:
            raise ChangeDenied
        others = [one for one in act.targets if one != act.me]
        if act.verb == "add" and not self.players.issuperset(others):
            raise UsersNotFound
        after, told = ModelGroup(group.open, dict(group.states)), []
        for one in others:
            before = after.states.get(one)
            self._reach(act.verb, power, after, one)
            if after.states.get(one) != before and (act.verb == "add" or (before is not None and before <= MEMBER)):
                told.append((HAPPENINGS[act.verb], act.name, one, act.me))
        if after.size > max(group.size, MEMBERS_MAX):
            raise GroupFull
        group.states = after.states
        return told

    def _reach(self, verb: str, power: int, group: ModelGroup, one: int) -> None:
        """Do something to one player, if whoever does it has the power."""
        state = group.states.get(one)
        if verb == "add":
            if state in (None, REQUEST):
                group.states[one] = MEMBER
            return
        if state is None or (state == OWNER and group.owners == 1):
            return
        below = power == OWNER or state > ADMIN
        if verb == "kick" and below:
            del group.states[one]
        elif verb == "ban" and below:
            group.states[one] = BANNED
        elif verb == "promote" and state in (ADMIN, MEMBER) and state > power:
            group.states[one] = state - 1
        elif verb == "demote" and state in (OWNER, ADMIN) and state >= power:
            group.states[one] = state + 1


class Crowd:
    """The players of one example, and the groups they make, by numbers and names."""

    def __init__(self, world: World, ids: list[str]) -> None:
        self.world = world
        self.ids = ids
        self._number_of = {one: number for number, one in enumerate(ids)} | {"": SERVER}
        self._missing = ids[0]
        self._known: dict[str, str] = {}

    async def act(self, act: Act) -> None:
        """Carry out an act. Raises what the feature raises."""
        groups, me = self.world.groups, "" if act.me == SERVER else self.ids[act.me]
        found = await self.world.database.fetchval("SELECT id::text FROM groups WHERE name = $1", act.name)
        group = self._missing if found is None else found
        self._known[group] = act.name
        if act.verb == "create":
            await groups.create(me, act.name, open=act.open, max_count=MEMBERS_MAX)
        elif act.verb == "open":
            await groups.update(group, open=act.open, caller_id=me)
        elif act.verb == "delete":
            await groups.delete(group, caller_id=me)
        elif act.verb == "quit":
            await self.world.players.delete(me, groups)
        elif act.verb in VERBS:
            users = [self.ids[one] for one in act.targets]
            await getattr(groups, f"{act.verb}_users")(group, users, caller_id=me or None)
        else:
            await getattr(groups, act.verb)(group, me, f"p{act.me}")

    def told(self) -> list[tuple[object, ...]]:
        """What was told, with numbers and names for ids."""
        found: list[tuple[object, ...]] = []
        for event in self.world.told.take():
            group = self._known[event.group_id]
            if isinstance(event, GroupDeleted):
                found.append(("deleted", group))
                continue
            user = self._number_of[event.user_id]
            assert event.username == f"p{user}"
            if isinstance(event, JoinRequested):
                found.append(("asked", group, user, frozenset(map(self._number_of.__getitem__, event.admin_ids))))
            else:
                assert isinstance(event, MemberChanged)
                assert event.group_name == group
                found.append((event.happening, group, user, self._number_of[event.by_user_id]))
        return found

    async def states(self) -> dict[str, dict[int, int]]:
        """How everybody stands to every group, by its name."""
        found: dict[str, dict[int, int]] = {}
        for group, user, state in await self.world.database.fetch(
            "SELECT g.name, m.user_id::text, m.state FROM groups g LEFT JOIN group_members m ON m.group_id = g.id"
        ):
            found.setdefault(group, {})
            if user is not None:
                found[group][self._number_of[user]] = state
        return found


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path)
    yield world
    await world.stop()


async def gathered(world: World) -> Crowd:
    await world.database.execute("DELETE FROM group_members; DELETE FROM groups")
    await world.database.execute("DELETE FROM users")
    return Crowd(world, await world.players.make(*(f"p{number}" for number in range(PLAYERS))))


@bounded
@given(st.lists(st.one_of(acts, acts, acts, acts, acts, ending), max_size=20))
async def test_one_after_the_other_every_act_answers_and_tells_exactly_as_in_the_model(
    world: World, drawn: list[Act]
) -> None:
    crowd = await gathered(world)
    model = Model(set(range(PLAYERS)))
    for act in [*STARTED, *drawn]:
        expected: object
        got: object
        try:
            expected = model.act(act)
        except PalestraError as error:
            expected = type(error)
        try:
            await crowd.act(act)
            got = crowd.told()
        except PalestraError as error:
            got = type(error)
        assert got == expected, act
        assert await crowd.states() == {name: group.states for name, group in model.groups.items()}, act
    await world.assert_counts_are_true()


@bounded
@given(st.lists(acts, max_size=10), st.lists(acts, min_size=6, max_size=14), st.lists(ending, max_size=2))
async def test_all_at_once_every_group_keeps_its_bounds_and_somebody_in_charge(
    world: World, before: list[Act], drawn: list[Act], last: list[Act]
) -> None:
    crowd = await gathered(world)
    for act in [*STARTED, *before]:
        await asyncio.gather(crowd.act(act), return_exceptions=True)
    world.told.take()
    started = await crowd.states()
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*map(crowd.act, [*drawn, *last]), return_exceptions=True)
    for act, outcome in zip([*drawn, *last], outcomes, strict=True):
        assert outcome is None or isinstance(outcome, PalestraError), act
    await world.assert_counts_are_true()
    gone = {act.me for act in last if act.verb == "quit"}
    for group, states in (await crowd.states()).items():
        assert OWNER in states.values()
        assert sum(state <= MEMBER for state in states.values()) <= MEMBERS_MAX
        assert not states.keys() & gone
        for one, state in states.items():
            if started.get(group, {}).get(one) == BANNED and state != BANNED:
                assert any(
                    act.verb in ("kick", "leave", "delete", "quit") and act.name == group for act in [*drawn, *last]
                )
