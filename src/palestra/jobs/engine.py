"""pgqueuer at work: it takes jobs from the table and keeps their heartbeats, this file runs them and says how they end.

Only a worker imports it, as pgqueuer takes a fifth of a second to load.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta
from typing import Any

import msgspec
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.buffers import JobStatusLogBuffer
from pgqueuer.core.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain import models, types
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.settings import DBSettings, Durability

from palestra.core.config import JobSettings
from palestra.core.errors import PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.core.tasks import ends_task
from palestra.database.pool import Database
from palestra.jobs import rules
from palestra.jobs.connection import WorkerConnection
from palestra.jobs.contract import Job
from palestra.jobs.queue import JobQueue

log = get_logger(__name__)
RESTART_SECONDS = 1.0

# All of them given, or pgqueuer would take them from environment variables, some with names as plain as CHANNEL.
_NAMES: dict[str, Any] = {
    "prefix": "",
    "db_schema": None,
    "channel": "ch_pgqueuer",
    "function": "fn_pgqueuer_changed",
    "statistics_table": "pgqueuer_statistics",
    "queue_status_type": "pgqueuer_status",
    "queue_table": "pgqueuer",
    "queue_table_log": "pgqueuer_log",
    "trigger": "tg_pgqueuer_changed",
    "schedules_table": "pgqueuer_schedules",
    "durability": Durability.durable,
    "widen_id": True,
}


class JobFailed(Exception):
    """A job will not be tried again; the text says why."""


class Statements(Queries):
    """pgqueuer's statements on the tables of our migration."""

    def __init__(self, connection: WorkerConnection) -> None:
        names = DBSettings(**_NAMES)
        super().__init__(
            connection, QueryBuilderEnvironment(names), QueryQueueBuilder(names), QuerySchedulerBuilder(names)
        )

    async def log_jobs(
        self, job_status: list[tuple[models.Job, types.JOB_STATUS, models.TracebackRecord | None]]
    ) -> None:
        """Write down how jobs ended. One whose task was cancelled has not ended: it stays, and is picked up again."""
        ended = [entry for entry in job_status if entry[1] != "canceled"]
        try:
            if ended:
                await super().log_jobs(ended)
        except Unavailable:
            log.warning("the outcome of jobs cannot be written, they will run again", jobs=len(ended))

    async def update_heartbeat(self, job_ids: list[types.JobId]) -> None:
        """Say that jobs are being worked on; not when the worker ends without a database."""
        with contextlib.suppress(Unavailable):
            await super().update_heartbeat(job_ids)


class _Manager(QueueManager):
    """pgqueuer's loop; only what we call failed is failed."""

    async def log_failure(
        self, job: models.Job, executor: AbstractEntrypointExecutor, exc: Exception, jbuff: JobStatusLogBuffer
    ) -> None:
        """Keep a failed job. Any other error, such as of the statement that puts it back, leaves it to be picked up."""
        if isinstance(exc, JobFailed):
            await jbuff.add((job, "failed", models.TracebackRecord.from_exception(exc, job.id)))
        else:
            log.warning("a job cannot be put back, it will run again", job=job.entrypoint, id=job.id, reason=repr(exc))


