"""Stores on this machine, and nodes that believe them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from palestra.core.config import Settings
from palestra.testing import Platform
from tests.features.purchases.fakes import Stores
from tests.features.purchases.shops import shop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """uvloop, as in production."""
    return {"uvloop": uvloop.Loop}


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    """Every store there is, in one."""
    async with Stores(tmp_path).serving() as stores:
        yield stores


@pytest.fixture
async def platform(database_url: str, stores: Stores) -> AsyncIterator[Platform]:
    """A node that believes the stores, with a game that grants 100 coins for each gem pack."""
    settings = Settings(iap=stores.settings())
    async with Platform.start(shop(), database_url=database_url, settings=settings) as platform:
        yield platform
