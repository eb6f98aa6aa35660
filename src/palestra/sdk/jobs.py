"""The job queue as game code sees it: the games' own jobs, by the names they gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palestra.jobs.contract import Jobs


def queue_name(name: str) -> str:
    """What a game's job is called in the queue, in logs and figures: apart from the platform's own."""
    return f"game.{name}"


class GameJobs:
    """`ctx.jobs`."""

    __slots__ = ("_jobs",)

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def enqueue(
        self, name: str, payload: Any = None, *, run_after_seconds: float = 0.0, dedupe_key: str = ""
    ) -> bool:
        """Put one of the games' jobs into the queue; once this returns it will be run, whatever happens.

        False, and nothing is done, while a job of that name with the same `dedupe_key` waits or runs. One round trip.
        Raises JobTooLarge (invalid_argument) above 64 KiB of JSON, Unavailable while the database is away, ValueError
        for a name or a payload that no job has.
        """
        return await self._jobs.enqueue(
            None, queue_name(name), payload, run_after_seconds=run_after_seconds, dedupe_key=dedupe_key
        )
