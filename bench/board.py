"""The leaderboards service without a node around it, on boards of a thousand and of a million owners.

Run as `python -m bench.board DATABASE_URL SECONDS`; prints what it saw as one line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import msgspec
import uvloop

from palestra.cluster.cache import Caches
from palestra.core.clock import SystemClock
from palestra.core.config import CacheSettings, DatabaseSettings
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.leaderboards.known import KnownBoards
from palestra.features.leaderboards.service import LeaderboardService
from palestra.features.leaderboards.store import LeaderboardStore

SMALL, LARGE = "thousand", "million"
CALLERS = 64
WINDOW = 10
ROUNDS = 3
WARM_UP_CALLS = 200
WARM_UP_SECONDS = 10.0
GC_THRESHOLD = 20_000
"""As a node sets it."""


class Seen(msgspec.Struct):
    """Medians: one call after the other, and what a write takes while 64 write at once."""

    owners: int
    load_seconds: float
    rank_ms: float
    around_ms: float
    write_small_us: float
    write_large_us: float


async def _alone(call: Callable[[str], Awaitable[object]], owners: list[str], seconds: float) -> float:
    """The median time of a call, in ms."""
    times = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until or len(times) < WARM_UP_CALLS:
        await call(random.choice(owners))
        times.append(time.perf_counter() - started)
    return 1e3 * median(times[WARM_UP_CALLS // 2 :])


async def _crowd(boards: LeaderboardService, board: str, owners: list[str], seconds: float) -> float:
    """What a write takes while many write at once, in µs."""
    until, writes = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal writes
        while time.perf_counter() < until:
            await boards.submit(board, random.choice(owners), None, random.randrange(100_000_000))
            writes += 1

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return 1e6 * (time.perf_counter() - started) / writes


async def _run(url: str, seconds: float) -> Seen:
    database, clock, tasks = Database(url), SystemClock(), Tasks()
    await database.open()
    store = LeaderboardStore(database, DatabaseSettings(), Caches(tasks, CacheSettings()))
    known = KnownBoards(store, tasks, clock)
    boards = LeaderboardService(store, known, clock)
    try:
        started = time.perf_counter()
        await known.start()
        ranks = (await known.board(LARGE)).current(clock.now()).ranks
        assert ranks is not None
        while ranks.loading:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        load_seconds = time.perf_counter() - started
        owners = {
            board: [row[0] for row in await database.fetch(
                "SELECT owner_id::text FROM leaderboard_records WHERE leaderboard_id = $1 LIMIT 100000", board
            )]
            for board in (SMALL, LARGE)
        }  # fmt: skip
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        rank_ms = await _alone(lambda owner: boards.records(LARGE, [owner]), owners[LARGE], seconds)
        around_ms = await _alone(lambda owner: boards.around(LARGE, owner, WINDOW), owners[LARGE], seconds)
        costs: dict[str, list[float]] = {SMALL: [], LARGE: []}
        # The first write to a page after a checkpoint logs all of it: that is not what is compared.
        for board in (SMALL, LARGE):
            await _crowd(boards, board, owners[board], WARM_UP_SECONDS)
        for board in [SMALL, LARGE] * ROUNDS:
            costs[board].append(await _crowd(boards, board, owners[board], seconds / 2))
        small, large = (median(costs[board]) for board in (SMALL, LARGE))
        return Seen(ranks.count, load_seconds, rank_ms, around_ms, small, large)
    finally:
        await store.stop()
        await tasks.stop()
        await database.close()


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(_run(sys.argv[1], float(sys.argv[2])))).decode())
