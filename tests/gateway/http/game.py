"""A small game for the tests of the gateway: functions that echo, refuse, break, wait and answer at length."""

from __future__ import annotations

import asyncio
from typing import Any

from palestra import Game, GameError

LARGE_BYTES = 4_000_000


class Gate:
    """Holds calls of `wait` until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()


def made_game(gate: Gate | None = None) -> Game:
    """The game; calls of its function `wait` stop at `gate`."""
    game = Game("gateway")

    @game.on_start
    async def start(ctx: Any) -> None:
        await ctx.leaderboards.create("board", sort="descending", operator="best")

    @game.rpc
    async def echo(ctx: Any, payload: str) -> str:
        return payload

    @game.rpc
    async def large(ctx: Any, payload: str) -> str:
        return "x" * LARGE_BYTES

    @game.rpc
    async def refuse(ctx: Any, payload: str) -> str:
        raise GameError(payload, code="unauthenticated")

    @game.rpc
    async def wait(ctx: Any, payload: str) -> str:
        assert gate is not None
        gate.entered.set()
        await gate.open.wait()
        return payload

    return game