class Engine:
    """Runs the jobs of a queue, until stopped."""

    def __init__(self, database: Database, queue: JobQueue, settings: JobSettings) -> None:
        self.queue = queue
        self.interrupted = False
        self.limits: set[asyncio.Timeout] = set()
        """The time limits of the jobs in hand."""
        self._settings = settings
        self._registry = _Registry()
        self._connection = WorkerConnection(database)
        self.refresh()

    def refresh(self) -> None:
        """Take the jobs of the queue's table as they are now; those in hand go on as they began."""
        self._registry.clear()
        for job in self.queue.table.values():
            self._registry[types.QueueEntrypoint(job.name)] = _Executor(self, job)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set and the jobs in hand have ended. Whatever goes wrong, it begins again."""
        settings = self._settings
        try:
            while not stopping.is_set():
                manager = _Manager(Statements(self._connection), types.Channel(_NAMES["channel"]))
                manager.entrypoint_registry = self._registry
                manager.shutdown = stopping
                try:
                    await manager.run(
                        dequeue_timeout=timedelta(seconds=settings.poll_seconds),
                        batch_size=settings.concurrency_max // 2,
                        max_concurrent_tasks=settings.concurrency_max,
                        heartbeat_timeout=timedelta(seconds=settings.heartbeat_timeout_seconds),
                        log_aggregation_interval=timedelta(0),
                    )
                except Unavailable as error:
                    # Only when it was told to give up: its connection waits for the database otherwise.
                    log.warning("jobs in hand stay for another worker", reason=error.message)
                except Exception as error:
                    log.error("the job worker failed and begins again", exc_info=error)
                    await asyncio.sleep(RESTART_SECONDS)
        finally:
            await self._connection.close()

    def interrupt(self) -> None:
        """End the jobs in hand now; they go back into the queue, if the database is there to take them."""
        self.interrupted = True
        for limit in list(self.limits):
            limit.reschedule(0.0)
        self._connection.give_up()


class _Registry(dict[types.QueueEntrypoint, AbstractEntrypointExecutor]):
    """What runs jobs, by name. One that was taken away while such a job was on its way is put back by."""

    def __missing__(self, name: types.QueueEntrypoint) -> AbstractEntrypointExecutor:
        return _PutBack(EntrypointExecutorParameters(concurrency_limit=0, func=_nothing))


class _PutBack(AbstractEntrypointExecutor):
    """Leaves a job to a worker that knows it."""

    async def execute(self, job: models.Job, context: models.Context) -> None:
        raise RetryRequested(reason="this worker knows the job no more")


async def _nothing(job: models.Job) -> None:
    """What is called of a job that is not known."""


def _interruption() -> RetryRequested:
    return RetryRequested(reason="the worker stopped")


class _Executor(AbstractEntrypointExecutor):
    """Runs jobs of one name."""

    def __init__(self, engine: Engine, job: Job) -> None:
        super().__init__(EntrypointExecutorParameters(concurrency_limit=0, func=job.handler))
        self._engine = engine
        self._job = job
        self._figures = engine.queue.figures[job.name]

    async def execute(self, job: models.Job, context: models.Context) -> None:
        """Run one job. Raises RetryRequested when it is to be tried again, JobFailed when it is not."""
        if self._engine.interrupted:
            raise _interruption()
        kind = self._job
        try:
            payload = () if kind.payload is None else (msgspec.json.decode(job.payload or b"", type=kind.payload),)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._failed(job, f"its payload cannot be read: {error}") from None
        limit = asyncio.timeout(kind.seconds_max)
        self._engine.limits.add(limit)
        self._figures.running += 1
        try:
            async with limit:
                await kind.handler(*payload)
        except BaseException as error:
            if ends_task(error):
                raise
            raise self._outcome(job, error, cut_off=limit.expired()) from None
        finally:
            self._figures.running -= 1
            self._engine.limits.discard(limit)
        self._figures.done += 1

    def _outcome(self, job: models.Job, error: BaseException, *, cut_off: bool) -> Exception:
        """What becomes of a job whose handler raised `error`."""
        if cut_off and self._engine.interrupted:
            return _interruption()
        if cut_off:
            error = TimeoutError(f"it took longer than {self._job.seconds_max:g} s")
        text, attempt = rules.kept_text(error), job.attempts + 1
        if attempt >= self._job.attempts_max:
            return self._failed(job, text)
        wait = rules.back_off_seconds(self._job, attempt, random.random())
        self._figures.retried += 1
        told = {"reason": error.message} if isinstance(error, PalestraError) else {"exc_info": error}
        log.warning(
            "job failed, it is tried again",
            **{"job": self._job.name, "id": job.id, "attempt": attempt, "wait_seconds": round(wait, 3), **told},
        )
        return RetryRequested(timedelta(seconds=wait), text)

    def _failed(self, job: models.Job, reason: str) -> JobFailed:
        self._figures.failed += 1
        log.error("job failed for good", job=self._job.name, id=job.id, attempts=job.attempts + 1, reason=reason)
        return JobFailed(reason)
