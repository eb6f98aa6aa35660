"""A node for the walks over the socket, on the loop it runs on in production."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from palestra import Context, Game, Match, MatchMessage, Stream
from palestra.testing import Platform


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


def made_game() -> Game:
    game = Game("walked")
    square = Stream(100, label="square")

    @game.on_start
    async def start(ctx: Context) -> None:
        await ctx.leaderboards.create("weekly")
        await ctx.tournaments.create("cup", duration_seconds=3_600, title="Cup", join_required=True)

    @game.rpc
    async def echo(ctx: Context, payload: str) -> str:
        return payload

    @game.rpc
    async def listen(ctx: Context, payload: str) -> None:
        assert ctx.session_id
        await ctx.streams.join(ctx.session_id, square)

    @game.rpc
    async def shout(ctx: Context, payload: str) -> None:
        await ctx.streams.send(square, payload)

    @game.match("tower")
    class Tower(Match[dict[str, int]]):
        def init(self) -> dict[str, int]:
            self.label = {"mode": "walk"}
            return {}

        def tick(self, messages: list[MatchMessage]) -> None:
            for message in messages:
                self.broadcast(message.op_code, message.data, sender=message.sender)
                self.broadcast(0, message.data, to=[message.sender])

    @game.rpc
    async def tower(ctx: Context, payload: str) -> str:
        return await ctx.matches.create("tower")

    return game


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(made_game(), database_url=database_url) as running:
        yield running
