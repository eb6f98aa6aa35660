"""The game under measurement: an echo, a coin for the caller's wallet, and one leaderboard."""

from __future__ import annotations

from palestra import Context, Game

game = Game("bench")


@game.on_start
async def start(ctx: Context) -> None:
    """The board that the leaderboard workloads write to and read from."""
    await ctx.leaderboards.create("bench", sort="descending", operator="best")


@game.rpc
async def echo(ctx: Context, request: str) -> str:
    """The payload as it came: what a call into game code costs by itself."""
    return request


@game.rpc
async def wallet(ctx: Context) -> str:
    """One coin for the caller, with its entry in the ledger."""
    await ctx.wallet.change(ctx.player, {"coins": 1})
    return ""


@game.rpc
async def rich(ctx: Context) -> str:
    """Enough coins for the rounds of a third party, once."""
    await ctx.wallet.change(ctx.player, {"coins": 1_000_000}, key="rich")
    return ""
