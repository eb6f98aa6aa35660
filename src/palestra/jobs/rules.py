"""Decisions about jobs: how long a failed one waits, what is kept of an error."""

from __future__ import annotations

import traceback

from palestra.jobs.contract import Job

ERROR_CHARS_MAX = 8_192


def back_off_seconds(job: Job, attempt: int, chance: float) -> float:
    """How long a job waits after its failed try number `attempt`, from 1 on.

    Twice as long each time, less up to a half by `chance` (0 to 1), so that jobs that failed together do not all come
    back together.
    """
    doubled = job.back_off_seconds * 2.0 ** min(attempt - 1, 64)
    return min(doubled, job.back_off_seconds_max) * (1.0 - chance / 2)


def kept_text(error: BaseException) -> str:
    """The end of an error's traceback, as text that PostgreSQL can keep."""
    text = "".join(traceback.format_exception(error))[-ERROR_CHARS_MAX:]
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
