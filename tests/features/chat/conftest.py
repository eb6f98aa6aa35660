"""The feature on a test database; nodes are tested on the event loop they run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from palestra.database.pool import Database
from tests.features.chat.world import World


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path)
    yield world
    await world.stop()
