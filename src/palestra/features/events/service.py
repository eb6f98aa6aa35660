"""The bounded queue between those who report events and those who handle them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from palestra.core.clock import Clock, utc
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.events.contract import (
    SESSION_END,
    SESSION_START,
    ClientEvent,
    EventHandler,
    SessionEvent,
    SessionHandler,
)
from palestra.gateway.operation import Session

log = get_logger(__name__)

QUEUE_CHARS_MAX = 64 << 20
"""Characters of names and properties that may wait: events differ a thousandfold in size."""


class EventService:
    """Implements `Events`. One task hands events to the handlers in order; one that fails is logged."""

    def __init__(self, clock: Clock, tasks: Tasks, queue_max: int) -> None:
        self._clock = clock
        self._tasks = tasks
        self._queue_max = queue_max
        self._queue: deque[tuple[ClientEvent | SessionEvent, int]] = deque()
        self._chars = 0
        self._worker: asyncio.Task[None] | None = None
        self.handlers: list[EventHandler] = []
        self.session_handlers: list[SessionHandler] = []
        self.sent = 0
        self.dropped = 0

    def send(self, name: str, properties: dict[str, str] | None = None) -> None:
        """Report an event of the server's own."""
        self.put(ClientEvent(name, properties or {}, utc(self._clock.now()), external=False))

    def session_started(self, session: Session) -> None:
        """Report that a socket was opened."""
        self._report(session, SESSION_START, {})

    def session_ended(self, session: Session, reason: str) -> None:
        """Report that a socket has ended."""
        self._report(session, SESSION_END, {"reason": reason})

    def _report(self, session: Session, name: str, properties: dict[str, str]) -> None:
        if self.session_handlers:
            when = utc(self._clock.now())
            self.put(
                SessionEvent(name, properties, when, session.caller, session.id, session.language, session.client_ip)
            )

    def _handlers_of(self, event: ClientEvent | SessionEvent) -> Sequence[Callable[[Any], Awaitable[None]]]:
        return self.session_handlers if isinstance(event, SessionEvent) else self.handlers

    def put(self, event: ClientEvent | SessionEvent) -> None:
        """Queue an event; without a handler, or with a full queue, it is dropped."""
        self.sent += 1
        chars = len(event.name) + sum(len(key) + len(text) for key, text in event.properties.items())
        if not self._handlers_of(event) or len(self._queue) >= self._queue_max or self._chars + chars > QUEUE_CHARS_MAX:
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
            for handler in self._handlers_of(event):
                try:
                    await handler(event)
                except Exception as error:
                    log.error("event handler failed", event_name=event.name, exc_info=error)
