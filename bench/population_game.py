"""The game of the bench at size: boards of a million and of a thousand owners, tournaments, functions that write."""

from __future__ import annotations

import msgspec

from palestra import Context, Game

game = Game("population")
TOURNAMENTS = 100
DAY_SECONDS = 86_400


class Word(msgspec.Struct):
    """Something to be said in a channel."""

    channel: str


@game.on_start
async def start(ctx: Context) -> None:
    """What the population is ranked in."""
    for board in ("million", "thousand"):
        await ctx.leaderboards.create(board, operator="set")
    await ctx.tournaments.create("cup", duration_seconds=365 * DAY_SECONDS, title="Cup", operator="set")
    for number in range(TOURNAMENTS):
        await ctx.tournaments.create(
            f"league-{number}", duration_seconds=365 * DAY_SECONDS, title=f"League {number}", join_required=True
        )


@game.rpc
async def say(ctx: Context, request: Word) -> None:
    """A message into the history of a channel."""
    player = ctx.player
    await ctx.chat.send(request.channel, {"text": "the quick brown fox"}, player.id, player.username)


@game.rpc
async def notify(ctx: Context) -> None:
    """A notification into the caller's own inbox."""
    await ctx.notifications.send(ctx.player.id, "A gift", {"coins": 10}, 1)
