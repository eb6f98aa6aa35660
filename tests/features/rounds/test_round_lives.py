"""Whatever is done to rounds, in whatever order, players and house have what a simple model says they have."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from palestra.core.clock import ManualClock
from palestra.core.errors import PalestraError
from palestra.core.ids import new_id
from palestra.features.ledger.contract import InsufficientFunds
from palestra.features.rounds.contract import GRACE_SECONDS, BadRound, Round, RoundConflict, RoundOver, Settlement
from palestra.features.rounds.service import RoundService
from tests.features.rounds.conftest import Games, NewPlayer, World

PLAYERS = 3
DEADLINE_SECONDS = 100
DEADLINE_PAYOUT = 7
KEYS = ["a", "b", None]

players = st.integers(0, PLAYERS - 1)
amounts = st.integers(0, 400)
numbers = st.integers(0, 3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.dictionaries(players, amounts, min_size=1), st.sampled_from(KEYS), st.booleans()),
        st.tuples(st.just("stake"), numbers, players, st.integers(1, 400)),
        st.tuples(st.just("settle"), numbers, st.dictionaries(players, amounts), st.booleans()),
        st.tuples(st.just("cancel"), numbers, st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([40, DEADLINE_SECONDS, GRACE_SECONDS])),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("expire")),
    ),
    max_size=14,
)


Refusal = type[PalestraError] | tuple[type[PalestraError], ...] | None


class Life(NamedTuple):
    """What the model remembers of a round. `end` is how it ended, with the payouts."""

    stakes: list[tuple[str, int]]
    deadline: float
    settles: bool
    end: tuple[str, dict[str, int]] | None


class Model:
    """Rounds as one would keep them on paper."""

    def __init__(self, clock: ManualClock, available: dict[str, int], house: int) -> None:
        self.clock = clock
        self.available = available
        self.house = house
        self.lives: dict[str, Life] = {}

    def expired(self, life: Life) -> bool:
        return self.clock.now() >= life.deadline + GRACE_SECONDS

    def open(self, round_id: str, stakes: dict[str, int], settles: bool) -> Refusal:
        if any(self.available[player] < amount for player, amount in stakes.items()):
            return InsufficientFunds
        for player, amount in stakes.items():
            self.available[player] -= amount
        self.lives[round_id] = Life(list(stakes.items()), self.clock.now() + DEADLINE_SECONDS, settles, None)
        return None

    def stake(self, round_id: str, player: str, amount: int) -> Refusal:
        life = self.lives[round_id]
        if life.end is not None or self.clock.now() >= life.deadline:
            # Whether there is money is found out first when the round in hand is thought to be open.
            return (RoundOver, InsufficientFunds)
        if self.available[player] < amount:
            return InsufficientFunds
        self.available[player] -= amount
        life.stakes.append((player, amount))
        return None

    def settle(self, round_id: str, payouts: dict[str, int]) -> Refusal:
        life = self.lives[round_id]
        if life.end is not None:
            return None if life.end == ("settled", payouts) else RoundOver
        if payouts.keys() - {player for player, _ in life.stakes}:
            return BadRound
        if self.expired(life) and any(amount for _, amount in life.stakes):
            self.cancel(round_id)
            return RoundOver
        self.house += sum(amount for _, amount in life.stakes) - sum(payouts.values())
        for player, amount in payouts.items():
            self.available[player] += amount
        self.lives[round_id] = life._replace(end=("settled", payouts))
        return None

    def cancel(self, round_id: str) -> Refusal:
        life = self.lives[round_id]
        if life.end is not None:
            return None if life.end[0] == "cancelled" else RoundOver
        for player, amount in life.stakes:
            self.available[player] += amount
        self.lives[round_id] = life._replace(end=("cancelled", {}))
        return None

    def sweep(self) -> None:
        for round_id, life in list(self.lives.items()):
            if life.end is None and self.clock.now() >= life.deadline:
                payouts = {life.stakes[0][0]: DEADLINE_PAYOUT}
                if life.settles:
                    self.settle(round_id, payouts)
                else:
                    self.cancel(round_id)


class Play:
    """Carries a list of steps out on both, and compares."""

    def __init__(self, rounds: RoundService, world: World, model: Model) -> None:
        self.rounds = rounds
        self.world = world
        self.model = model
        self.name = new_id()
        self.known: list[Round] = []
        self.keyed: dict[str, tuple[str, Any]] = {}

    async def _both(self, work: Any, expected: Refusal) -> Any:
        if expected is None:
            return await work
        with pytest.raises(expected):
            await work
        return None

    async def open(self, stakes: dict[int, int], key: str | None, settles: bool) -> None:
        named = dict(sorted((self.world.players[at], amount) for at, amount in stakes.items()))
        work = self.rounds.open(
            game="dice",
            stakes=named,
            key=None if key is None else f"{self.name} {key}",
            deadline_seconds=DEADLINE_SECONDS,
            policy="settle" if settles else "cancel",
        )
        if key is not None and key in self.keyed:
            round_id, content = self.keyed[key]
            again = await self._both(work, None if content == (named, settles) else RoundConflict)
            assert again is None or again.id == round_id
            return
        if any(self.model.available[player] < amount for player, amount in named.items()):
            await self._both(work, InsufficientFunds)
            return
        round = await work
        assert self.model.open(round.id, named, settles) is None
        self.known.append(round)
        if key is not None:
            self.keyed[key] = round.id, (named, settles)

    def _round(self, at: int) -> Round | None:
        return self.known[at % len(self.known)] if self.known else None

    async def stake(self, at: int, player: int, amount: int) -> None:
        if round := self._round(at):
            name = self.world.players[player]
            await self._both(self.rounds.stake(round, {name: amount}), self.model.stake(round.id, name, amount))

    async def settle(self, at: int, payouts: dict[int, int], by_id: bool) -> None:
        if round := self._round(at):
            named = {self.world.players[at]: amount for at, amount in payouts.items()}
            work = self.rounds.settle(round.id if by_id else round, payouts=named)
            await self._both(work, self.model.settle(round.id, named))

    async def cancel(self, at: int, by_id: bool) -> None:
        if round := self._round(at):
            await self._both(self.rounds.cancel(round.id if by_id else round), self.model.cancel(round.id))

    async def wait(self, seconds: int) -> None:
        self.model.clock.advance(seconds)

    async def sweep(self) -> None:
        await self.rounds.resolve_overdue(1_000)
        self.model.sweep()

    async def expire(self) -> None:
        await self.world.ledger.end_overdue_holds()

    async def compare(self) -> None:
        """End what is open, and see that everybody has what they should."""
        self.model.clock.advance(DEADLINE_SECONDS)
        await self.sweep()
        await self.expire()
        for round_id, life in self.model.lives.items():
            ending = (await self.rounds.get(round_id)).ending
            assert ending is not None and life.end == (ending.how, ending.payouts)
        assert await self.world.available(*self.world.players) == list(self.model.available.values())
        assert await self.world.house() == self.model.house
        await self.world.check_nothing_is_held_and_all_adds_up()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
@example([("open", {0: 0}, "a", False), *[("open", {0: 400}, None, False)] * 2, ("open", {0: 400}, "a", False)])
async def test_random_lives_of_rounds_agree_with_the_model(
    rounds: RoundService, games: Games, world: World, new_player: NewPlayer, script: list[tuple[Any, ...]]
) -> None:
    while len(world.players) < PLAYERS:
        await new_player()
    games.answer = lambda round: Settlement({round.stakes[0].player_id: DEADLINE_PAYOUT})
    available = await world.available(*world.players)
    model = Model(world.clock, dict(zip(world.players, available, strict=True)), await world.house())
    play = Play(rounds, world, model)
    for kind, *rest in script:
        await getattr(play, kind)(*rest)
    await play.compare()
