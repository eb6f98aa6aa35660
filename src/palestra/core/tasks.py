"""Supervised background tasks: every one has a name, a logged end, and is stopped with its owner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from palestra.core.log import get_logger

log = get_logger(__name__)

AGAIN_SECONDS = 5.0
"""After how long a task that still runs is cancelled once more."""
CANCELS_MAX = 6


def ends_task(error: BaseException) -> bool:
    """Whether the task itself is being ended, which no code inside it may keep from happening."""
    if isinstance(error, asyncio.CancelledError):
        # Code that awaits something cancelled gets the same error; that is its own affair.
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but so long at most; whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Tasks:
    """A group of background tasks that stop together."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` in the background; if it fails, the error is logged under `name` and nothing else stops."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", task=task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended; one that never does is logged and left behind."""
        running = set(self._running)
        for _ in range(CANCELS_MAX):
            if not running:
                return
            for task in running:
                task.cancel()
            # Once may not be enough: code that ends just when it is cancelled may keep the cancellation to itself.
            _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
        for task in running:
            log.error("background task does not end", task=task.get_name())
