"""The dice example without a browser: its odds, its money, its seeds."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from examples.dice.game import PAYS, SIDES, WELCOME_COINS, Bet, decide, game, payout_of
from palestra import Context, Game
from palestra.core.clock import ManualClock
from palestra.ledger import Owner, OwnerKind
from palestra.testing import Bot, BotError, Platform

books = Game("books")
"""What an auditor looks at, and how a crash is played: beside the example, not in it."""


@books.rpc
async def house(ctx: Context) -> int:
    account = await ctx.ledger.open(Owner(OwnerKind.SYSTEM, "house", "coins"), may_go_negative=True, hot=True)
    return (await ctx.ledger.balance(account.id)).total


@books.rpc
async def open_and_vanish(ctx: Context, bet: Bet) -> str:
    me = ctx.player.id
    round = await ctx.rounds.open(
        game="dice",
        stakes={me: bet.stake},
        inputs={"under": bet.under},
        key=f"{me}:{bet.key}",
        deadline_seconds=60,
        policy="settle",
    )
    return round.id


@books.rpc
async def draw_and_vanish(ctx: Context, round_id: str) -> int:
    """What a node does that dies between the draw and the payout."""
    return (await decide(ctx, await ctx.rounds.get(round_id))).result["roll"]


@books.rpc
async def sweep(ctx: Context) -> int:
    return await ctx.rounds.resolve_overdue()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def platform(database_url: str, clock: ManualClock) -> AsyncIterator[Platform]:
    async with Platform.start(game, books, database_url=database_url, clock=clock) as platform:
        yield platform


async def newcomer(platform: Platform) -> Bot:
    bot = await platform.bot()
    await bot.rpc("welcome")
    return bot


async def coins(bot: Bot) -> int:
    return json.loads((await bot.call("GET", "/v2/account"))["wallet"])["coins"]


def bet(key: int = 0, stake: int = 100, under: int = 50) -> dict[str, Any]:
    return {"stake": stake, "under": under, "key": f"bet-number-{key}"}


def roll_of(server_seed: str, fair: dict[str, Any]) -> int:
    """The roll, by the words of docs/guide/fair.md: the first 64 bits of the first block."""
    message = f"{fair['client_seed']}:{fair['nonce']}:0".encode()
    return int.from_bytes(hmac.digest(bytes.fromhex(server_seed), message, "sha256")[:8], "big") % SIDES


def test_of_every_bet_the_house_keeps_one_to_two_percent() -> None:
    assert list(PAYS) == list(range(2, 96))
    for stake in (100, 200, 500, 1_000):
        for under, pays in PAYS.items():
            payouts = [payout_of(stake, under, rolled) for rolled in range(SIDES)]
            assert payouts == [stake * pays // 100] * under + [0] * (SIDES - under)
            assert stake * pays % 100 == 0, "a payout is never rounded"
            assert payouts[0] > stake, "who wins has more than before"
            assert 98 * stake < sum(payouts) <= 99 * stake


async def test_two_hundred_rolls_add_up_and_can_all_be_worked_out_again(platform: Platform) -> None:
    ada, bob = await newcomer(platform), await newcomer(platform)
    promised = (await ada.call("GET", "/v2/palestra/fair"))["commitment"]
    had, rolls = WELCOME_COINS, []
    for i in range(200):
        under = 2 + i * 7 % 94
        rolled = await ada.rpc("roll", bet(i, under=under))
        assert rolled["payout"] == payout_of(100, under, rolled["roll"])
        assert rolled["coins"] == had - 100 + rolled["payout"]
        had = rolled["coins"]
        rolls.append(rolled)
    await bob.rpc("roll", bet(stake=1_000, under=95))
    assert await coins(ada) == had
    assert await coins(bob) + had + await ada.rpc("house") == 2 * WELCOME_COINS

    seed = (await ada.call("POST", "/v2/palestra/fair/rotate", {}))["revealed"]["server_seed"]
    assert hashlib.sha256(bytes.fromhex(seed)).hexdigest() == promised
    for nonce, rolled in enumerate(rolls):
        assert (rolled["fair"]["commitment"], rolled["fair"]["nonce"]) == (promised, nonce)
        assert rolled["roll"] == roll_of(seed, rolled["fair"])


async def test_a_bet_that_is_sent_again_is_played_once(platform: Platform) -> None:
    ada = await newcomer(platform)
    first = await ada.rpc("roll", bet())
    assert await ada.rpc("roll", bet()) == first
    at_once = await asyncio.gather(*(ada.rpc("roll", bet(1)) for _ in range(5)))
    assert {rolled["id"] for rolled in at_once} == {at_once[0]["id"]} != {first["id"]}
    assert {rolled["roll"] for rolled in at_once} == {at_once[0]["roll"]}
    assert await coins(ada) == WELCOME_COINS - 200 + first["payout"] + at_once[0]["payout"]
    with pytest.raises(BotError, match="key"):
        await ada.rpc("roll", bet(1, stake=200))


async def test_a_bet_that_a_crash_cut_off_is_played_when_its_minute_is_over(
    platform: Platform, clock: ManualClock
) -> None:
    ada = await newcomer(platform)
    round_id = await ada.rpc_text("open_and_vanish", json.dumps(bet()))
    assert await coins(ada) == WELCOME_COINS - 100
    clock.advance(61)
    assert await ada.rpc("sweep") == 1
    ended = await ada.call("GET", f"/v2/palestra/rounds/{round_id}")
    rolled = json.loads(ended["result"])["roll"]
    assert ended["outcome"] == "settled"
    assert await coins(ada) == WELCOME_COINS - 100 + payout_of(100, 50, rolled)
    # Whoever still asks for it is told the same.
    assert (await ada.rpc("roll", bet()))["roll"] == rolled


@pytest.mark.parametrize("by", ["the deadline", "the same bet"])
async def test_a_roll_that_was_drawn_before_a_crash_is_the_roll_that_counts(
    platform: Platform, clock: ManualClock, by: str
) -> None:
    ada = await newcomer(platform)
    pair = await ada.call("GET", "/v2/palestra/fair")
    round_id = await ada.rpc_text("open_and_vanish", json.dumps(bet()))
    drawn = int(await ada.rpc_text("draw_and_vanish", round_id))
    assert int(await ada.rpc_text("draw_and_vanish", round_id)) == drawn
    # Not even a revealed seed brings another one.
    await ada.call("POST", "/v2/palestra/fair/rotate", {})
    if by == "the deadline":
        clock.advance(61)
        assert await ada.rpc("sweep") == 1
    assert (await ada.rpc("roll", bet()))["roll"] == drawn
    ended = await ada.call("GET", f"/v2/palestra/rounds/{round_id}")
    fair = json.loads(ended["fair"])
    assert (json.loads(ended["result"])["roll"], fair["commitment"], fair["nonce"]) == (drawn, pair["commitment"], 0)
    # Nonces have no gaps: a missing one would be a roll that the house kept to itself.
    assert [(await ada.rpc("roll", bet(n)))["fair"]["nonce"] for n in (1, 2)] == [0, 1]


async def test_a_bet_that_a_crash_cut_off_is_played_at_once_if_it_is_sent_again(platform: Platform) -> None:
    ada = await newcomer(platform)
    round_id = await ada.rpc_text("open_and_vanish", json.dumps(bet()))
    rolled = await ada.rpc("roll", bet())
    assert (rolled["id"], rolled["coins"]) == (round_id, WELCOME_COINS - 100 + rolled["payout"])


async def test_all_windows_of_a_player_hear_of_rolls_and_of_revealed_seeds(platform: Platform) -> None:
    ada = await newcomer(platform)
    other = Bot(platform.http, platform.url, "defaultkey", ada.device_id)
    await other.log_in()
    await ada.connect()
    await other.connect()
    rolled = await ada.rpc("roll", bet())
    revealed = (await ada.call("POST", "/v2/palestra/fair/rotate", {}))["revealed"]
    for window in (ada, other):
        (told,) = (await window.push("notifications"))["notifications"]
        assert json.loads(told["content"]) == rolled
        (told,) = (await window.push("notifications"))["notifications"]
        assert json.loads(told["content"])["server_seed"] == revealed["server_seed"]
    await other.leave()


@pytest.mark.parametrize("odd", [{"stake": 150}, {"stake": -100}, {"under": 1}, {"under": 96}, {"key": ""}])
async def test_a_bet_of_another_shape_is_refused(platform: Platform, odd: dict[str, Any]) -> None:
    ada = await newcomer(platform)
    with pytest.raises(BotError) as refused:
        await ada.rpc("roll", {**bet(), **odd})
    assert refused.value.status == 400
    assert await coins(ada) == WELCOME_COINS


async def test_newcomers_get_their_coins_once_and_stake_no_more_than_they_have(platform: Platform) -> None:
    ada = await newcomer(platform)
    assert (await ada.rpc("welcome"))["coins"] == WELCOME_COINS
    await ada.rpc("roll", bet(under=2))
    assert (await ada.rpc("welcome"))["coins"] == await coins(ada)
    poor = await platform.bot()
    with pytest.raises(BotError, match="available"):
        await poor.rpc("roll", bet())
