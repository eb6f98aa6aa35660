"""A storage service on a fresh database, and players who own nothing yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from palestra.cluster.cache import Caches
from palestra.core.clock import SystemClock
from palestra.core.config import CacheSettings, DatabaseSettings
from palestra.core.ids import new_id
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.storage.index_store import IndexStore
from palestra.features.storage.indexes import Indexes
from palestra.features.storage.service import StorageService
from palestra.features.storage.store import StorageStore


@pytest.fixture
async def store(database: Database) -> AsyncIterator[StorageStore]:
    tasks = Tasks()
    made = StorageStore(database, DatabaseSettings(), Caches(tasks, CacheSettings()))
    yield made
    await made.stop()
    await tasks.stop()


class Waiting:
    """Jobs that wait until a test runs them."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, Any]] = []

    async def enqueue(
        self,
        tx: asyncpg.Connection | None,
        name: str,
        payload: Any = None,
        *,
        run_after_seconds: float = 0.0,
        dedupe_key: str = "",
    ) -> bool:
        self.payloads.append((name, payload))
        return True


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def indexes(database: Database, waiting: Waiting) -> Indexes:
    return Indexes(IndexStore(database), waiting, SystemClock())


@pytest.fixture
def storage(store: StorageStore, indexes: Indexes) -> StorageService:
    return StorageService(store, indexes)


@pytest.fixture
def ann() -> str:
    return new_id()


@pytest.fixture
def bob() -> str:
    return new_id()
