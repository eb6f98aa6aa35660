"""Reads that share round trips: each reader gets the rows of its own request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from palestra.core.config import DatabaseSettings
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database

COUNTING = """
    SELECT w.nr, n FROM unnest($1::integer[], $2::integer[]) WITH ORDINALITY AS w (start, size, nr)
    CROSS JOIN LATERAL generate_series(w.start, w.start + w.size - 1) AS n
"""
DIVIDING = "SELECT w.nr, 12 / w.by FROM unnest($1::integer[]) WITH ORDINALITY AS w (by, nr)"


@pytest.fixture
async def lookups(database: Database) -> AsyncIterator[Lookups]:
    made = Lookups("test", database, DatabaseSettings())
    yield made
    await made.batches[0].stop()


async def test_readers_of_several_statements_share_a_round_and_get_their_own_rows(lookups: Lookups) -> None:
    count, divide = lookups.of(COUNTING, by_limit), lookups.of(DIVIDING)
    found = await asyncio.gather(count(1, 3), divide(4), count(7, 0), count(1, 3), divide(3), count(5, 1))
    assert found == [[(1,), (2,), (3,)], [(3,)], [], [(1,), (2,), (3,)], [(4,)], [(5,)]]
    assert lookups.batches[0].rounds == 1


async def test_a_request_that_cannot_be_answered_fails_alone(lookups: Lookups) -> None:
    divide = lookups.of(DIVIDING)
    good, bad = await asyncio.gather(divide(6), divide(0), return_exceptions=True)
    assert good == [(2,)]
    assert isinstance(bad, asyncpg.DivisionByZeroError)
    assert lookups.batches[0].splits == 1
