"""Wallets at the edges of the ledger below: answers that were lost, players who went, odd cursors, foreign lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from palestra.core.errors import InvalidArgument
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import AMOUNT_MAX, Entry, Owner, OwnerKind, Transfer
from palestra.features.wallets import rules
from palestra.features.wallets.contract import BadChange, InsufficientFunds, WalletChange
from palestra.features.wallets.service import WalletService

NewPlayer = Callable[[], Awaitable[str]]


async def test_a_purchase_that_took_the_last_coin_is_answered_again_under_its_key(
    wallets: WalletService, second_node: WalletService, ann: str
) -> None:
    await wallets.change(ann, {"coins": 10})
    first = await wallets.change(ann, {"coins": -10, "sword": 1}, key="buy")
    for node in (wallets, second_node, wallets):
        assert await node.change(ann, {"coins": -10, "sword": 1}, key="buy") == first
    assert first == WalletChange({"coins": 10, "sword": 0}, {"coins": 0, "sword": 1})
    with pytest.raises(InsufficientFunds):
        await wallets.change(ann, {"coins": -10, "sword": 1}, key="buy again")


async def test_repeated_purchases_at_once_all_get_the_first_answer(
    wallets: WalletService, second_node: WalletService, ann: str
) -> None:
    await wallets.change(ann, {"coins": 10})
    nodes = (wallets, second_node)
    answers = await asyncio.gather(*(nodes[n % 2].change(ann, {"coins": -10}, key="buy") for n in range(20)))
    assert answers == [WalletChange({"coins": 10}, {"coins": 0})] * 20


async def test_a_player_who_went_elsewhere_is_not_found(
    wallets: WalletService, second_node: WalletService, ann: str, database: Database
) -> None:
    await second_node.change(ann, {"coins": 10})
    await wallets.change(ann, {"coins": 1})
    async with database.transaction() as tx:
        await wallets._ledger.forget(tx, ann)
        await tx.execute("DELETE FROM users WHERE id = $1", ann)
    for node in (wallets, second_node):
        for amount in (0, 1, -1):
            with pytest.raises(AccountNotFound):
                await node.change(ann, {"coins": amount})
        assert await node.get(ann) == {}
        assert (await node.history(ann)).entries == ()


async def test_a_player_is_named_once_in_a_change_of_many(wallets: WalletService, ann: str, bob: str) -> None:
    with pytest.raises(BadChange, match="named twice"):
        await wallets.change_many({ann: {"coins": 5}, ann.upper(): {"coins": 7}})
    done = await wallets.change_many({ann.upper(): {"coins": 5}, bob: {"coins": 7}})
    assert done == {ann: WalletChange({"coins": 0}, {"coins": 5}), bob: WalletChange({"coins": 0}, {"coins": 7})}


async def test_a_forged_cursor_leads_nowhere_beyond_64_bits(wallets: WalletService, ann: str) -> None:
    await wallets.change(ann, {"coins": 5})
    assert len((await wallets.history(ann, 10, rules.cursor_of(ann, AMOUNT_MAX))).entries) == 1
    assert (await wallets.history(ann, 10, rules.cursor_of(ann, 1))).entries == ()


async def test_lines_of_other_features_cannot_spoil_a_wallets_history(wallets: WalletService, ann: str) -> None:
    await wallets.change(ann, {"coins": 5})
    books = wallets._ledger
    account = await books.open(Owner(OwnerKind.PLAYER, ann, "coins"))
    house = await books.open(Owner(OwnerKind.SYSTEM, "house", "coins"))
    for metadata in ("no json", "[1]", "1e999", '{"a":1e999}'):
        with pytest.raises(InvalidArgument):
            await books.submit(Entry(None, (Transfer(account.id, house.id, 1, "fee", "", metadata),)))
    await books.submit(Entry(None, (Transfer(account.id, house.id, 1, "fee", "", '{"a":[1]}'),)))
    assert [entry.metadata for entry in (await wallets.history(ann)).entries] == [{"a": [1]}, {}]
