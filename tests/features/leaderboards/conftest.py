"""A leaderboard service on a fresh database, with a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from palestra.cluster.cache import Caches
from palestra.core.clock import ManualClock
from palestra.core.config import CacheSettings, DatabaseSettings
from palestra.core.events import EventBus
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.leaderboards.announcer import Announcer
from palestra.features.leaderboards.known import KnownBoards
from palestra.features.leaderboards.service import LeaderboardService
from palestra.features.leaderboards.store import LeaderboardStore
from palestra.features.leaderboards.tournament_store import TournamentStore
from palestra.features.leaderboards.tournaments import TournamentService


async def until(check: Callable[[], Awaitable[Any]]) -> None:
    """Ask again until the answer is true; for states that nobody tells of."""
    while not await check():  # noqa: ASYNC110
        await asyncio.sleep(0)


class Bench:
    """One node's leaderboards: the service and what it is made of."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.events = EventBus()
        self.tasks = Tasks()
        caches = Caches(Tasks(), CacheSettings())
        self.store = LeaderboardStore(database, DatabaseSettings(), caches)
        self.tournament_store = TournamentStore(database, DatabaseSettings(), caches)
        self.boards = KnownBoards(self.store, self.tasks, clock)
        self.service = LeaderboardService(self.store, self.boards, clock)
        self.tournaments = TournamentService(self.tournament_store, self.store, self.boards, self.service, clock)
        self.announcer = Announcer(self.boards, self.store, self.tournament_store, self.events, self.tasks, clock)


@asynccontextmanager
async def node(database: Database, clock: ManualClock) -> AsyncIterator[Bench]:
    """A node of its own on this database; it has not started."""
    bench = Bench(database, clock)
    try:
        yield bench
    finally:
        await bench.tasks.stop()
        await bench.store.stop()
        await bench.tournament_store.stop()


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with node(database, ManualClock()) as made:
        yield made


@pytest.fixture
def boards(bench: Bench) -> LeaderboardService:
    return bench.service


@pytest.fixture
def tournaments(bench: Bench) -> TournamentService:
    return bench.tournaments
