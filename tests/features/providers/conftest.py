"""A node with four providers that the tests of a file share, on the event loop it runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec
import pytest
import pytest_asyncio
import uvloop

from palestra import Context, Game
from palestra.features.ledger.contract import Asset
from palestra.testing import Bot, Platform
from tests.features.providers.provider import ASSET, SETTINGS, Provider

NewPlayer = Callable[[int], Awaitable[Bot]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


class Play(msgspec.Struct):
    """What to launch."""

    provider: str = "acme"
    asset: str = ASSET


class Launched(msgspec.Struct):
    """What a client opens the provider's page with."""

    token: str


class Gift(msgspec.Struct):
    """Money from nothing."""

    amount: int


def made_game() -> Game:
    game = Game("lobby")

    @game.on_start
    async def start(ctx: Context) -> None:
        for code in (ASSET, "gems"):
            await ctx.ledger.declare(Asset(code))

    @game.rpc
    async def gift(ctx: Context, gift: Gift) -> None:
        await ctx.wallet.change(ctx.player, {ASSET: gift.amount, "gems": gift.amount})

    @game.rpc
    async def play(ctx: Context, play: Play) -> Launched:
        return Launched(ctx.providers.launch(ctx.player, play.provider, play.asset))

    @game.rpc
    async def play_by_id(ctx: Context, play: Play) -> Launched:
        return Launched(ctx.providers.launch(ctx.player.id, play.provider, play.asset))

    return game


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(module_database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(made_game(), settings=SETTINGS, database_url=module_database_url) as platform:
        yield platform


@pytest.fixture
def acme(platform: Platform) -> Provider:
    return Provider(platform)


@pytest.fixture
def player(platform: Platform) -> NewPlayer:
    async def make(amount: int) -> Bot:
        bot = await platform.bot()
        if amount:
            await bot.rpc("gift", {"amount": amount})
        return bot

    return make
