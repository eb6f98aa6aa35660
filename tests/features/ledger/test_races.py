"""Many at once: nodes that meet at one key or one row, transactions of callers, deletion, closing, lost connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from palestra.core.clock import ManualClock
from palestra.core.errors import Code, OutcomeUnknown, PalestraError, Unavailable
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import (
    AccountClosed,
    Balance,
    Entry,
    Hold,
    HoldNotOpen,
    InsufficientFunds,
    KeyConflict,
    LimitReached,
    Measure,
    Owner,
    OwnerKind,
    Post,
    Receipt,
    Void,
)
from palestra.features.ledger.service import ATTEMPTS_MAX
from tests.features.ledger.world import Ceiling, Journal, World, careful, move, strands_are_whole, world_of_a_node


async def waits_for_a_lock(database: Database, count: int = 1) -> None:
    """Until so many statements of others wait for a row that somebody has locked."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while await database.fetchval(sql) < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


# -- one key


@pytest.mark.parametrize("same_content", [True, False])
@pytest.mark.parametrize("looks_first", [True, False])
async def test_a_key_that_another_transaction_is_about_to_use_is_answered_once_that_has_ended(
    world: World, second: World, same_content: bool, looks_first: bool
) -> None:
    ann, bob, cid, dan = [await world.player(10) for _ in range(4)]
    if looks_first:
        careful(second)
    step = move(ann, bob, 10) if same_content else move(cid, dan, 10)
    async with world.database.transaction() as tx:
        first = await world.submit(Entry("k", (move(ann, bob, 10),)), tx)
        waiting = asyncio.ensure_future(second.submit(Entry("k", (step,))))
        await waits_for_a_lock(world.database)
    if same_content:
        assert (await waiting) == Receipt(first.entry, first.lines, repeated=True)
    else:
        with pytest.raises(KeyConflict):
            await waiting
    assert await world.available(bob) == 20
    assert await world.available(dan) == 10


async def test_two_transactions_that_use_one_key_for_different_things_have_one_winner(world: World) -> None:
    ann, bob, cid, dan = [await world.player(10) for _ in range(4)]

    async def second() -> Receipt:
        async with world.database.transaction() as tx:
            return await world.submit(Entry("k", (move(cid, dan, 1),)), tx)

    async with world.database.transaction() as tx:
        await world.submit(Entry("k", (move(ann, bob, 1),)), tx)
        waiting = asyncio.ensure_future(second())
        await waits_for_a_lock(world.database)
    with pytest.raises(KeyConflict):
        await waiting


async def test_a_transaction_may_go_on_after_a_refusal(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    async with world.database.transaction() as tx:
        with pytest.raises(InsufficientFunds):
            await world.submit(Entry("k", (move(ann, bob, 11),)), tx)
        await world.submit(Entry("k", (move(ann, bob, 10),)), tx)
        with pytest.raises(KeyConflict):
            await world.submit(Entry("k", (move(ann, bob, 1),)), tx)
        with pytest.raises(HoldNotOpen):
            await world.submit(Entry(None, (Void(7),)), tx)
    assert await world.available(bob) == 10


async def test_many_repeats_on_many_nodes_happen_once_even_where_the_money_lasts_only_once(
    world: World, second: World
) -> None:
    ann, bob = await world.player(30), await world.player()
    nodes = (world, second)
    answers = await asyncio.gather(*(nodes[n % 2].submit(Entry(f"k{n % 3}", (move(ann, bob, 10),))) for n in range(60)))
    assert len({answer.entry for answer in answers}) == 3
    assert sum(not answer.repeated for answer in answers) == 3
    assert await world.balance(bob) == Balance(30, 0)


async def test_nodes_that_draw_the_same_number_for_their_ids_do_not_disturb_each_other(
    world: World, second: World, clock: ManualClock
) -> None:
    second.store._ids._own = world.store._ids._own
    players = [await world.player(100) for _ in range(8)]
    house = await world.system("house", hot=True)
    for _ in range(6):
        clock.advance(1)
        receipts = await asyncio.gather(
            *(
                node.move(player, house, 1, new_id())
                for node, half in ((world, players[:4]), (second, players[4:]))
                for player in half
            )
        )
        assert len({receipt.entry for receipt in receipts}) == 8
        careful(world)
    assert (await world.balance(house)).total == 48


# -- transactions of callers among rounds


async def test_what_a_rolled_back_transaction_did_never_happened(world: World, second: World) -> None:
    ann, bob = await world.player(10), await world.player()
    held = (await world.hold(ann, bob, 4)).entry
    before = await world.traces()
    with contextlib.suppress(KeyError):
        async with world.database.transaction() as tx:
            await world.submit(Entry("a", (move(ann, bob, 6),)), tx)
            await world.submit(Entry("b", (Post(held),)), tx)
            await world.submit(Entry("c", ()), tx)
            waiting = [asyncio.ensure_future(node.move(ann, bob, 5)) for node in (world, second)]
            await waits_for_a_lock(world.database, 2)
            raise KeyError
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Receipt, InsufficientFunds}
    after = await world.traces()
    assert (after["ledger_keys"], after["ledger_lines"]) == (before["ledger_keys"], before["ledger_lines"] + 1)
    assert await world.balance(ann) == Balance(5, 4)
    for node in (world, second):
        assert not (await node.submit(Entry(new_id(), (move(bob, ann, 1), move(ann, bob, 1))))).repeated
    await second.carry_out(Post(held))
    assert not (await world.submit(Entry("c", (move(bob, ann, 1),)))).repeated


