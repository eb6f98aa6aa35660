"""Stakes, payouts and rollbacks in any order and with repeats, one after the other and all at once, against a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.errors import PalestraError
from palestra.features.providers import wire
from palestra.features.providers.service import ProviderService
from palestra.features.providers.words import word_of
from palestra.testing import Bot, Platform
from tests.features.providers.conftest import made_game
from tests.features.providers.provider import ASSET, SETTINGS, fresh

START = 20
"""So little that some stakes are more than there is."""


class Step(NamedTuple):
    """One request: what, which of a few transaction ids, how much."""

    action: str
    number: int
    amount: int


steps = st.lists(
    st.builds(Step, st.sampled_from(("debit", "debit", "credit", "rollback")), st.integers(0, 4), st.integers(5, 9)),
    max_size=16,
)


class Model:
    """What should happen: a balance, and what became of each id."""

    def __init__(self) -> None:
        self.balance = START
        self.done: dict[int, tuple[str, int, int]] = {}
        """(action, amount, balance right after it) of what was carried out."""
        self.undone: dict[int, int] = {}
        self.retired: set[int] = set()

    def apply(self, step: Step) -> Any:
        """The balance after it, the outcome of a rollback, or the word of the refusal."""
        if step.action == "rollback":
            return self._rollback(step.number)
        if step.number in self.retired and step.action == "debit":
            return "rolled_back"
        if step.number in self.done:
            action, amount, after = self.done[step.number]
            return after if (action, amount) == (step.action, step.amount) else "transaction_conflict"
        after = self.balance + (step.amount if step.action == "credit" else -step.amount)
        if after < 0:
            return "insufficient_funds"
        self.balance = after
        self.done[step.number] = (step.action, step.amount, after)
        return after

    def _rollback(self, number: int) -> Any:
        if number in self.undone:
            return ("rolled_back", self.undone[number])
        if number in self.retired or number not in self.done:
            self.retired.add(number)
            return ("remembered", None)
        action, amount, _ = self.done[number]
        if action == "credit":
            return "not_a_debit"
        self.balance += amount
        self.undone[number] = self.balance
        return ("rolled_back", self.balance)


class World:
    """One provider and its player, who begins anew for each example."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.bot: Bot
        self.session = ""
        self.prefix = ""

    @property
    def providers(self) -> ProviderService:
        assert self._platform.node.parts is not None
        return self._platform.node.parts.services.money.providers

    async def begin(self) -> None:
        self.bot, self.prefix = await self._platform.bot(), fresh("model")
        await self.bot.rpc("gift", {"amount": START})
        self.session = (await self.providers.authenticate("acme", wire.Authenticate("q", self.bot.token))).session

    async def send(self, step: Step) -> Any:
        """Carry a step out; told in the model's words."""
        fields = {
            "request_id": fresh("q"),
            "transaction_id": f"{self.prefix}-{step.number}",
            "round_id": "r",
            "player_id": self.bot.id,
            "asset": ASSET,
        }
        amount = msgspec.Raw(str(step.amount).encode())
        try:
            if step.action == "rollback":
                undone = await self.providers.rollback("acme", wire.Rollback(**fields))
                return (undone.outcome, None if undone.balance is None else int(undone.balance))
            if step.action == "credit":
                moved = await self.providers.credit("acme", wire.Credit(**fields, amount=amount))
            else:
                moved = await self.providers.debit("acme", wire.Debit(**fields, session=self.session, amount=amount))
            return int(moved.balance)
        except PalestraError as error:
            return word_of(error)

    async def balance(self) -> int:
        now = await self.providers.balance("acme", wire.BalanceOf("q", self.bot.id, ASSET))
        return int(now.balance)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with Platform.start(made_game(), settings=SETTINGS, database_url=database_url) as platform:
        yield World(platform)


often = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@often
@given(steps)
async def test_one_after_the_other_everything_is_as_the_model_says(world: World, sequence: list[Step]) -> None:
    await world.begin()
    model = Model()
    for step in sequence:
        assert await world.send(step) == model.apply(step), step
        assert await world.balance() == model.balance


@often
@given(steps)
async def test_all_at_once_every_id_happens_once_or_never(world: World, sequence: list[Step]) -> None:
    await world.begin()
    answers = list(zip(sequence, await asyncio.gather(*map(world.send, sequence)), strict=True))
    # Asked again in peace, each request tells what became of it.
    settled = {step: await world.send(step) for step in sequence}
    balance = START
    for number in {step.number for step in sequence}:
        moved = [step for step, now in settled.items() if step.number == number and isinstance(now, int)]
        undone = next((settled[step] for step in sequence if step[:2] == ("rollback", number)), None)
        assert len(moved) <= 1
        for step in moved:
            balance += step.amount if step.action == "credit" else -step.amount
        if undone == "not_a_debit":
            assert [step.action for step in moved] == ["credit"]
        elif undone is not None and undone[0] == "rolled_back":
            assert [step.action for step in moved] == ["debit"]
            balance += moved[0].amount
        elif undone is not None:
            assert undone[0] == "remembered" and [step.action for step in moved] in ([], ["credit"])
    assert await world.balance() == balance >= 0
    for step, answer in answers:
        if isinstance(answer, int):
            assert answer == settled[step]
