"""The bounded queue between those who report events and those who handle them."""

from __future__ import annotations

import asyncio
from collections import deque

from palestra.core.clock import Clock, utc
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.events.contract import ClientEvent, EventHandler

log = get_logger(__name__)

QUEUE_CHARS_MAX = 64 << 20
"""Characters of names and properties that may wait: events differ a thousandfold in size."""


class EventService:
    """Implements `Events`. One task hands events to the handlers in order; one that fails is logged."""

    def __init__(self, clock: Clock, tasks: Tasks, queue_max: int) -> None:
        self._clock = clock
        self._tasks = tasks
        self._queue_max = queue_max
        self._queue: deque[tuple[ClientEvent, int]] = deque()
        self._chars = 0
        self._worker: asyncio.Task[None] | None = None
        self.handlers: list[EventHandler] = []
        self.sent = 0
        self.dropped = 0

    def send(self, name: str, properties: dict[str, str] | None = None) -> None:
        """Report an event of the server's own."""
        self.put(ClientEvent(name, properties or {}, utc(self._clock.now()), external=False))

    def put(self, event: ClientEvent) -> None:
        """Queue an event; without a handler, or with a full queue, it is dropped."""
        self.sent += 1
        chars = len(event.name) + sum(len(key) + len(text) for key, text in event.properties.items())
        if not self.handlers or len(self._queue) >= self._queue_max or self._chars + chars > QUEUE_CHARS_MAX:
            self.dropped += 1
            return
        self._queue.append((event, chars))
        self._chars += chars
        if self._worker is None or self._worker.done():
            self._worker = self._tasks.spawn(self._work(), "client events")

    async def _work(self) -> None:
        while self._queue:
            event, chars = self._queue.popleft()
            self._chars -= chars
            for handler in self.handlers:
                try:
                    await handler(event)
                except Exception as error:
                    log.error("event handler failed", event_name=event.name, exc_info=error)
