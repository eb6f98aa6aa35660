"""Hooks for the ends of periods and windows: what a game hears of, also after the node was down."""

from __future__ import annotations

import asyncio
from pathlib import Path

from palestra import Context, Game, LeaderboardReset, TournamentEnd, TournamentReset
from palestra.core.clock import ManualClock
from palestra.core.config import DatabaseSettings, Settings
from palestra.core.errors import Unavailable
from palestra.testing import Platform

HOUR, DAY = 3_600, 86_400


def cups() -> Game:
    """A game with boards that end."""
    game = Game("cups")

    @game.on_start
    async def start(ctx: Context) -> None:
        await ctx.leaderboards.create("board", reset="@daily")
        await ctx.tournaments.create("cup", duration_seconds=DAY, reset="@daily")

    return game


async def test_a_game_hears_of_what_ended_while_its_node_was_down(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database=DatabaseSettings(key_ring_file=str(tmp_path / "keyring.json")))
    clock, told = ManualClock(), asyncio.Queue[tuple[str, str, int]]()
    async with Platform.start(cups(), database_url=database_url, clock=clock, settings=settings):
        pass
    clock.advance(DAY - clock.now() % DAY)
    midnight = int(clock.now())
    game = cups()

    @game.on_tournament_end
    async def ended(ctx: Context, end: TournamentEnd) -> None:
        assert ctx.caller is None
        await told.put(("end", end.tournament.id, end.end_time))

    @game.on_tournament_reset
    async def begun(ctx: Context, reset: TournamentReset) -> None:
        await told.put(("reset", reset.tournament.id, reset.reset_time))

    @game.on_leaderboard_reset
    async def emptied(ctx: Context, reset: LeaderboardReset) -> None:
        await told.put(("reset", reset.leaderboard.id, reset.reset_time))

    async with Platform.start(game, database_url=database_url, clock=clock, settings=settings) as platform:
        async with asyncio.timeout(10):
            heard = [await told.get() for _ in range(3)]
        assert heard == [("reset", "board", midnight), ("end", "cup", midnight), ("reset", "cup", midnight)]
        await platform.tell_ends()
        assert told.empty()


async def test_a_hook_runs_again_where_the_platform_failed_it_and_not_where_it_is_wrong(database_url: str) -> None:
    game, clock, times = cups(), ManualClock(), list[str]()

    @game.on_leaderboard_reset
    async def fails(ctx: Context, reset: LeaderboardReset) -> None:
        times.append("failed")
        if times.count("failed") < 3:
            raise Unavailable

    @game.on_tournament_end
    async def wrong(ctx: Context, end: TournamentEnd) -> None:
        times.append("wrong")
        raise KeyError("a mistake")

    async with Platform.start(game, database_url=database_url, clock=clock) as platform:
        clock.advance(DAY)
        for _ in range(2):
            try:
                await platform.tell_ends()
            except Unavailable:
                continue
        await platform.tell_ends()
        await platform.tell_ends()
        assert times == ["failed", "failed", "failed", "wrong"]
        assert platform.node.parts is not None and platform.node.parts.runtime.failures == 1
