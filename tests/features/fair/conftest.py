"""Fair services on a fresh database, and players who have not drawn yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from palestra.app.build import ThrowawayKeys
from palestra.core.clock import ManualClock
from palestra.core.config import DatabaseSettings
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from palestra.features.fair.service import FairService
from palestra.features.fair.store import FairStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def new_fair(database: Database, clock: ManualClock) -> AsyncIterator[Callable[[], FairService]]:
    """Makes services as different nodes have them, with connections of their own."""
    stores: list[FairStore] = []

    def make() -> FairService:
        stores.append(FairStore(database, DatabaseSettings(), Sealer(ThrowawayKeys())))
        return FairService(stores[-1], clock)

    yield make
    for store in stores:
        await store.stop()


@pytest.fixture
def fair(new_fair: Callable[[], FairService]) -> FairService:
    return new_fair()
