"""Dice's server side: stake coins, name a number, roll below it. Whoever rolled can check every roll afterwards."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from palestra import Context, Game, GameError, Round, RoundOver, Settlement

WELCOME_COINS = 10_000
SIDES = 100
# What a stake of 100 coins pays if the roll, 0 to 99, is below N: the fair 10,000 / N less one percent, rounded down.
# Stakes are whole hundreds, so nothing is ever rounded again.
PAYS = {under: 9_900 // under for under in range(2, 96)}
ROLLED, REVEALED = 1, 2  # what a notification is about

game = Game("dice")
game.static("/dice", "static")


class Bet(msgspec.Struct):
    """What the page sends. A bet that does not fit this shape is refused before our code runs."""

    stake: Literal[100, 200, 500, 1_000]
    under: Annotated[int, msgspec.Meta(ge=2, le=95)]
    key: Annotated[str, msgspec.Meta(min_length=8, max_length=64)]  # made by the page: sent again, it is the same bet


class Table(msgspec.Struct):
    """What the page shows before the first roll."""

    coins: int
    pays: dict[int, int]


class Rolled(msgspec.Struct):
    """One roll. With `fair` and the server seed, once that is revealed, it can be worked out again."""

    id: str
    stake: int
    under: int
    roll: int
    payout: int
    fair: dict[str, Any]
    coins: int


@game.rpc
async def welcome(ctx: Context) -> Table:
    """A present for newcomers, once: its key never expires."""
    await ctx.wallet.change(ctx.player, {"coins": WELCOME_COINS}, key="welcome")
    return Table(await coins_of(ctx), PAYS)


@game.rpc
async def roll(ctx: Context, bet: Bet) -> Rolled:
    """Hold the stake, draw, pay. The same bet sent again is neither staked nor drawn nor paid again."""
    me = ctx.player.id
    key, inputs = f"{me}:{bet.key}", {"under": bet.under}
    round = await ctx.rounds.open(
        game="dice", stakes={me: bet.stake}, inputs=inputs, key=key, deadline_seconds=60, policy="settle"
    )
    if round.ending is None:
        try:
            round = await ctx.rounds.settle(round, **msgspec.structs.asdict(await decide(ctx, round)))
        except RoundOver as over:  # it was cancelled in the same moment
            round = over.round
    end = round.ending
    if end is None or end.how == "cancelled":
        raise GameError("this bet could not be played; your stake is back", code="aborted")
    payout = end.payouts.get(me, 0)
    rolled = Rolled(round.id, bet.stake, bet.under, end.result["roll"], payout, end.fair, await coins_of(ctx))
    # All windows of the player show it, not only the one that asked.
    await ctx.notifications.send(me, "rolled", msgspec.structs.asdict(rolled), ROLLED, persistent=False)
    return rolled


@game.settle_round
async def decide(ctx: Context, round: Round) -> Settlement:
    """How a round ends. The platform asks, too: when its minute is over and, after a crash, nobody has ended it."""
    (stake,) = round.stakes
    draw = await ctx.fair.draw(stake.player_id, key=round.id)  # however often this is asked, the same roll
    rolled = draw.below(SIDES)
    payouts = {stake.player_id: payout_of(stake.amount, round.inputs["under"], rolled)}
    seeds = {"commitment": draw.commitment, "client_seed": draw.client_seed, "nonce": draw.nonce}
    return Settlement(payouts, {"roll": rolled}, {"algorithm": draw.algorithm, **seeds})


def payout_of(stake: int, under: int, rolled: int) -> int:
    """What the house pays for a roll; the stake itself has gone to the house."""
    return stake // 100 * PAYS[under] if rolled < under else 0


@game.after("fair.rotate")
async def tell_the_seed(ctx: Context, response: Any, request: Any) -> None:
    """A player has revealed the server seed: all windows can verify now."""
    seed = {"commitment": response.revealed.commitment, "server_seed": response.revealed.server_seed}
    await ctx.notifications.send(ctx.player.id, "revealed", seed, REVEALED, persistent=False)


async def coins_of(ctx: Context) -> int:
    """What the player can stake."""
    return (await ctx.wallet.get(ctx.player)).get("coins", 0)