async def test_transactions_and_rounds_of_two_nodes_mix_and_every_coin_is_accounted_for(
    world: World, second: World
) -> None:
    players = [await world.player(20) for _ in range(3)]
    mint = await world.mint()

    async def act(n: int) -> int:
        node, (a, b) = (world, second)[n % 2], (players[n % 3], players[(n + 1) % 3])
        entry = Entry(f"k{n}", (move(a, b, 3), move(b, mint, 1)))
        try:
            if n % 4:
                await node.submit(entry)
                return 1
            async with node.database.transaction() as tx:
                await node.submit(entry, tx)
                if n % 8:
                    raise KeyError
        except (InsufficientFunds, KeyError):
            return 0
        return 1

    done = sum(await asyncio.gather(*(act(n) for n in range(48))))
    assert done
    assert sum([await world.available(player) for player in players]) == 60 - done
    assert (await world.traces())["ledger_keys"] == done
    await strands_are_whole(world.database)


async def test_a_shared_strand_is_in_the_order_of_its_ids_whatever_the_clocks_of_its_nodes_say(
    world: World, database: Database
) -> None:
    behind = ManualClock()
    behind.advance(-3_600)
    async with world_of_a_node(database, behind) as second:
        for node in (world, second, world, second):
            a, b = await node.system(new_id(), may_go_negative=True), await node.system(new_id())
            async with node.database.transaction() as tx:
                await node.submit(Entry(None, (move(a, b, 1),)), tx)
    await strands_are_whole(database)


