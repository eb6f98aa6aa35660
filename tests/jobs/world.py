"""A queue with workers on a test's own database, and jobs that tell what happened to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from palestra.core.clock import Clock, SystemClock
from palestra.core.config import JobSettings
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.jobs.contract import Job
from palestra.jobs.queue import JobQueue
from palestra.jobs.worker import Worker

SECONDS_MAX = 20
QUICK = {"back_off_seconds": 0.01}
"""Options of a job that is tried again soon."""


class Note(msgspec.Struct):
    """What the jobs of these tests are given."""

    n: int


class Recorder:
    """A handler that remembers its calls; the first `failing` of them raise `error`."""

    def __init__(self, failing: int = 0, error: BaseException | None = None) -> None:
        self.calls: list[int | None] = []
        self.happened = asyncio.Event()
        self._failing = failing
        self._error = error or OSError("not now")

    async def __call__(self, note: Note | None = None) -> None:
        self.calls.append(note.n if note else None)
        self.happened.set()
        if len(self.calls) <= self._failing:
            raise self._error

    async def called(self, times: int) -> None:
        """Wait for so many calls."""
        async with asyncio.timeout(SECONDS_MAX):
            while len(self.calls) < times:
                self.happened.clear()
                await self.happened.wait()


class World:
    """One process's part in a queue."""

    def __init__(self, database: Database, jobs: list[Job], clock: Clock | None = None, **settings: Any) -> None:
        self.database = database
        self.settings = JobSettings(**{"poll_seconds": 0.1, "heartbeat_timeout_seconds": 1.0, **settings})
        self.queue = JobQueue(database, self.settings)
        self.queue.declare("tests", jobs)
        self._clock = clock or SystemClock()
        self._tasks = Tasks()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """A running worker."""
        worker = Worker(self.database, self.queue, self.settings, self._clock, self._tasks)
        worker.start()
        try:
            yield worker
        finally:
            await worker.stop(SECONDS_MAX)
            await self._tasks.stop()

    async def rows(self) -> list[tuple[str, int]]:
        """(status, attempts) of what is in the queue."""
        rows = await self.database.fetch("SELECT status::text, attempts FROM pgqueuer ORDER BY id")
        return [tuple(row) for row in rows]

    async def until_rows(self, wanted: list[tuple[str, int]]) -> None:
        """Wait until the queue holds just this."""
        async with asyncio.timeout(SECONDS_MAX):
            while await self.rows() != wanted:
                pass


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(SECONDS_MAX):
        while not happened():  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.005)
