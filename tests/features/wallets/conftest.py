"""A wallet service on a ledger in a fresh database, and players with empty wallets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from palestra.core.clock import Clock, SystemClock
from palestra.core.config import DatabaseSettings
from palestra.database.pool import Database
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore
from palestra.features.wallets.service import WalletService


@asynccontextmanager
async def wallets_of_a_node(database: Database, clock: Clock | None = None) -> AsyncIterator[WalletService]:
    """The wallets of one node, with a ledger of its own on the shared database."""
    clock = clock or SystemClock()
    store, register = LedgerStore(database, DatabaseSettings(), clock), Register(database, DatabaseSettings())
    try:
        yield WalletService(LedgerService(store, register, database, clock), clock)
    finally:
        await store.stop()
        await register.stop()


@pytest.fixture
async def wallets(database: Database) -> AsyncIterator[WalletService]:
    async with wallets_of_a_node(database) as service:
        yield service


@pytest.fixture
async def second_node(database: Database) -> AsyncIterator[WalletService]:
    """The wallets of another node on the same database."""
    async with wallets_of_a_node(database) as service:
        yield service
