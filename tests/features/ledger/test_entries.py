"""Entries one at a time: every refusal and that it leaves nothing, keys for ever, holds, history, hot accounts."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from palestra.core.clock import ManualClock, SystemClock
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import (
    AMOUNT_MAX,
    AccountClosed,
    AmountOverflow,
    Asset,
    AssetConflict,
    AssetMismatch,
    BadAsset,
    BadEntry,
    Balance,
    Entry,
    Hold,
    HoldNotOpen,
    InsufficientFunds,
    KeyConflict,
    KeyRetired,
    Line,
    LineKind,
    Owner,
    OwnerKind,
    Post,
    Receipt,
    Transfer,
    UnknownAccount,
    UnknownAsset,
    Void,
)
from palestra.features.ledger.store import STRIPES
from tests.features.ledger.world import GEMS, World, move

SOON = 1_750_000_500


# -- refusals


MALFORMED: list[dict[str, Any]] = [
    {"amount": 0},
    {"amount": -1},
    {"amount": 2**63},
    {"amount": 10**400},
    {"amount": 1.0},
    {"amount": True},
    {"amount": "1"},
    {"amount": None},
    {"credit": "the same"},
    {"debit": "1"},
    {"debit": True},
    {"debit": 1.5},
    {"debit": 2**63},
    {"credit": -(2**70)},
    {"kind": ""},
    {"kind": "k" * 65},
    {"kind": "nul\0"},
    {"kind": 5},
    {"reference": "r" * 257},
    {"reference": "half \ud83d"},
    {"reference": 5},
    {"metadata": "no json"},
    {"metadata": "[1]"},
    {"metadata": '{"open": '},
    {"metadata": "[" * 5_000},
    {"metadata": '{"half": "\ud83d"}'},
    {"metadata": '{"long": "' + "é" * 9_000 + '"}'},
    {"metadata": {"a": "mapping"}},
]
MALFORMED_HOLDS = [
    lambda ann, bob: Hold(ann, bob, 0, "hold", SOON),
    lambda ann, bob: Hold(ann, ann, 1, "hold", SOON),
    lambda ann, bob: Hold(ann, bob, 1, "hold", 0),
    lambda ann, bob: Hold(ann, bob, 1, "hold", 2**63),
    lambda ann, bob: Hold(ann, bob, 1, "hold", 1e12),
    lambda ann, bob: Hold(ann, bob, 1, "hold", 1_750_000_000),
    lambda ann, bob: Post("1"),
    lambda ann, bob: Post(1, 0),
    lambda ann, bob: Post(1, 1.0),
    lambda ann, bob: Post(2**63),
    lambda ann, bob: Void(None),
    lambda ann, bob: Void(-(2**64)),
    lambda ann, bob: Void(1, kind=""),
]
MALFORMED_KEYS: list[Any] = ["", "k" * 257, "nul\0", "half \ud83d", 5, True, b"k"]


async def test_what_is_malformed_is_refused_and_leaves_nothing(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    before = await world.traces()
    wanted: list[Any] = [step(ann, bob) for step in MALFORMED_HOLDS]
    for change in MALFORMED:
        fields = {"debit": ann, "credit": bob, "amount": 1, **change}
        if fields["credit"] == "the same":
            fields["credit"] = ann
        wanted.append(move(**fields))
    entries = [Entry("k", (step,)) for step in wanted] + [Entry(None, (move(ann, bob, 1), step)) for step in wanted]
    entries += [Entry(key, (move(ann, bob, 1),)) for key in MALFORMED_KEYS]
    for entry in entries:
        with pytest.raises(BadEntry):
            await world.submit(entry)
    assert await world.traces() == before


async def test_an_entry_has_steps_or_a_key_and_not_too_many_steps(world: World) -> None:
    ann, bob = await world.player(2_000), await world.player()
    before = await world.traces()
    for entry in (Entry(None, ()), Entry("k", (move(ann, bob, 1),) * 1_001)):
        with pytest.raises(BadEntry):
            await world.submit(entry)
    assert await world.traces() == before
    receipt = await world.submit(Entry("k", (move(ann, bob, 1), move(bob, ann, 1)) * 500))
    assert len(receipt.lines) == 1_000
    assert (await world.submit(Entry("k", (move(ann, bob, 1), move(bob, ann, 1)) * 500))).lines == receipt.lines


async def test_accounts_and_holds_that_do_not_exist_are_refused(world: World) -> None:
    ann = await world.player(10)
    before = await world.traces()
    for unknown in (0, 2**62, -(2**40), AMOUNT_MAX, -AMOUNT_MAX):
        for steps in ((move(ann, unknown, 1),), (move(unknown, ann, 1),)):
            with pytest.raises(UnknownAccount):
                await world.submit(Entry("k", steps))
        for steps in ((Post(unknown),), (Void(unknown),), (move(ann, await world.mint(), 1), Void(unknown))):
            with pytest.raises(HoldNotOpen):
                await world.submit(Entry("k", steps))
    assert await world.traces() == before


async def test_looking_for_what_no_ledger_holds_finds_nothing(world: World) -> None:
    ann = await world.player(10)
    for number in (0, 2**63, 2**70, -(2**70)):
        assert await world.line(number) is None
        with pytest.raises(UnknownAccount):
            await world.balance(number)
    assert (await world.accounts([ann, 2**70])).keys() == {ann}
    assert await world.find("never used") is None
    assert await world.find("half \ud83d") is None
    assert (await world.history([ann], before=2**70)).lines != ()
    assert (await world.history([ann], before=-(2**70))).lines == ()
    for limit in (0, 1_001):
        with pytest.raises(BadEntry):
            await world.history([ann], limit=limit)
        with pytest.raises(BadEntry):
            await world.open_holds(ann, limit)


async def test_assets_do_not_mix(world: World) -> None:
    ann, gems = await world.player(10), await world.player(10, GEMS)
    before = await world.traces()
    for step in (move(ann, gems, 1), Hold(ann, gems, 1, "hold", SOON)):
        with pytest.raises(AssetMismatch):
            await world.submit(Entry("k", (step,)))
    assert await world.traces() == before


async def test_nobody_spends_what_they_do_not_have_nor_what_is_held(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    await world.hold(ann, bob, 4)
    before = await world.traces()
    for step in (move(ann, bob, 7), Hold(ann, bob, 7, "hold", SOON), move(bob, ann, 1)):
        with pytest.raises(InsufficientFunds):
            await world.submit(Entry("k", (step,)))
    assert await world.traces() == before
    await world.move(ann, bob, 6, "k")
    assert await world.balance(ann) == Balance(4, 4)


async def test_a_chain_whose_last_step_fails_leaves_nothing(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    held = (await world.hold(ann, bob, 4)).entry
    before = await world.traces()
    good = (move(ann, bob, 5), Hold(bob, ann, 2, "hold", SOON), Post(held, 1))
    for bad, error in (
        (move(bob, ann, 100), InsufficientFunds),
        (Void(held), HoldNotOpen),
        (move(ann, AMOUNT_MAX, 1), UnknownAccount),
        (Hold(ann, bob, 1, "hold", 1), BadEntry),
    ):
        with pytest.raises(error):
            await world.submit(Entry("k", (*good, bad)))
        assert await world.traces() == before
    receipt = await world.submit(Entry("k", good))
    assert [line.step for line in receipt.lines] == [LineKind.TRANSFER, LineKind.HOLD, LineKind.POST]
    assert await world.balance(ann) == Balance(4, 0)
    assert await world.balance(bob) == Balance(6, 2)


async def test_balances_stay_within_64_bits_both_ways(world: World) -> None:
    debtor, other = await world.system("debtor", may_go_negative=True), await world.system("other")
    await world.move(debtor, other, AMOUNT_MAX)
    assert await world.balance(debtor) == Balance(-AMOUNT_MAX, 0)
    before = await world.traces()
    third = await world.system("third", may_go_negative=True)
    for steps in ((move(debtor, third, 1),), (move(third, other, 1),), (move(other, third, 1), move(third, other, 2))):
        with pytest.raises(AmountOverflow):
            await world.submit(Entry("k", steps))
    after = await world.traces()
    assert after | {"balances": before["balances"]} == before
    assert await world.balance(third) == Balance(0, 0)


async def test_what_is_available_stays_within_64_bits_too(world: World) -> None:
    debtor, other = await world.system("debtor", may_go_negative=True), await world.system("other")
    await world.move(debtor, other, 5)
    before = await world.traces()
    with pytest.raises(AmountOverflow):
        await world.hold(debtor, other, AMOUNT_MAX)
    assert await world.traces() == before
    await world.hold(debtor, other, AMOUNT_MAX - 5)
    before = await world.traces()
    for step in (move(debtor, other, 1), Hold(debtor, other, 1, "hold", SOON)):
        with pytest.raises(AmountOverflow):
            await world.submit(Entry("k", (step,)))
    assert await world.traces() == before
    assert await world.available(debtor) == -AMOUNT_MAX


async def test_the_sum_over_the_rows_of_a_hot_account_may_need_more_than_64_bits(world: World) -> None:
    mint = await world.mint()
    for stripe in range(2):
        sql = "UPDATE ledger_balances SET balance = $1 WHERE account_id = $2 AND stripe = $3"
        await world.database.execute(sql, -AMOUNT_MAX, mint, stripe)
    assert (await world.balance(mint)).total == -2 * AMOUNT_MAX


async def test_a_closed_account_takes_part_in_nothing(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    held = (await world.hold(ann, bob, 4)).entry
    with pytest.raises(Exception, match="nothing is in it"):
        await world.close(ann)
    await world.close(bob)
    before = await world.traces()
    for step in (move(ann, bob, 1), move(bob, ann, 1), Hold(ann, bob, 1, "hold", SOON), Post(held)):
        with pytest.raises(AccountClosed):
            await world.submit(Entry("k", (step,)))
    assert await world.traces() == before
    await world.carry_out(Void(held))
    assert await world.balance(ann) == Balance(10, 0)
    assert (await world.balance(bob)).closed
    with pytest.raises(UnknownAccount):
        await world.close(AMOUNT_MAX)


async def test_a_hot_account_has_no_holds_and_no_player_has_a_hot_account(world: World) -> None:
    ann, mint = await world.player(10), await world.mint()
    with pytest.raises(BadEntry, match="several rows"):
        await world.hold(mint, ann, 1)
    with pytest.raises(BadEntry):
        await world.open(Owner(OwnerKind.PLAYER, await world.new_player(), "coins"), hot=True)


# -- assets and accounts


async def test_an_asset_that_cannot_be_is_refused(world: World) -> None:
    texts = [Asset(code) for code in ("", "a" * 65, "nul\0", "half \ud83d")]
    others: Any = [Asset("a", scale) for scale in (-1, 19, True, 1.0)] + [Asset("a", 0, "real")]
    for asset in texts + others:
        with pytest.raises(BadAsset):
            await world.declare(asset)
    assert await world.assets() == []


async def test_an_asset_stays_what_it_was_declared_as(world: World) -> None:
    await world.declare(Asset("euro", 2, "money"))
    await world.declare(Asset("euro", 2, "money"))
    for other in (Asset("euro", 3, "money"), Asset("euro", 2)):
        with pytest.raises(AssetConflict):
            await world.declare(other)
    assert await world.asset("euro") == Asset("euro", 2, "money")
    with pytest.raises(UnknownAsset):
        await world.asset("dollar")


async def test_accounts_are_opened_only_for_somebody_and_something(world: World) -> None:
    await world.mint()
    nobody = "00000000-0000-4000-8000-000000000000"
    for owner, error in (
        (Owner(OwnerKind.PLAYER, nobody, "coins"), AccountNotFound),
        (Owner(OwnerKind.PLAYER, "ann", "coins"), AccountNotFound),
        (Owner(OwnerKind.SYSTEM, "", "coins"), BadEntry),
        (Owner(OwnerKind.SYSTEM, "n" * 129, "coins"), BadEntry),
        (Owner(OwnerKind.ROUND, "half \ud83d", "coins"), BadEntry),
        (Owner(OwnerKind.SYSTEM, "house", "dust"), UnknownAsset),
        (Owner(OwnerKind.SYSTEM, "house", "half \ud83d"), UnknownAsset),
    ):
        with pytest.raises(error):
            await world.open(owner)
    assert await world.database.fetchval("SELECT count(*) FROM ledger_accounts") == 1


async def test_many_nodes_open_the_same_accounts_at_once_and_each_exists_once(world: World, second: World) -> None:
    await world.mint()
    players = [await world.new_player() for _ in range(20)]
    owners = [Owner(OwnerKind.PLAYER, player, "coins") for player in players]
    owners += [Owner(OwnerKind.SYSTEM, f"s{n}", "coins") for n in range(20)]
    opened = await asyncio.gather(
        *(node.open(owner, hot=owner.name == "s1") for node in (world, second) for owner in owners)
    )
    assert opened[:40] == opened[40:]
    assert len({account.id for account in opened}) == 40
    assert await world.database.fetchval("SELECT count(*) FROM ledger_accounts") == 41
    assert await world.database.fetchval("SELECT count(*) FROM ledger_balances") == 39 + 2 * STRIPES


async def test_many_nodes_declare_at_once_and_one_way_wins(world: World, second: World) -> None:
    wanted = [Asset("euro", scale, kind) for scale in (0, 2) for kind in ("virtual", "money")]
    answers = await asyncio.gather(
        *(node.declare(asset) for asset in wanted for node in (world, second)), return_exceptions=True
    )
    won = await world.asset("euro")
    assert [type(answer) for answer in answers] == [
        type(None) if asset == won else AssetConflict for asset in wanted for _ in range(2)
    ]


# -- keys


async def test_a_key_answers_for_ever_what_it_answered_first(world: World, second: World, clock: ManualClock) -> None:
    ann, bob = await world.player(10), await world.player()
    first = await world.move(ann, bob, 10, "pay")
    assert not first.repeated
    await world.move(bob, await world.mint(), 10)
    clock.advance(10 * 366 * 86_400)
    for node in (world, second):
        again = await node.move(ann, bob, 10, "pay")
        assert again == Receipt(first.entry, first.lines, repeated=True)
        assert await node.find("pay") == again
    assert await world.available(ann) == 0


async def test_a_repeated_end_of_a_hold_gets_the_first_answer(world: World, second: World) -> None:
    ann, bob = await world.player(10), await world.player()
    one, two = (await world.hold(ann, bob, 4)).entry, (await world.hold(ann, bob, 5)).entry
    posted, voided = await world.carry_out(Post(one, 3), key="post"), await world.carry_out(Void(two), key="void")
    for node in (world, second):
        assert (await node.carry_out(Post(one, 3), key="post")).lines == posted.lines
        assert (await node.carry_out(Void(two), key="void")).lines == voided.lines
        with pytest.raises(KeyConflict):
            await node.carry_out(Post(one, 2), key="post")
        with pytest.raises(KeyConflict):
            await node.carry_out(Void(two), key="post")
        with pytest.raises(HoldNotOpen):
            await node.carry_out(Void(two), key="other")
    assert await world.balance(ann) == Balance(7, 0)


async def test_a_repeat_that_could_not_happen_any_more_gets_the_first_answer_in_a_transaction_too(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    first = await world.move(ann, bob, 10, "pay")
    async with world.database.transaction() as tx:
        assert (await world.submit(Entry("pay", (move(ann, bob, 10),)), tx)).lines == first.lines


async def test_a_key_after_the_account_was_closed_still_gets_the_first_answer(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    first = await world.move(ann, bob, 10, "pay")
    await world.close(ann)
    assert (await world.move(ann, bob, 10, "pay")).lines == first.lines


async def test_other_content_under_a_used_key_is_a_conflict(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    await world.move(ann, bob, 1, "k")
    before = await world.traces()
    others: list[tuple[Any, ...]] = [
        (move(**{"debit": ann, "credit": bob, "amount": 1, **change}),)
        for change in ({"amount": 2}, {"kind": "b"}, {"reference": "r"}, {"metadata": '{"a":1}'}, {"amount": 1_000})
    ]
    others += [(move(bob, ann, 1),), (move(ann, bob, 1),) * 2, (Hold(ann, bob, 1, "test", SOON),), ()]
    for steps in others:
        with pytest.raises(KeyConflict):
            await world.submit(Entry("k", steps))
    assert await world.traces() == before


async def test_a_refused_entry_does_not_use_its_key_up(world: World) -> None:
    ann, bob = await world.player(1), await world.player()
    with pytest.raises(InsufficientFunds):
        await world.move(ann, bob, 2, "k")
    await world.move(await world.mint(), ann, 1)
    assert not (await world.move(ann, bob, 2, "k")).repeated


async def test_nothing_happens_under_a_tombstone(world: World, second: World) -> None:
    ann, bob = await world.player(10), await world.player()
    assert await world.submit(Entry("k", ())) == Receipt(0, ())
    before = await world.traces()
    for node in (world, second):
        for amount in (1, 1_000):
            with pytest.raises(KeyRetired):
                await node.move(ann, bob, amount, "k")
        assert await node.submit(Entry("k", ())) == Receipt(0, (), repeated=True)
        assert await node.find("k") == Receipt(0, (), repeated=True)
    assert await world.traces() == before


async def test_keys_of_any_letters_differ_letter_by_letter(world: World) -> None:
    ann, bob = await world.player(100), await world.player()
    keys = ["\u00e9", "e\u0301", "\u00c9", "e", "\U0001f600" * 256, "\U0001f600" * 255, " ", "  ", "a\nb", "a\tb"]
    receipts = [await world.move(ann, bob, 1, key, kind="ß|1:x", reference="|" * 256) for key in keys]
    assert len({receipt.entry for receipt in receipts}) == len(keys)
    assert [(await world.find(key)).entry for key in keys] == [receipt.entry for receipt in receipts]


# -- holds and time


async def test_a_hold_ends_once(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    for first in (Post, Void):
        held = (await world.hold(ann, bob, 2)).entry
        await world.carry_out(first(held))
        for step in (Post(held), Post(held, 1), Void(held), Void(held, expired=True)):
            with pytest.raises(HoldNotOpen):
                await world.carry_out(step)
    assert await world.balance(ann) == Balance(8, 0)
    with pytest.raises(BadEntry, match="cannot be posted"):
        await world.carry_out(Post((await world.hold(ann, bob, 2)).entry, 3))


async def test_a_hold_is_over_at_its_second_and_the_sweep_gives_it_back_once(
    world: World, second: World, clock: ManualClock
) -> None:
    ann, bob = await world.player(10), await world.player()
    held = (await world.hold(ann, bob, 4, seconds=10)).entry
    clock.advance(9)
    assert await world.end_overdue_holds() == 0
    with pytest.raises(HoldNotOpen, match="not expired yet"):
        await world.carry_out(Void(held, expired=True))
    clock.advance(1)
    with pytest.raises(HoldNotOpen, match="is expired"):
        await world.carry_out(Post(held))
    assert await world.balance(ann) == Balance(10, 4)
    assert sum(await asyncio.gather(world.end_overdue_holds(), second.end_overdue_holds())) == 1
    assert await second.balance(ann) == Balance(10, 0)
    assert (await world.history([ann])).lines[0].step == LineKind.EXPIRE
    assert await world.open_holds(ann) == []


async def test_lines_keep_their_order_when_the_clock_goes_back(world: World, second: World, clock: ManualClock) -> None:
    ann, bob = await world.player(10), await world.player()
    first = await world.move(ann, bob, 1)
    clock.advance(-86_400)
    receipts = [first, *[await node.move(ann, bob, 1) for node in (world, second, world, second)]]
    assert [line.id for receipt in receipts for line in receipt.lines] == sorted(r.entry for r in receipts)
    assert [line.debit_after for receipt in receipts for line in receipt.lines] == [9, 8, 7, 6, 5]


# -- looking back


async def test_history_is_read_in_pages_that_miss_and_repeat_nothing(world: World) -> None:
    ann, bob, mint = await world.player(100), await world.player(), await world.mint()
    for n in range(7):
        await world.move(*((ann, bob) if n % 3 else (mint, ann)), n + 1)
    for accounts in ([ann], [bob], [ann, bob], [ann, ann], [mint], [mint, ann]):
        whole = (await world.history(accounts, limit=1_000)).lines
        assert list(whole) == sorted(whole, key=lambda line: -line.id)
        assert all({line.debit, line.credit} & set(accounts) for line in whole)
        pages: list[Line] = []
        before = None
        while True:
            page = await world.history(accounts, before, 3)
            pages += page.lines
            before = page.before
            if before is None:
                break
        assert tuple(pages) == whole
    assert (await world.history([])).lines == ()


async def test_what_a_hot_account_has_is_the_sum_of_its_rows(world: World, second: World) -> None:
    house, mint = await world.system("house", hot=True), await world.mint()
    players = [await world.player(100) for _ in range(8)]
    await asyncio.gather(*((world, second)[n % 2].move(player, house, 5) for n in range(4) for player in players))
    assert await world.balance(house) == Balance(160, 0)
    await world.move(house, mint, 1_000)
    assert await second.balance(house) == Balance(-840, 0)
    lines = (await world.history([house], limit=100)).lines
    assert len(lines) == 33
    assert all(line.credit_after is None for line in lines if line.credit == house)


async def test_lines_cannot_be_changed_or_deleted(world: World) -> None:
    await world.player(10)
    for sql in ("UPDATE ledger_lines SET amount = 1", "DELETE FROM ledger_lines", "DELETE FROM ledger_lines_rest"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changed or deleted"):
            await world.database.execute(sql)
    assert await world.database.fetchval("SELECT sum(amount) FROM ledger_lines") == 10


async def test_months_get_their_partitions_even_when_lines_came_before_them(world: World, clock: ManualClock) -> None:
    ann, bob = await world.player(10), await world.player()
    await world.start()
    clock.advance(SystemClock.now() - clock.now() + 150 * 86_400)
    late = await world.move(ann, bob, 1)
    await world.database.execute("SELECT ledger_add_partitions(8)")
    clock.advance(61 * 86_400)
    later = await world.move(ann, bob, 1)
    found = await world.database.fetch(
        "SELECT id, tableoid::regclass::text AS part FROM ledger_lines WHERE id >= $1", late.entry
    )
    assert [(row["id"], row["part"] == "ledger_lines_rest") for row in sorted(found)] == [
        (late.entry, True),
        (later.entry, False),
    ]


async def test_a_transfer_says_what_it_was_for(world: World) -> None:
    ann, bob = await world.player(10), await world.player()
    step = Transfer(ann, bob, 3, "gift", "letter 7", '{"wish":"né"}')
    (line,) = (await world.carry_out(step)).lines
    assert await world.line(line.id) == line
    assert line == Line(
        line.id, line.id, LineKind.TRANSFER, ann, bob, 3, 7, 3, "gift", "letter 7", '{"wish":"né"}', None, None
    )
