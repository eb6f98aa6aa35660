"""Firing jobs by the clock: every worker tries each due moment, the table lets one of them have it."""

from __future__ import annotations

import asyncio
import math

from palestra.core.clock import Clock, utc
from palestra.core.cron import Schedule
from palestra.core.log import get_logger
from palestra.core.tasks import set_within
from palestra.database.pool import Database
from palestra.jobs.contract import Job
from palestra.jobs.queue import SQL, JobQueue

log = get_logger(__name__)
LOOK_SECONDS_MAX = 1.0
"""How long it sleeps at most: clocks are set, jobs are declared anew."""
NEVER = 253_370_764_800.0
"""The year 9999, for a schedule whose last moment has passed."""


class Scheduler:
    """Enqueues the declared jobs that have a `cron` when they are due.

    A due moment and its job are one transaction: the moment is moved on in `pgqueuer_schedules` only together with the
    job in the queue. As the moments come from the expression and not from anybody's clock, clocks that differ cannot
    fire one of them twice.
    """

    def __init__(self, database: Database, queue: JobQueue, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._now = clock.now
        self._due: dict[tuple[str, str], float] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Fire until told to stop; a database that is away is tried again."""
        well = True
        while not stopping.is_set():
            try:
                await self.fire_due()
                well = True
            except Exception as error:
                if well:
                    log.warning("scheduled jobs wait", reason=str(error) or repr(error))
                well = False
            wait = min(self._due.values(), default=math.inf) - self._now()
            await set_within(stopping, min(max(wait, 0.01), LOOK_SECONDS_MAX))

    async def fire_due(self) -> None:
        """Fire what is due by now. One round trip to learn of each new schedule, a transaction for each that is due."""
        now = self._now()
        scheduled = {(job.name, job.cron): job for job in self._queue.table.values() if job.cron}
        self._due = {key: due for key, due in self._due.items() if key in scheduled}
        for key, job in scheduled.items():
            # Of one seen for the first time the table may know a moment that was missed while no worker ran.
            if self._due.get(key, -math.inf) <= now:
                self._due[key] = await self._fire(job, now, new=key not in self._due)

    async def _fire(self, job: Job, now: float, *, new: bool) -> float:
        next_due = Schedule.parse(job.cron).next_after(now) or NEVER
        async with self._database.transaction() as tx:
            if new:
                await tx.execute(SQL["declare_schedule"], job.name, job.cron, utc(next_due))
            if await tx.fetchval(SQL["advance_schedule"], job.name, job.cron, utc(next_due), utc(now)):
                await self._queue.enqueue(tx, job.name, dedupe_key="cron")
        return next_due
