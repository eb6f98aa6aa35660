"""The ledgers of two nodes on one database, and a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from palestra.core.clock import ManualClock
from palestra.database.pool import Database
from tests.features.ledger.world import World, world_of_a_node


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(database: Database, clock: ManualClock) -> AsyncIterator[World]:
    async with world_of_a_node(database, clock) as node:
        yield node


@pytest.fixture
async def second(database: Database, clock: ManualClock) -> AsyncIterator[World]:
    """Another node on the same database."""
    async with world_of_a_node(database, clock) as node:
        yield node
