"""A provider on this machine, and nodes that believe it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from palestra.core.config import Settings
from palestra.testing import Platform
from tests.features.identity.fakes import FakeProvider


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """Every provider there is, in one."""
    async with FakeProvider().serving() as provider:
        yield provider


@pytest.fixture
async def platform(database_url: str, provider: FakeProvider) -> AsyncIterator[Platform]:
    """A node that believes the provider."""
    settings = Settings(social=provider.settings())
    async with Platform.start(database_url=database_url, settings=settings) as platform:
        yield platform
