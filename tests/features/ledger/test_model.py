"""Random entries, one by one and many at once on two nodes, do what they do in some order in a plain model."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.clock import ManualClock
from palestra.core.errors import PalestraError
from palestra.core.ids import new_id
from palestra.features.ledger.contract import (
    AMOUNT_MAX,
    Balance,
    Entry,
    Hold,
    HoldNotOpen,
    InsufficientFunds,
    KeyConflict,
    KeyRetired,
    Post,
    Receipt,
    Step,
    Transfer,
    Void,
)
from tests.features.ledger.model import Holder, Model, Told
from tests.features.ledger.world import GEMS, World, in_small_rounds, strands_are_whole

PLAYERS = 3
UNKNOWN = 10**15
NEVER = 10**6
"""A pick of a hold that no test makes."""

# What is drawn names accounts and holds by numbers: the accounts below, and holds in the order in which they were made.
account = st.sampled_from([0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
amount = st.one_of(st.integers(1, 9), st.sampled_from([1, 2, 3, AMOUNT_MAX]))
pick = st.one_of(st.integers(0, 5), st.just(NEVER))
step = st.one_of(
    st.tuples(st.just("transfer"), account, account, amount),
    st.tuples(st.just("transfer"), st.integers(0, 2), st.integers(0, 2), st.integers(1, 9)),
    st.tuples(st.just("hold"), st.integers(0, 2), account, st.integers(1, 5), st.sampled_from([-1, 5, 5, 50, 50])),
    st.tuples(st.just("post"), pick, st.one_of(st.none(), st.integers(1, 5))),
    st.tuples(st.just("void"), pick),
    st.tuples(st.just("expire"), pick),
)
steps = st.one_of(st.lists(step, min_size=1, max_size=1), st.lists(step, min_size=0, max_size=4))
key = st.one_of(st.none(), st.integers(0, 5))
way = st.sampled_from(["round", "round", "round", "round", "transaction", "rolled back"])
request = st.tuples(steps, key, st.integers(0, 1), way)
advance = st.sampled_from([0, 0, 1, 5, 45])
bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Table:
    """The accounts of one example, in the ledger and in the model."""

    nodes: tuple[World, World]
    model: Model
    accounts: list[int]
    holds: list[int]
    name: str

    def entry(self, drawn: tuple[Any, ...]) -> Entry | None:
        """The entry that was drawn; None where the drawn one would be no entry at all."""
        wanted: list[Step] = []
        for kind, *fields in drawn[0]:
            if kind in ("transfer", "hold"):
                debit, credit = self.accounts[fields[0]], self.accounts[fields[1]]
                if debit == credit:
                    return None
                if min(debit, credit) < 0 and fields[2] == AMOUNT_MAX:
                    return None  # each of the rows of a hot account overflows by itself
                now = int(self.nodes[0].clock.now())
                wanted.append(
                    Transfer(debit, credit, fields[2], "t")
                    if kind == "transfer"
                    else Hold(debit, credit, fields[2], "h", now + fields[3])
                )
            else:
                hold = self.holds[fields[0]] if fields[0] < len(self.holds) else UNKNOWN
                wanted.append(Post(hold, fields[1]) if kind == "post" else Void(hold, expired=kind == "expire"))
        if not wanted and drawn[1] is None:
            return None
        return Entry(None if drawn[1] is None else f"{self.name}:{drawn[1]}", tuple(wanted))

    async def agrees(self) -> None:
        """Balances, holds and sums are those of the model."""
        for number in self.accounts:
            if (known := self.model.accounts.get(number)) is not None:
                found = await self.nodes[0].balance(number)
                assert found == Balance(known.balance, known.held, known.closed)
        open_holds = {
            hold.id: (hold.debit, hold.credit, hold.amount, hold.expires_at)
            for number in self.accounts
            for hold in await self.nodes[1].open_holds(number, 1_000)
        }
        assert open_holds == {
            number: (held.debit, held.credit, held.amount, held.expires_at)
            for number, held in self.model.holds.items()
            if not held.over
        }
        assert self.model.total("coins") == self.model.total(GEMS) == 0


async def laid(world: World, second: World) -> Table:
    """A table of three players with coins, one with gems, two hot accounts, a debtor, one that is closed and no one."""
    name = new_id()
    mint, gem_mint = await world.system(f"mint {name}", hot=True), await world.system(f"mint {name}", GEMS, hot=True)
    house = await world.system(f"house {name}", hot=True)
    debtor, closed = await world.system(f"debtor {name}", may_go_negative=True), await world.system(f"closed {name}")
    players = [await world.system(f"player {n} {name}") for n in range(PLAYERS)]
    collector = await world.system(f"collector {name}", GEMS)
    for player in players:
        await world.move(mint, player, 10)
    await world.move(gem_mint, collector, 10)
    await world.close(closed)
    model = Model({player: Holder("coins", 10) for player in players})
    model.accounts |= {
        collector: Holder(GEMS, 10),
        mint: Holder("coins", -10 * PLAYERS, may_go_negative=True, hot=True),
        gem_mint: Holder(GEMS, -10, may_go_negative=True, hot=True),
        house: Holder("coins", may_go_negative=True, hot=True),
        debtor: Holder("coins", may_go_negative=True),
        closed: Holder("coins", closed=True),
    }
    accounts = [*players, collector, mint, house, debtor, closed, gem_mint, UNKNOWN]
    return Table((world, second), model, accounts, [], name)


async def carry_out(node: World, entry: Entry, how: str) -> Receipt:
    if how == "round":
        return await node.submit(entry)
    async with node.database.transaction() as tx:
        receipt = await node.submit(entry, tx)
        if how == "rolled back":
            raise RolledBackError(receipt)
    return receipt


class RolledBackError(Exception):
    """A transaction that was undone after its entry was carried out."""


# -- one by one


@bounded
@given(st.lists(st.tuples(request, advance, st.booleans()), max_size=14))
async def test_one_after_the_other_every_entry_answers_exactly_as_in_the_model(
    world: World, second: World, clock: ManualClock, drawn: list[tuple[Any, ...]]
) -> None:
    table = await laid(world, second)
    for wanted, seconds, sweeps in drawn:
        clock.advance(seconds)
        if sweeps:
            await table.nodes[wanted[2]].end_overdue_holds()
            for number, held in table.model.holds.items():
                if not held.over and held.expires_at <= clock.now():
                    table.model.apply(Entry(None, (Void(number, expired=True),)), clock.now(), [])
        entry = table.entry(wanted)
        if entry is not None:
            await compared(table, entry, table.nodes[wanted[2]], wanted[3])
    await table.agrees()
    await strands_are_whole(world.database)


async def compared(table: Table, entry: Entry, node: World, how: str) -> None:
    """The answer of the ledger is that of the model, down to the type of the refusal."""
    got: Any = None
    receipt = None
    try:
        receipt = await carry_out(node, entry, how)
    except RolledBackError as undone:
        receipt = undone.args[0]
    except PalestraError as error:
        got = type(error)
    ids = [line.id for line in receipt.lines] if receipt is not None else []
    model = table.model.copied() if how == "rolled back" else table.model
    known_before = entry.key in model.keys
    try:
        expected: Any = model.apply(entry, node.clock.now(), ids)
    except PalestraError as error:
        expected = type(error)
    if receipt is not None:
        got = [Told.of(line) for line in receipt.lines]
        assert receipt.repeated == known_before
        if how != "rolled back" and not receipt.repeated:
            table.holds += [line.id for line in receipt.lines if line.id in model.holds]
    assert got == expected, (entry, how)


# -- many at once


@dataclass
class Call:
    """A request, and when it was made and answered by a clock that only counts."""

    entry: Entry
    how: str
    now: float
    began: int
    ended: int = 0
    outcome: Receipt | Exception | None = None


@bounded
@given(st.lists(st.tuples(st.lists(request, min_size=1, max_size=24), advance), min_size=1, max_size=3))
async def test_many_at_once_on_two_nodes_do_what_they_do_in_one_order(
    world: World, second: World, clock: ManualClock, drawn: list[tuple[Any, ...]]
) -> None:
    table, counter = await laid(world, second), itertools.count()
    for node in (world, second):
        in_small_rounds(node)
    calls: list[Call] = []

    async def call(one: Call, node: World) -> None:
        try:
            one.outcome = await carry_out(node, one.entry, one.how)
        except (PalestraError, RolledBackError) as error:
            one.outcome = error
        one.ended = next(counter)

    for requests, seconds in drawn:
        clock.advance(seconds)
        these = []
        for wanted in requests:
            entry = table.entry(wanted)
            if entry is not None:
                these.append((Call(entry, wanted[3], clock.now(), next(counter)), table.nodes[wanted[2]]))
        await asyncio.gather(*(call(one, node) for one, node in these))
        calls += [one for one, _ in these]
        for one, _ in these:
            if isinstance(one.outcome, Receipt) and not one.outcome.repeated:
                table.holds += [line.id for line in one.outcome.lines if line.step == 1]
    states = replayed(table, calls)
    for one in calls:
        refusal_is_explained(table, one, states)
    await table.agrees()
    await strands_are_whole(world.database)


def replayed(table: Table, calls: list[Call]) -> list[tuple[Call | None, Model]]:
    """Apply what happened in the order of ids; the state after each, and the first one.

    Entries of one id happened once, whoever was answered first; its other callers were told that it is a repetition.
    """
    happened: dict[int, Call] = {}
    tombstones: dict[str | None, Call] = {}
    for one in calls:
        if isinstance(one.outcome, Receipt) and not one.outcome.repeated:
            if not one.entry.steps:
                assert tombstones.setdefault(one.entry.key, one) is one
            else:
                assert happened.setdefault(one.outcome.entry, one) is one
    states: list[tuple[Call | None, Model]] = [(None, table.model.copied())]
    for one in [*tombstones.values(), *(happened[entry] for entry in sorted(happened))]:
        assert isinstance(one.outcome, Receipt)
        told = table.model.apply(one.entry, one.now, [line.id for line in one.outcome.lines])
        assert told == [Told.of(line) for line in one.outcome.lines], one
        states.append((one, table.model.copied()))
    for one in calls:
        if isinstance(one.outcome, Receipt) and one.outcome.repeated:
            told = table.model.apply(one.entry, one.now, [])
            assert told == [Told.of(line) for line in one.outcome.lines], one
    return states


def refusal_is_explained(table: Table, one: Call, states: list[tuple[Call | None, Model]]) -> None:
    """Some state that the ledger may have had while a call was under way refuses it in the same way."""
    if not isinstance(one.outcome, PalestraError):
        return
    if isinstance(one.outcome, (KeyConflict, KeyRetired)):
        content, _ = table.model.keys[one.entry.key or ""]
        assert bool(content) == isinstance(one.outcome, KeyConflict)
        return
    debits = {step.debit for step in one.entry.steps if isinstance(step, (Transfer, Hold))}
    exact = len(one.entry.steps) == 1 and isinstance(one.outcome, InsufficientFunds)
    if exact:
        # Only the payer's account counts, and what touches one account has its ids in the order of what happened.
        states = [
            (by, state)
            for by, state in states
            if by is None or debits & {n for line in by.outcome.lines for n in (line.debit, line.credit)}  # type: ignore[union-attr]
        ]
        first = max((n for n, (by, _) in enumerate(states) if by is not None and by.ended < one.began), default=0)
        last = min(
            (n for n, (by, _) in enumerate(states) if by is not None and by.began > one.ended), default=len(states)
        )
        states = states[first:last]
    bare = Entry(None, one.entry.steps)
    refusals = set()
    for _, state in states:
        try:
            state.copied().apply(bare, one.now, [])
        except PalestraError as error:
            refusals.add(type(error))
    # Of several steps each may have met its account as no single state of the order of ids shows them all.
    assert type(one.outcome) in refusals or (
        not exact and isinstance(one.outcome, (InsufficientFunds, HoldNotOpen)) and len(one.entry.steps) > 1
    ), (one, refusals)
