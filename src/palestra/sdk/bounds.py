"""Running game code within bounds of time: awaiting too long is cancelled, blocking too long is interrupted."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from palestra.core.errors import Code, GameError

SIGNAL = signal.SIGURG
"""Ignored by whoever does not ask for it, so it disturbs nobody when it comes too late."""


class GameCodeTooSlow(GameError):
    """Game code was cut off."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The game's code took longer than {seconds:g} s.", Code.DEADLINE_EXCEEDED)


class _Interrupted(BaseException):
    """Raised inside game code that blocks the node. No Exception, so that game code does not swallow it by habit."""


class Bounds:
    """Runs coroutines of game code for at most `seconds_max`, and counts those that were cut off.

    A coroutine that finishes without waiting costs no timer. One that never gives control back (`while True: pass`,
    `time.sleep`) would stop the whole node, and no timer of the event loop could help: a thread watches the running
    step and, once it is overdue, sends the main thread a signal whose handler raises inside the step, again and again
    until it ends. Game code on another thread than the main one is not interrupted; it is still cut off where it waits.
    """

    def __init__(self, seconds_max: float) -> None:
        self.seconds_max = seconds_max
        self.cut_off = 0
        self._step_started = 0.0
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch; call it on the thread that runs game code."""
        if threading.current_thread() is threading.main_thread():
            _handler.add(self)
            self._watcher = threading.Thread(target=self._watch, name="game code watcher", daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        """End the watching thread; call it on the thread that started it."""
        if self._watcher is not None:
            self._stopping.set()
            self._watcher.join()
            self._watcher = None
            _handler.remove(self)

    async def run(self, coroutine: Coroutine[Any, Any, Any], waiting_seconds_max: float = 0.0) -> Any:
        """The coroutine's result. Raises GameCodeTooSlow when it was cut off.

        `waiting_seconds_max` is how long it may take if that is not `seconds_max`, which it may never block for.
        """
        try:
            waiting = self.step(coroutine.send, None)
        except StopIteration as done:
            return done.value
        seconds_max = waiting_seconds_max or self.seconds_max
        limit = asyncio.timeout(seconds_max)
        try:
            async with limit:
                return await _Rest(self, coroutine, waiting)
        except TimeoutError:
            if not limit.expired():
                raise
            self.cut_off += 1
            raise GameCodeTooSlow(seconds_max) from None

    def step(self, resume: Callable[[Any], Any], value: Any) -> Any:
        """One uninterrupted stretch of game code: a plain function, or a coroutine up to where it next waits.

        Raises GameCodeTooSlow when it was cut off.
        """
        outer = self._step_started
        self._step_started = time.monotonic()
        try:
            try:
                return resume(value)
            finally:
                self._step_started = outer
        except _Interrupted:
            # Once more: the signal may have come just before the line above.
            self._step_started = outer
            self.cut_off += 1
            raise GameCodeTooSlow(self.seconds_max) from None

    def overdue(self) -> bool:
        """Whether the step that runs just now has run too long."""
        started = self._step_started
        return started > 0.0 and time.monotonic() - started > self.seconds_max

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self._stopping.wait(min(0.25, self.seconds_max / 4)):
            if self.overdue():
                signal.pthread_kill(main, SIGNAL)


class _Handler:
    """What the process does on SIGNAL: it has one handler for all bounds, as a process may hold several nodes."""

    def __init__(self) -> None:
        self._bounds: list[Bounds] = []
        self._previous: Any = None

    def add(self, bounds: Bounds) -> None:
        if not self._bounds:
            self._previous = signal.signal(SIGNAL, self._interrupt)
        self._bounds.append(bounds)

    def remove(self, bounds: Bounds) -> None:
        self._bounds.remove(bounds)
        if not self._bounds:
            signal.signal(SIGNAL, self._previous)

    def _interrupt(self, _number: int, _frame: Any) -> None:
        # This runs on the main thread between two steps of its code: what is not overdue here is left alone.
        if any(bounds.overdue() for bounds in self._bounds):
            raise _Interrupted


_handler = _Handler()


class _Rest:
    """The rest of a coroutine that has already been advanced to its first wait."""

    __slots__ = ("_bounds", "_coroutine", "_waiting")

    def __init__(self, bounds: Bounds, coroutine: Coroutine[Any, Any, Any], waiting: Any) -> None:
        self._bounds = bounds
        self._coroutine = coroutine
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = self._waiting
        advance = self._bounds.step
        while True:
            try:
                value = yield waiting
            except BaseException as error:
                resume, value = self._coroutine.throw, error
            else:
                resume = self._coroutine.send
            try:
                waiting = advance(resume, value)
            except StopIteration as done:
                return done.value
