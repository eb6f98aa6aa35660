"""Holds of wallets: set aside, taken or given back, once, and only by whom they belong to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from palestra.core.clock import SystemClock
from palestra.core.config import DatabaseSettings
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import Asset, Entry, Hold, HoldNotOpen, MoneyLeft, Owner, OwnerKind, Transfer
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore
from palestra.features.wallets.contract import BadChange, InsufficientFunds
from palestra.features.wallets.service import WalletService


async def test_what_is_held_is_not_available_until_it_is_given_back(wallets: WalletService, ann: str) -> None:
    await wallets.change(ann, {"coins": 10})
    hold = await wallets.hold(ann, "coins", 7, key="order 1")
    assert await wallets.hold(ann, "coins", 7, key="order 1") == hold
    assert await wallets.get(ann) == {"coins": 3}
    with pytest.raises(InsufficientFunds):
        await wallets.change(ann, {"coins": -4})
    await wallets.void(ann, hold.id)
    await wallets.void(ann, hold.id)
    assert await wallets.get(ann) == {"coins": 10}
    with pytest.raises(HoldNotOpen, match="over already"):
        await wallets.post(ann, hold.id)


async def test_a_part_is_taken_once_and_the_rest_comes_back(wallets: WalletService, ann: str) -> None:
    await wallets.change(ann, {"coins": 10})
    hold = await wallets.hold(ann, "coins", 7)
    for _ in range(2):
        await wallets.post(ann, hold.id, 5)
    assert await wallets.get(ann) == {"coins": 5}
    assert [entry.changeset for entry in (await wallets.history(ann)).entries] == [
        {"coins": 2},
        {"coins": -7},
        {"coins": 10},
    ]
    for end in (wallets.post(ann, hold.id), wallets.post(ann, hold.id, 4), wallets.void(ann, hold.id)):
        with pytest.raises(HoldNotOpen):
            await end


async def test_nobody_ends_a_hold_of_somebody_else(wallets: WalletService, ann: str, bob: str) -> None:
    await wallets.change(ann, {"coins": 10})
    await wallets.change(bob, {"coins": 10})
    hold = await wallets.hold(ann, "coins", 7)
    for end in (wallets.post(bob, hold.id), wallets.void(bob, hold.id)):
        with pytest.raises(HoldNotOpen, match="has no hold"):
            await end
    with pytest.raises(AccountNotFound):
        await wallets.void("nobody", hold.id)
    for wrong in ("", "x", "1" * 30, "-1"):
        with pytest.raises(BadChange):
            await wallets.void(ann, wrong)
    assert await wallets.get(ann) == {"coins": 3}


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[LedgerService]:
    settings, clock = DatabaseSettings(), SystemClock()
    store, register = LedgerStore(database, settings, clock), Register(database, settings)
    yield LedgerService(store, register, database, clock)
    await store.stop()
    await register.stop()


async def test_holds_of_other_features_are_not_the_wallets_to_end(
    wallets: WalletService, database: Database, ledger: LedgerService, ann: str
) -> None:
    await wallets.change(ann, {"coins": 10})
    own = (await ledger.open(Owner(OwnerKind.PLAYER, ann, "coins"))).id
    house = (await ledger.open(Owner(OwnerKind.SYSTEM, "house", "coins"), hot=True)).id
    async with database.transaction() as tx:
        stake = await ledger.submit(Entry(None, (Hold(own, house, 7, "round.stake", 2_000_000_000),)), tx)
        paid = await ledger.submit(Entry(None, (Transfer(own, house, 1, "fee"),)), tx)
    for number in (stake.entry, paid.entry):
        for end in (wallets.void(ann, str(number)), wallets.post(ann, str(number))):
            with pytest.raises(HoldNotOpen, match="has no hold"):
                await end
    assert await wallets.get(ann) == {"coins": 2}


async def test_an_account_with_real_money_is_not_deleted(
    wallets: WalletService, database: Database, ledger: LedgerService, ann: str
) -> None:
    await ledger.declare(Asset("EUR", 2, "money"))
    own = (await ledger.open(Owner(OwnerKind.PLAYER, ann, "EUR"))).id
    bank = (await ledger.open(Owner(OwnerKind.SYSTEM, "bank", "EUR"), may_go_negative=True)).id
    await wallets.change(ann, {"coins": 10})

    async def deleted() -> None:
        async with database.transaction() as tx:
            await ledger.forget(tx, ann)

    async with database.transaction() as tx:
        await ledger.submit(Entry(None, (Transfer(bank, own, 1, "deposit"),)), tx)
    with pytest.raises(MoneyLeft, match="still has EUR"):
        await deleted()
    async with database.transaction() as tx:
        await ledger.submit(Entry(None, (Transfer(own, bank, 1, "withdrawal"),)), tx)
    await deleted()
