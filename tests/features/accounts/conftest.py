"""Nodes are tested on the event loop they run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from palestra.testing import Platform


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    """A node without a game."""
    async with Platform.start(database_url=database_url) as platform:
        yield platform
