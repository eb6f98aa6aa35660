"""Fixtures of the gateway's tests: one running node for each file, on the event loop it runs on in production."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop

from palestra import Game
from palestra.core.config import Settings
from palestra.testing import Platform
from tests.gateway.http.game import made_game
from tests.gateway.http.wire import Wire


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nobody_stays() -> AsyncIterator[None]:
    """Connections that a failed test has left open are closed."""
    yield
    for wire in list(Wire.opened):
        await wire.hang_up()


@pytest.fixture(scope="module")
def game() -> Game:
    """What the shared node plays."""
    return made_game()


@pytest.fixture(scope="module")
def node_settings() -> Settings:
    """How the shared node is set; a file with other wishes has a fixture of this name."""
    return Settings()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(module_database_url: str, game: Game, node_settings: Settings) -> AsyncIterator[Platform]:
    """A running node that the tests of one file share."""
    async with Platform.start(game, settings=node_settings, database_url=module_database_url) as platform:
        yield platform