async def test_a_strand_remembers_its_last_line_beyond_rounds_without_any(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    with pytest.raises(InsufficientFunds):
        await world.move(ann, bob, 11)
    assert await world.database.fetchval("SELECT max(last) FROM ledger_strands") == await world.database.fetchval(
        "SELECT max(id) FROM ledger_lines"
    )


async def test_a_node_ends_a_hold_that_another_made_since_it_looked(world: World, second: World) -> None:
    ann, bob = await world.player(10), await world.player()
    await second.move(ann, bob, 1)
    for step in (Void, Post):
        held = (await world.hold(ann, bob, 4)).entry
        await second.carry_out(step(held))
    assert await second.balance(ann) == Balance(5, 0)


async def test_what_does_not_exist_makes_nothing_else_unknown_when_another_round_fails_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await world.player(10), await world.player()
    read, book = world.store._read, world.store._book
    fails = iter([True])

    async def read_while_a_round_fails(*arguments: Any, **more: Any) -> bool:
        found = await read(*arguments, **more)
        if not found and next(fails, False):
            book.drop([ann, bob])
        return found

    monkeypatch.setattr(world.store, "_read", read_while_a_round_fails)
    good, bad = await asyncio.gather(world.move(ann, bob, 1), world.carry_out(Void(7)), return_exceptions=True)
    assert isinstance(good, Receipt)
    assert isinstance(bad, HoldNotOpen)
    assert next(fails, None) is None


# -- rows beside


@pytest.fixture
async def journal(database: Database) -> AsyncIterator[Journal]:
    await database.execute("CREATE TABLE journal (what text UNIQUE CHECK (what <> 'bad'))")
    yield Journal()


async def test_rows_beside_are_written_with_their_entries_or_not_at_all(world: World, journal: Journal) -> None:
    ann, bob = await world.player(10), await world.player()
    wanted = [
        Entry("a", (move(ann, bob, 1),), ((journal, "a"),)),
        Entry("b", (move(ann, bob, 1),), ((journal, "bad"),)),
        Entry("c", (move(ann, bob, 100),), ((journal, "c"),)),
        Entry("d", (move(ann, bob, 1),)),
        Entry("e", (move(ann, bob, 1),), ((journal, "e1"), (journal, "e2"))),
        Entry("f", (move(ann, bob, 1),), ((journal, "a"),)),
    ]
    outcomes = await asyncio.gather(*map(world.submit, wanted), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        Receipt,
        asyncpg.CheckViolationError,
        InsufficientFunds,
        Receipt,
        Receipt,
        asyncpg.UniqueViolationError,
    ]
    again = await asyncio.gather(*map(world.submit, wanted), return_exceptions=True)
    assert [type(outcome) for outcome in again] == [type(outcome) for outcome in outcomes]
    assert [row[0] for row in await world.database.fetch("SELECT what FROM journal ORDER BY 1")] == ["a", "e1", "e2"]
    assert await world.available(bob) == 3
    await strands_are_whole(world.database)


async def test_a_writer_beside_that_refuses_is_heard_by_its_own_entry_only(world: World, journal: Journal) -> None:
    ann, bob = await world.player(10), await world.player()
    refusing = Journal()
    refusing.error = PalestraError("no")
    bad, good = await asyncio.gather(
        world.submit(Entry("a", (move(ann, bob, 10),), ((refusing, "x"),))),
        world.submit(Entry("b", (move(ann, bob, 10),), ((journal, "y"),))),
        return_exceptions=True,
    )
    assert bad is refusing.error
    assert isinstance(good, Receipt)
    assert await world.find("a") is None


# -- guards


async def test_limits_hold_over_two_nodes_and_a_refusal_counts_for_nothing(database: Database) -> None:
    async with (
        world_of_a_node(database, guard=Ceiling(10)) as world,
        world_of_a_node(database, guard=Ceiling(10)) as second,
    ):
        ann, house = await world.player(100), await world.system("house", hot=True)
        steps = (move(ann, house, 3, measure=Measure.STAKE), move(house, ann, 1))
        outcomes = await asyncio.gather(
            *((world, second)[n % 2].carry_out(*steps) for n in range(12)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LimitReached"] * 9 + ["Receipt"] * 3
        with pytest.raises(InsufficientFunds):
            await world.carry_out(move(ann, house, 1, measure=Measure.STAKE), move(ann, house, 1_000))
        with pytest.raises(LimitReached):
            await second.carry_out(move(ann, house, 2, measure=Measure.STAKE))
        await second.carry_out(move(ann, house, 1, measure=Measure.STAKE))
        assert await world.available(ann) == 93


async def test_a_changed_limit_counts_at_once_on_every_node(database: Database) -> None:
    async with (
        world_of_a_node(database, guard=Ceiling(10)) as world,
        world_of_a_node(database, guard=Ceiling(10)) as second,
    ):
        player = await world.new_player()
        ann, house = (await world.player_account(player, 100)).id, await world.system("house", hot=True)
        for node in (world, second):
            await node.carry_out(move(ann, house, 1, measure=Measure.STAKE))
        states = await asyncio.gather(
            *(node.change_guard(player, lambda state: str(int(state or 0) + 1)) for node in (world, second) * 2)
        )
        assert sorted(states) == ["3", "4", "5", "6"]
        with pytest.raises(LimitReached):
            await second.carry_out(move(ann, house, 5, measure=Measure.STAKE))
        with pytest.raises(AccountNotFound):
            await world.change_guard(new_id(), lambda state: "")
        assert await world.guard(player) == "6"


async def test_a_measured_step_of_a_player_who_was_deleted_elsewhere_meets_a_closed_account(database: Database) -> None:
    async with (
        world_of_a_node(database, guard=Ceiling(10)) as world,
        world_of_a_node(database, guard=Ceiling(10)) as second,
    ):
        house = await world.system("house", hot=True)
        for measured_before in (True, False):
            player = await world.new_player()
            ann = (await world.player_account(player, 100)).id
            await second.move(ann, house, 1, measure=Measure.STAKE if measured_before else Measure.NONE)
            await delete(world, player)
            for amount in (1, 50):
                with pytest.raises(AccountClosed):
                    await second.move(ann, house, amount, measure=Measure.STAKE)


# -- closing and deletion


async def delete(world: World, player: str) -> None:
    """What the deletion of a player does, in its one transaction."""
    async with world.database.transaction() as tx:
        await world.forget(tx, player)
        await tx.execute("DELETE FROM users WHERE id = $1", player)


async def test_an_account_is_not_closed_under_money_that_is_on_its_way(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    async with world.database.transaction() as tx:
        await world.submit(Entry(None, (move(ann, bob, 10),)), tx)
        closing = asyncio.ensure_future(world.close(bob))
        await waits_for_a_lock(world.database)
    with pytest.raises(PalestraError) as caught:
        await closing
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert await world.balance(bob) == Balance(10, 0)


async def test_a_node_that_knew_an_account_as_open_learns_that_it_is_closed(world: World, second: World) -> None:
    ann, bob = await world.player(10), await world.player()
    await second.move(ann, bob, 1)
    await second.move(bob, ann, 1)
    await world.close(bob)
    for node in (second, world):
        with pytest.raises(AccountClosed):
            await node.move(ann, bob, 1)


async def test_a_player_who_goes_leaves_nameless_lines_and_holds_that_can_end(world: World, second: World) -> None:
    player = await world.new_player()
    ann, bob = (await world.player_account(player, 10)).id, await world.player()
    posted, voided = (await world.hold(ann, bob, 3)).entry, (await second.hold(ann, bob, 4)).entry
    lines = await world.traces()
    in_flight = [asyncio.ensure_future(node.move(ann, bob, 1, new_id())) for node in (world, second) for _ in range(4)]
    await delete(world, player)
    outcomes = await asyncio.gather(*in_flight, return_exceptions=True)
    moved = sum(isinstance(outcome, Receipt) for outcome in outcomes)
    assert {type(outcome) for outcome in outcomes} <= {Receipt, AccountClosed, InsufficientFunds}
    for node in (world, second):
        for step in (move(ann, bob, 1), move(bob, ann, 1), Hold(ann, bob, 1, "hold", 2**40)):
            with pytest.raises((AccountClosed, InsufficientFunds)):
                await node.carry_out(step)
        with pytest.raises(AccountNotFound):
            await node.open(Owner(OwnerKind.PLAYER, player, "gems" if await node.mint("gems") else ""))
    await second.carry_out(Post(posted, 2))
    await world.carry_out(Void(voided))
    assert await world.balance(ann) == Balance(8 - moved, 0, closed=True)
    assert await world.balances_of([player]) == {player: {}}
    assert (await world.traces())["ledger_lines"] == lines["ledger_lines"] + moved + 2
    everything = await world.database.fetch(
        "SELECT a::text || b::text FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id"
    )
    assert not any(player in row[0] for row in everything)
    assert not any(player in str(row) for row in await world.database.fetch("SELECT * FROM ledger_lines"))


async def test_an_account_that_is_opened_while_its_player_goes_is_closed_with_the_others(
    world: World, second: World
) -> None:
    mint, player = await world.mint(), await world.new_player()
    async with world.database.transaction() as tx:
        await world.forget(tx, player)
        ann = (await second.player_account(player, 5)).id
        await tx.execute("DELETE FROM users WHERE id = $1", player)
    for node in (second, world):
        with pytest.raises(AccountClosed):
            await node.move(mint, ann, 1)
    assert await world.balance(ann) == Balance(5, 0, closed=True)


# -- what is in flight


async def test_lost_connections_make_nothing_happen_twice_or_not_at_all(world: World, second: World) -> None:
    ann, bob = await world.player(1_000), await world.player()

    async def cut() -> None:
        for _ in range(6):
            await world.database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%ledger_lines%'"
            )
            await asyncio.sleep(0)

    async def pay(n: int) -> Receipt:
        while True:
            try:
                return await (world, second)[n % 2].move(ann, bob, 10, f"k{n}")
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0)

    _, *receipts = await asyncio.gather(cut(), *(pay(n) for n in range(100)))
    assert len({receipt.entry for receipt in receipts}) == 100
    assert await world.balance(ann) == Balance(0, 0)
    for n in range(100):
        assert (await world.move(ann, bob, 10, f"k{n}")).lines == receipts[n].lines
    await strands_are_whole(world.database)


async def test_a_caller_who_stops_waiting_leaves_the_entry_whole(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    callers = [asyncio.ensure_future(world.move(ann, bob, 1, f"k{n}")) for n in range(20)]
    for _ in range(3):
        await asyncio.sleep(0)
    for caller in callers[::2]:
        caller.cancel()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    found = [await world.find(f"k{n}") for n in range(20)]
    happened = sum(receipt is not None for receipt in found)
    assert all(isinstance(found[n], Receipt) for n in range(20) if isinstance(outcomes[n], Receipt))
    assert await world.balance(bob) == Balance(happened, 0)


class LosesAnswers:
    """A store whose database goes away while an entry is in flight, and stays away."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = iter(errors)

    def submit(self, item: object) -> asyncio.Future[Receipt]:
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.set_exception(next(self._errors))
        return future


async def test_nothing_was_done_is_said_only_of_what_was_not_in_flight_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry("k", (move(await world.player(1), await world.player(), 1),))
    lost, away = OutcomeUnknown("lost"), Unavailable("away")
    for errors, told in (
        ((away,), Unavailable),
        ((lost, away), OutcomeUnknown),
        ((lost,) * ATTEMPTS_MAX, OutcomeUnknown),
    ):
        monkeypatch.setattr(world, "_store", LosesAnswers(*errors))
        with pytest.raises(PalestraError) as caught:
            await world.submit(entry)
        assert type(caught.value) is told
