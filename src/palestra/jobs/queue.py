"""The queue: which jobs there are, putting one in, and keeping the tables small."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from palestra.core.config import JobSettings
from palestra.core.errors import SetupError
from palestra.core.metrics import Metrics, Sample
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.jobs.contract import (
    DEDUPE_KEY_CHARS_MAX,
    PAYLOAD_BYTES_MAX,
    RUN_AFTER_SECONDS_MAX,
    Job,
    JobTooLarge,
)

SQL = load_queries(__file__)


@dataclass(slots=True)
class Figures:
    """What this process did with jobs of one name."""

    enqueued: int = 0
    running: int = 0
    done: int = 0
    retried: int = 0
    failed: int = 0


class JobQueue:
    """Implements `Jobs`. `table` holds the declared jobs by name, `figures` the counts by name."""

    def __init__(self, database: Database, settings: JobSettings) -> None:
        self.table: dict[str, Job] = {}
        self.figures: dict[str, Figures] = {}
        self._database = database
        self._settings = settings
        self._groups: dict[str, list[Job]] = {}

    def declare(self, group: str, jobs: Iterable[Job]) -> None:
        """Make these the jobs of a group, such as the games', in place of those it had. Raises SetupError."""
        groups = {**self._groups, group: list(jobs)}
        table: dict[str, Job] = {}
        for job in (job for members in groups.values() for job in members):
            if job.name in table:
                raise SetupError(f"there are two jobs {job.name!r}")
            table[job.name] = job
        self._groups, self.table = groups, table
        for name in table:
            self.figures.setdefault(name, Figures())

    async def enqueue(
        self,
        tx: asyncpg.Connection | None,
        name: str,
        payload: Any = None,
        *,
        run_after_seconds: float = 0.0,
        dedupe_key: str = "",
    ) -> bool:
        """See Jobs.enqueue."""
        raw = self._encoded(name, payload)
        if not 0 <= run_after_seconds <= RUN_AFTER_SECONDS_MAX:
            raise ValueError(f"job {name!r}: it can wait 0 to {RUN_AFTER_SECONDS_MAX:g} s, not {run_after_seconds!r}")
        if len(dedupe_key) > DEDUPE_KEY_CHARS_MAX or "\0" in dedupe_key:
            raise ValueError(
                f"job {name!r}: a dedupe key has at most {DEDUPE_KEY_CHARS_MAX} characters, none of them 0"
            )
        wait = timedelta(seconds=run_after_seconds)
        key = f"{name}:{dedupe_key}" if dedupe_key else None
        connection = self._database if tx is None else tx
        job_id = await connection.fetchval(SQL["enqueue"], name, raw, wait, key)
        if job_id is None:
            return False
        self.figures[name].enqueued += 1
        return True

    def _encoded(self, name: str, payload: Any) -> bytes | None:
        job = self.table.get(name)
        if job is None:
            near = difflib.get_close_matches(name, self.table, 1)
            raise ValueError(f"there is no job {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if job.payload is None:
            if payload is not None:
                raise ValueError(f"job {name!r} takes no payload")
            return None
        raw = msgspec.json.encode(payload)
        if len(raw) > PAYLOAD_BYTES_MAX:
            raise JobTooLarge(f"A job's payload has at most {PAYLOAD_BYTES_MAX} bytes, this one {len(raw)}.")
        try:
            msgspec.json.decode(raw, type=job.payload)
        except msgspec.DecodeError as error:
            raise ValueError(f"job {name!r}: the payload is not what it takes: {error}") from None
        return raw

    # -- the tables

    def jobs(self) -> list[Job]:
        """The queue's own job: dropping what is old."""
        return [Job("jobs.tidy", self.tidy, cron="17 4 * * *", seconds_max=900.0)]

    async def tidy(self) -> None:
        """Drop lines of the log, and jobs that failed for good, that are older than the settings keep them."""
        settings = self._settings
        for statement, days in (
            ("drop_old_log", settings.log_keep_days),
            ("drop_old_failures", settings.failed_keep_days),
        ):
            while await self._database.execute(SQL[statement], timedelta(days=days)) != "DELETE 0":
                pass

    # -- figures

    def measure(self, metrics: Metrics) -> None:
        """Register the figures."""

        def of(attribute: str) -> Iterable[Sample]:
            return [((name,), getattr(figures, attribute)) for name, figures in self.figures.items()]

        label = ("job",)
        metrics.counter("palestra_jobs_enqueued", "Jobs put into the queue here", label, lambda: of("enqueued"))
        metrics.counter("palestra_jobs_done", "Jobs done here", label, lambda: of("done"))
        metrics.counter("palestra_jobs_retried", "Failed tries that are tried again", label, lambda: of("retried"))
        metrics.counter("palestra_jobs_failed", "Jobs that failed for good here", label, lambda: of("failed"))
        metrics.gauge("palestra_jobs_running", "Jobs being worked on here", label, lambda: of("running"))
