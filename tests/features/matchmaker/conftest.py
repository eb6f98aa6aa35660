"""A running platform whose time the tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from palestra import Context, Game
from palestra.core.clock import ManualClock
from palestra.matchmaking import Formed
from palestra.testing import Bot, Platform


def game_of() -> Game:
    """A game that sends those who ask for it to a match of its own, and lets a field and a number relax."""
    game = Game("queue")
    game.relax(drop="properties.region", after_seconds=10)
    game.near("skill", start=50, step=50, every_seconds=5, most=200)

    @game.matched
    async def matched(ctx: Context, match: Formed) -> str | None:
        wish = {entry.properties.get("meet") for entry in match.entries}
        if wish == {"fails"}:
            raise RuntimeError("no place")
        return "11111111-1111-4111-8111-111111111111.palestra" if wish == {"here"} else None

    @game.rpc
    async def why(ctx: Context, ticket: str) -> dict[str, int]:
        return dict((await ctx.matchmaker.explain(ticket)).counts)

    @game.rpc
    async def fill(ctx: Context, count: int) -> str:
        return await ctx.matchmaker.backfill(
            "22222222-2222-4222-8222-222222222222.palestra", count, players=2, query="+properties.join:running"
        )

    @game.rpc
    async def end(ctx: Context, backfill: str) -> int:
        return await ctx.matchmaker.end_backfill(backfill)

    @game.rpc
    async def withdraw(ctx: Context, ticket: str) -> int:
        await ctx.matchmaker.remove(ticket)
        return len(await ctx.matchmaker.tickets())

    return game


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def platform(database_url: str, clock: ManualClock) -> AsyncIterator[Platform]:
    async with Platform.start(game_of(), database_url=database_url, clock=clock) as platform:
        yield platform


async def connected(platform: Platform, count: int) -> list[Bot]:
    """Players with a socket."""
    bots = [await platform.bot() for _ in range(count)]
    for bot in bots:
        await bot.connect()
    return bots
