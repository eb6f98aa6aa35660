"""A small dice game on a running node: rounds from its functions, and what players see of them over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palestra import Context, Game, Round, Settlement
from palestra.core.clock import ManualClock
from palestra.requests import RoundsGet, RoundsList
from palestra.testing import Bot, BotError, Platform

VERSION = sha256(Path(__file__).read_bytes()).hexdigest()


class Bet(msgspec.Struct):
    stake: int
    above: int
    rolled: int
    key: str | None = None


class Ended(msgspec.Struct):
    id: str
    payout: int


def payout_of(stake: int, inputs: dict[str, Any], rolled: int) -> int:
    return stake * 2 if rolled > inputs["above"] else 0


def dice() -> Game:
    game = Game("dice")

    @game.rpc
    async def give(ctx: Context) -> None:
        await ctx.wallet.change(ctx.player, {"coins": 100})

    async def begin(ctx: Context, bet: Bet, **options: Any) -> Round:
        return await ctx.rounds.open(
            game="dice", stakes={ctx.player.id: bet.stake}, inputs={"above": bet.above}, key=bet.key, **options
        )

    @game.rpc
    async def roll(ctx: Context, bet: Bet) -> Ended:
        round = await begin(ctx, bet)
        payout = payout_of(bet.stake, round.inputs, bet.rolled)
        await ctx.rounds.settle(
            round, payouts={ctx.player.id: payout}, result={"rolled": bet.rolled}, fair={"nonce": 3}
        )
        return Ended(round.id, payout)

    @game.rpc
    async def leave_open(ctx: Context, bet: Bet) -> Ended:
        return Ended((await begin(ctx, bet, policy="settle", deadline_seconds=60)).id, 0)

    @game.settle_round
    async def decide(ctx: Context, round: Round) -> Settlement:
        if round.inputs["above"] == 99:
            raise ZeroDivisionError
        (stake,) = round.stakes
        return Settlement({stake.player_id: payout_of(stake.amount, round.inputs, 6)}, {"rolled": 6})

    @game.before("rounds.list")
    async def short_pages(ctx: Context, request: RoundsList) -> RoundsList:
        return msgspec.structs.replace(request, limit=min(request.limit or 2, 2))

    @game.before("rounds.get")
    async def note(ctx: Context, request: RoundsGet) -> RoundsGet:
        return request

    return game


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def platform(database_url: str, clock: ManualClock) -> AsyncIterator[Platform]:
    async with Platform.start(dice(), database_url=database_url, clock=clock) as platform:
        yield platform


async def rich(platform: Platform) -> Bot:
    bot = await platform.bot()
    await bot.rpc("give")
    return bot


async def wallet(bot: Bot) -> str:
    return (await bot.call("GET", "/v2/account"))["wallet"]


async def test_a_settled_round_shows_all_that_is_needed_to_check_it(platform: Platform) -> None:
    ada = await rich(platform)
    ended = await ada.rpc("roll", {"stake": 10, "above": 3, "rolled": 5})
    assert ended["payout"] == 20 and await wallet(ada) == '{"coins": 110}'
    round = await ada.call("GET", f"/v2/palestra/rounds/{ended['id']}")
    me = (await ada.call("GET", "/v2/account"))["user"]["id"]
    postings = round.pop("postings")
    assert round.pop("open_time") == round.pop("end_time") == "2025-06-15T15:06:40Z"
    assert round == {
        "id": ended["id"],
        "game": "dice",
        "version": VERSION,
        "asset": "coins",
        "inputs": '{"above":3}',
        "stakes": [{"player_id": me, "amount": "10"}],
        "policy": "cancel",
        "deadline": "2025-06-15T15:11:40Z",
        "outcome": "settled",
        "end_version": VERSION,
        "payouts": [{"player_id": me, "amount": "20"}],
        "result": '{"rolled":5}',
        "fair": '{"nonce":3}',
    }
    assert [(one["step"], one["kind"], one["amount"]) for one in postings] == [
        ("hold", "round.stake", "10"),
        ("post", "round.settle", "10"),
        ("transfer", "round.payout", "20"),
    ]
    assert postings[1]["hold_id"] == postings[0]["id"] and postings[1]["entry_id"] == postings[2]["entry_id"]


async def test_the_same_bet_again_is_the_same_round(platform: Platform) -> None:
    ada = await rich(platform)
    bet = {"stake": 10, "above": 3, "rolled": 5, "key": "bet 1"}
    assert await ada.rpc("roll", bet) == await ada.rpc("roll", bet)
    assert await wallet(ada) == '{"coins": 110}'
    with pytest.raises(BotError, match="settled at"):
        await ada.rpc("roll", {**bet, "rolled": 2})
    with pytest.raises(BotError, match="another round"):
        await ada.rpc("roll", {**bet, "stake": 11})


async def test_players_see_their_own_rounds_only(platform: Platform, clock: ManualClock) -> None:
    ada, bob = await rich(platform), await rich(platform)
    made = []
    for _ in range(3):
        made.append((await ada.rpc("roll", {"stake": 1, "above": 6, "rolled": 5}))["id"])
        clock.advance(1)
    first = await ada.call("GET", "/v2/palestra/rounds")
    assert [one["id"] for one in first["rounds"]] == made[:0:-1] and "postings" not in first["rounds"][0]
    rest = await ada.call("GET", "/v2/palestra/rounds", query={"cursor": first["cursor"], "limit": 1})
    assert [one["id"] for one in rest["rounds"]] == made[:1] and "cursor" not in rest
    assert await bob.call("GET", "/v2/palestra/rounds") == {}
    assert await bob.call("GET", "/v2/palestra/rounds", query={"cursor": first["cursor"]}) == {}
    for round_id in (made[0], "nonsense", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(BotError, match="no such round") as refused:
            await bob.call("GET", f"/v2/palestra/rounds/{round_id}")
        assert refused.value.status == 404


@pytest.mark.parametrize("query", [{"limit": -1}, {"cursor": "nonsense"}])
async def test_malformed_pages_are_refused(platform: Platform, query: dict[str, Any]) -> None:
    ada = await platform.bot()
    with pytest.raises(BotError) as refused:
        await ada.call("GET", "/v2/palestra/rounds", query=query)
    assert refused.value.status == 400


async def test_a_stake_beyond_the_wallet_is_refused(platform: Platform) -> None:
    ada = await rich(platform)
    with pytest.raises(BotError) as refused:
        await ada.rpc("roll", {"stake": 101, "above": 3, "rolled": 5})
    assert refused.value.status == 400 and await wallet(ada) == '{"coins": 100}'


async def test_open_rounds_are_settled_by_the_game_or_cancelled_when_it_fails(
    platform: Platform, clock: ManualClock
) -> None:
    ada = await rich(platform)
    good = (await ada.rpc("leave_open", {"stake": 10, "above": 3, "rolled": 0}))["id"]
    bad = (await ada.rpc("leave_open", {"stake": 10, "above": 99, "rolled": 0}))["id"]
    shown = await ada.call("GET", f"/v2/palestra/rounds/{good}")
    assert "outcome" not in shown and len(shown["postings"]) == 1
    clock.advance(60)
    parts = platform.node.parts
    assert parts is not None
    assert await parts.services.money.rounds.resolve_overdue() == 2
    shown = {one["id"]: one for one in (await ada.call("GET", "/v2/palestra/rounds"))["rounds"]}
    assert (shown[good]["outcome"], shown[good]["result"]) == ("settled", '{"rolled":6}')
    assert shown[bad]["outcome"] == "cancelled" and "game's code failed" in shown[bad]["reason"]
    assert await wallet(ada) == '{"coins": 110}'


async def test_a_deleted_players_rounds_are_nobodys(platform: Platform) -> None:
    ada = await rich(platform)
    ended = await ada.rpc("roll", {"stake": 10, "above": 3, "rolled": 5})
    await ada.call("DELETE", "/v2/account")
    parts = platform.node.parts
    assert parts is not None
    assert (await parts.services.money.rounds.record(ended["id"])).round.ending is not None
