"""The game under measurement: an echo, a coin for the caller's wallet, one leaderboard, and a small match."""

from __future__ import annotations

import msgspec

from palestra import Context, Game, Match, MatchMessage, MatchPlayer

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


class Places(msgspec.Struct):
    """Where players are, as they last said."""

    by_player: dict[str, bytes] = {}


@game.match("bench", ticks_per_second=20)
class Small(Match[Places]):
    """Every tick it takes in what players sent and tells all of them where everybody is."""

    def init(self) -> Places:
        """Nobody is anywhere."""
        return Places()

    def leave(self, players: list[MatchPlayer]) -> None:
        """The last one out ends it: it is not to be in the way of the next round."""
        if not self.player_count:
            self.end()

    def tick(self, messages: list[MatchMessage]) -> None:
        """Gather and tell."""
        places = self.state.by_player
        for message in messages:
            places[message.sender.session_id] = message.data
        self.broadcast(1, b"".join(places.values()), reliable=False)


@game.rpc
async def begin(ctx: Context) -> str:
    """A match of the above; its id."""
    return await ctx.matches.create("bench")
