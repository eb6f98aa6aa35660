"""A wallet service on a fresh database, and players with empty wallets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from palestra.core.config import DatabaseSettings
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.wallets.service import WalletService
from palestra.features.wallets.store import WalletStore

NewPlayer = Callable[[], Awaitable[str]]


@pytest.fixture
async def store(database: Database) -> AsyncIterator[WalletStore]:
    made = WalletStore(database, DatabaseSettings())
    yield made
    await made.stop()


@pytest.fixture
def wallets(store: WalletStore) -> WalletService:
    return WalletService(store)


@pytest.fixture
def new_player(database: Database) -> NewPlayer:
    async def make() -> str:
        user_id = new_id()
        await database.execute("INSERT INTO users (id, username) VALUES ($1, $2)", user_id, user_id)
        return user_id

    return make


@pytest.fixture
async def ann(new_player: NewPlayer) -> str:
    return await new_player()


@pytest.fixture
async def bob(new_player: NewPlayer) -> str:
    return await new_player()
