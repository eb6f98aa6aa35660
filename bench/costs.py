"""Costs inside one process, by the microsecond: sealing personal fields, and passing through a batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.sealed import KeyRing, Sealer

DEVICE = "3f2a9c1e-77b4-4a54-9c11-02d5a8e0b6aa"
ROW = b"accounts/device/3f2a9c1e"
CALLS = 20_000
CALLERS = 64
REPEATS = 5


def sealing(folder: Path) -> dict[str, float]:
    """µs of sealing, opening and indexing a device id, the best of several repeats."""
    sealer = Sealer(KeyRing.load_or_create(folder / "keyring.json"))
    sealed = sealer.seal(DEVICE, ROW)
    return {
        "seal": _best_us(lambda: sealer.seal(DEVICE, ROW)),
        "open": _best_us(lambda: sealer.open(sealed, ROW)),
        "index": _best_us(lambda: sealer.index("device", DEVICE)),
    }


def batching() -> dict[str, float]:
    """µs of a batch's own work per item, without a database: alone, and with a crowd that shares rounds."""
    return {
        "batch, a lone caller": min(asyncio.run(_through_batch(1)) for _ in range(REPEATS)),
        f"batch, {CALLERS} callers": min(asyncio.run(_through_batch(CALLERS)) for _ in range(REPEATS)),
    }


def _best_us(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(CALLS):
            work()
        best = min(best, time.perf_counter() - started)
    return 1e6 * best / CALLS


class _NoConnection:
    """What a batch asks of its connection between rounds."""

    def is_closed(self) -> bool:
        return False

    def is_in_transaction(self) -> bool:
        return False

    async def close(self, timeout: float) -> None:
        """Nothing to close."""


class _NoDatabase:
    async def connect(self) -> _NoConnection:
        return _NoConnection()


async def _through_batch(callers: int) -> float:
    async def answer(connection: Any, items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return items

    batch: Batch[int, int] = Batch("bench", cast(Database, _NoDatabase()), answer, rows_max=500)

    async def caller() -> None:
        for number in range(CALLS // callers):
            await batch.submit(number)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds = time.perf_counter() - started
    await batch.stop()
    return 1e6 * seconds / (CALLS // callers * callers)
