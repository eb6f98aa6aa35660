"""A hall of parties: a socket gateway on a real port, and players who hear everything in its order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.features.parties.hall import Hall


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    async with Hall() as hall:
        yield hall
