"""Wallets: balances, refusals, keys that make a change happen once, history, and many changes at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from palestra.core.errors import Code, PalestraError
from palestra.core.ids import new_id
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.wallets.contract import (
    AMOUNT_MAX,
    BadChange,
    BadCursor,
    ChangeConflict,
    InsufficientFunds,
    WalletChange,
    WalletFull,
)
from palestra.features.wallets.service import WalletService

NewPlayer = Callable[[], Awaitable[str]]


class SomePlayer(msgspec.Struct):
    id: str


async def test_a_change_tells_what_it_changed_before_and_after(wallets: WalletService, ann: str) -> None:
    assert await wallets.get(ann) == {}
    first = await wallets.change(ann, {"coins": 10, "gems": 1})
    assert first == WalletChange({"coins": 0, "gems": 0}, {"coins": 10, "gems": 1})
    change = await wallets.change(SomePlayer(ann.upper()), {"gems": -1, "keys": 0})
    assert change == WalletChange({"gems": 1, "keys": 0}, {"gems": 0, "keys": 0})
    assert await wallets.get(SomePlayer(ann)) == {"coins": 10, "gems": 0, "keys": 0}


async def test_a_change_that_would_go_below_zero_changes_nothing_and_says_why(wallets: WalletService, ann: str) -> None:
    await wallets.change(ann, {"coins": 10, "gems": 3})
    with pytest.raises(InsufficientFunds) as caught:
        await wallets.change(ann, {"coins": 5, "gems": -4})
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert caught.value.message == "The wallet has 3 gems available, so 4 cannot be taken from it."
    assert await wallets.get(ann) == {"coins": 10, "gems": 3}
    assert len((await wallets.history(ann)).entries) == 1


async def test_a_change_beyond_64_bits_is_refused(wallets: WalletService, ann: str) -> None:
    await wallets.change(ann, {"coins": AMOUNT_MAX})
    with pytest.raises(WalletFull):
        await wallets.change(ann, {"gems": 1, "coins": 1})
    assert await wallets.change(ann, {"coins": -AMOUNT_MAX}) == WalletChange({"coins": AMOUNT_MAX}, {"coins": 0})


async def test_a_change_names_a_bounded_number_of_assets(wallets: WalletService, ann: str) -> None:
    await wallets.change(ann, {f"asset {n}": 1 for n in range(100)})
    with pytest.raises(BadChange, match="at most 1000 assets"):
        await wallets.change(ann, {f"asset {n}": 1 for n in range(1_001)})
    assert len(await wallets.get(ann)) == 100


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"": 1}, {}),
        ({"a" * 65: 1}, {}),
        ({"nul\0": 1}, {}),
        ({"half \ud83d": 1}, {}),
        ({7: 1}, {}),
        ({"coins": 1.0}, {}),
        ({"coins": True}, {}),
        ({"coins": "1"}, {}),
        ({"coins": 2**63}, {}),
        ({"coins": -(2**63)}, {}),
        ({"coins": 1}, {"key": ""}),
        ({"coins": 1}, {"key": "k" * 129}),
        ({"coins": 1}, {"key": "nul\0"}),
        ({"coins": 1}, {"metadata": {"half": "\ud83d"}}),
        ({"coins": 1}, {"metadata": {"what": object()}}),
        ({"coins": 1}, {"metadata": {"long": "x" * 70_000}}),
        ({"coins": 1}, {"metadata": ["no mapping"]}),
    ],
)
async def test_a_malformed_change_is_refused_and_harms_no_neighbour(
    wallets: WalletService, ann: str, bob: str, changes: Any, more: dict[str, Any]
) -> None:
    bad, good = await asyncio.gather(
        wallets.change(ann, changes, **more), wallets.change(bob, {"coins": 1}), return_exceptions=True
    )
    assert type(bad) is BadChange
    assert good == WalletChange({"coins": 0}, {"coins": 1})
    assert await wallets.get(ann) == {}


async def test_an_unknown_player_has_no_wallet_to_change(wallets: WalletService, bob: str) -> None:
    for unknown in (new_id(), "ann"):
        lost, good = await asyncio.gather(
            wallets.change(unknown, {"coins": 1}), wallets.change(bob, {"coins": 1}), return_exceptions=True
        )
        assert type(lost) is AccountNotFound
        assert isinstance(good, WalletChange)


async def test_a_key_makes_a_change_happen_once_and_repeats_the_first_answer(wallets: WalletService, ann: str) -> None:
    first = await wallets.change(ann, {"coins": 10, "gems": 1}, key="daily:1", metadata={"day": 1, "big": 1e300})
    await wallets.change(ann, {"coins": 5})
    again = await wallets.change(ann, {"gems": 1, "coins": 10}, key="daily:1", metadata={"big": 1e300, "day": 1})
    assert again == first == WalletChange({"coins": 0, "gems": 0}, {"coins": 10, "gems": 1})
    assert await wallets.get(ann) == {"coins": 15, "gems": 1}


@pytest.mark.parametrize(
    ("changes", "metadata"), [({"coins": 11}, {"day": 1}), ({"coins": 10}, {"day": 2}), ({"coins": 10}, None)]
)
async def test_a_key_used_for_other_content_is_a_conflict(
    wallets: WalletService, ann: str, changes: dict[str, int], metadata: dict[str, Any] | None
) -> None:
    await wallets.change(ann, {"coins": 10}, key="daily:1", metadata={"day": 1})
    with pytest.raises(ChangeConflict, match="different content") as caught:
        await wallets.change(ann, changes, key="daily:1", metadata=metadata)
    assert caught.value.code == Code.ALREADY_EXISTS
    assert await wallets.get(ann) == {"coins": 10}


async def test_a_refused_change_does_not_use_its_key_up(wallets: WalletService, ann: str) -> None:
    with pytest.raises(InsufficientFunds):
        await wallets.change(ann, {"coins": -1}, key="buy")
    await wallets.change(ann, {"coins": 1})
    assert (await wallets.change(ann, {"coins": -1}, key="buy")).updated == {"coins": 0}


async def test_keys_of_different_players_are_different(wallets: WalletService, ann: str, bob: str) -> None:
    await wallets.change(ann, {"coins": 1}, key="daily")
    await wallets.change(bob, {"coins": 2}, key="daily")
    nobody = new_id()
    assert await wallets.of_many([ann, nobody, bob]) == {ann: {"coins": 1}, bob: {"coins": 2}, nobody: {}}


async def test_history_tells_every_change_once_newest_first(wallets: WalletService, ann: str, bob: str) -> None:
    for n in range(1, 8):
        await wallets.change(ann, {"coins": n}, metadata={"n": n})
    await wallets.change(bob, {"coins": 100})
    found, cursor = [], ""
    while True:
        page = await wallets.history(ann, 3, cursor)
        found += page.entries
        cursor = page.cursor
        if not cursor:
            break
        await wallets.change(ann, {"late": 1})
    assert [entry.changeset for entry in found] == [{"coins": n} for n in range(7, 0, -1)]
    assert [entry.metadata for entry in found] == [{"n": n} for n in range(7, 0, -1)]
    assert {entry.user_id for entry in found} == {ann}


async def test_a_history_cursor_serves_only_its_player(wallets: WalletService, ann: str, bob: str) -> None:
    for _ in range(2):
        await wallets.change(ann, {"coins": 1})
    cursor = (await wallets.history(ann, 1)).cursor
    for player, bad in ((bob, cursor), (ann, "garbage"), (ann, "é"), (ann, "A" * 1_000), (ann, cursor[:-8])):
        with pytest.raises(BadCursor):
            await wallets.history(player, 1, bad)
    for limit in (0, 101):
        with pytest.raises(BadChange):
            await wallets.history(ann, limit)


async def test_the_acknowledged_changes_of_two_nodes_add_up_and_nothing_is_ever_negative(
    wallets: WalletService, second_node: WalletService, new_player: NewPlayer
) -> None:
    nodes = [wallets, second_node]
    players = [await new_player() for _ in range(5)]
    acknowledged: Counter[tuple[str, str]] = Counter()
    refused = 0

    async def act(seed: int) -> None:
        nonlocal refused
        choose = random.Random(seed)
        for _ in range(5):
            player = choose.choice(players)
            changes = {asset: choose.randint(-6, 8) for asset in choose.sample(["coins", "gems", "keys"], 2)}
            try:
                change = await choose.choice(nodes).change(player, changes)
            except InsufficientFunds:
                refused += 1
                continue
            assert min(change.updated.values()) >= 0
            for asset, amount in changes.items():
                assert change.updated[asset] - change.previous.get(asset, 0) == amount
                acknowledged[player, asset] += amount

    await asyncio.gather(*(act(seed) for seed in range(60)))
    assert refused
    for player in players:
        balances = await wallets.get(player)
        assert balances == {asset: acknowledged[player, asset] for asset in balances}
        entries = (await wallets.history(player, 100)).entries
        sums: Counter[str] = Counter()
        for entry in entries:
            sums.update(entry.changeset)
        assert dict(sums) == balances


async def test_of_many_repeats_at_once_exactly_one_changes_the_wallet(
    wallets: WalletService, second_node: WalletService, ann: str
) -> None:
    nodes = [wallets, second_node]
    answers = await asyncio.gather(*(nodes[n % 2].change(ann, {"coins": 5}, key="once") for n in range(40)))
    assert answers == [WalletChange({"coins": 0}, {"coins": 5})] * 40
    assert await wallets.get(ann) == {"coins": 5}
    assert len((await wallets.history(ann)).entries) == 1


async def test_a_failure_while_writing_leaves_no_trace(wallets: WalletService, ann: str) -> None:
    with pytest.raises(PalestraError):
        await wallets.change(ann, {"coins": 1}, key="odd", metadata={"half": "\ud83d"})
    assert await wallets.get(ann) == {}
    assert (await wallets.history(ann)).entries == ()
    assert (await wallets.change(ann, {"coins": 1}, key="odd")).updated == {"coins": 1}
