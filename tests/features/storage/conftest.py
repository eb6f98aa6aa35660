"""A storage service on a fresh database, and players who own nothing yet."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from palestra.core.config import DatabaseSettings
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.storage.service import StorageService
from palestra.features.storage.store import StorageStore


@pytest.fixture
async def store(database: Database) -> AsyncIterator[StorageStore]:
    made = StorageStore(database, DatabaseSettings())
    yield made
    await made.stop()


@pytest.fixture
def storage(store: StorageStore) -> StorageService:
    return StorageService(store)


@pytest.fixture
def ann() -> str:
    return new_id()


@pytest.fixture
def bob() -> str:
    return new_id()
