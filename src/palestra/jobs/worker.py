"""The worker: the engine and the scheduler in the background of a process, started late and stopped gently."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from palestra.core.clock import Clock
from palestra.core.config import JobSettings
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.jobs.queue import JobQueue
from palestra.jobs.scheduler import Scheduler

if TYPE_CHECKING:
    from palestra.jobs.engine import Engine

log = get_logger(__name__)
LAST_SECONDS_MAX = 2.0
"""How long interrupted jobs may take to end and to be put back."""


class Worker:
    """Runs the queue's jobs in this process. Nothing happens before `start`."""

    def __init__(self, database: Database, queue: JobQueue, settings: JobSettings, clock: Clock, tasks: Tasks) -> None:
        self._database = database
        self._queue = queue
        self._settings = settings
        self._scheduler = Scheduler(database, queue, clock)
        self._tasks = tasks
        self._stopping = asyncio.Event()
        self._engine: Engine | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the background."""
        self._running = self._tasks.spawn(self._run(), "job worker")

    def refresh(self) -> None:
        """Notice that other jobs are declared than before."""
        if self._engine is not None:
            self._engine.refresh()

    async def stop(self, drain_seconds: float) -> None:
        """Take no more jobs, let those in hand finish for so long, put the others back into the queue."""
        self._stopping.set()
        if self._running is None:
            return
        done, _ = await asyncio.wait({self._running}, timeout=drain_seconds)
        if not done and self._engine is not None:
            self._engine.interrupt()
            await asyncio.wait({self._running}, timeout=LAST_SECONDS_MAX)

    async def _run(self) -> None:
        # In a thread: loading pgqueuer takes a while, and the node serves already.
        engine = await asyncio.to_thread(_load_engine)
        self._engine = engine(self._database, self._queue, self._settings)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._engine.run(self._stopping))
            both.create_task(self._scheduler.run(self._stopping))


def _load_engine() -> type[Engine]:
    from palestra.jobs.engine import Engine

    return Engine
