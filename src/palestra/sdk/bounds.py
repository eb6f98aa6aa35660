"""Running game code within bounds of time: awaiting too long is cancelled, blocking too long is interrupted."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Coroutine, Generator
from typing import Any

from palestra.core.errors import Code, GameError


class GameCodeTooSlow(GameError):
    """Game code was cut off."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The game's code took longer than {seconds:g} s.", Code.DEADLINE_EXCEEDED)


class _Interrupted(BaseException):
    """Raised inside game code that blocks the node. No Exception, so that game code does not swallow it by habit."""


class _Step:
    """The step of game code that runs just now, as the watching thread sees it."""

    __slots__ = ("started",)

    def __init__(self) -> None:
        self.started = 0.0


class Bounds:
    """Runs coroutines of game code for at most `seconds_max`, and counts those that were cut off.

    A coroutine that finishes without waiting costs no timer. One that never gives control back (`while True: pass`)
    would stop the whole node, and no timer of the event loop could help: a thread watches the running step and
    interrupts it.
    """

    def __init__(self, seconds_max: float) -> None:
        self.seconds_max = seconds_max
        self.cut_off = 0
        self._step = _Step()
        self._lock = threading.Lock()
        self._thread_id = threading.get_ident()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch; call it on the thread that runs game code."""
        self._thread_id = threading.get_ident()
        self._watcher = threading.Thread(target=self._watch, name="game code watcher", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the watching thread."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result. Raises GameCodeTooSlow when it was cut off."""
        try:
            waiting = self._advance(coroutine.send, None)
        except StopIteration as done:
            return done.value
        try:
            async with asyncio.timeout(self.seconds_max):
                return await _Rest(self, coroutine, waiting)
        except TimeoutError:
            self.cut_off += 1
            raise GameCodeTooSlow(self.seconds_max) from None

    def _advance(self, resume: Any, value: Any) -> Any:
        """One uninterrupted stretch of game code."""
        step = self._step
        outer = step.started
        started = step.started = time.monotonic()
        try:
            return resume(value)
        except _Interrupted:
            self.cut_off += 1
            raise GameCodeTooSlow(self.seconds_max) from None
        finally:
            if time.monotonic() - started < self.seconds_max * 0.5:
                step.started = outer
            else:
                self._leave_slow_step(outer)

    def _leave_slow_step(self, outer: float) -> None:
        # The watcher may be about to interrupt: under its lock, end the step and take back what was not delivered yet.
        with self._lock:
            self._step.started = outer
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), None)

    def _watch(self) -> None:
        interrupted = 0.0
        while not self._stopping.wait(min(0.25, self.seconds_max / 4)):
            with self._lock:
                started = self._step.started
                if started and started != interrupted and time.monotonic() - started > self.seconds_max:
                    interrupted = started
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self._thread_id), ctypes.py_object(_Interrupted)
                    )


class _Rest:
    """The rest of a coroutine that has already been advanced to its first wait."""

    __slots__ = ("_bounds", "_coroutine", "_waiting")

    def __init__(self, bounds: Bounds, coroutine: Coroutine[Any, Any, Any], waiting: Any) -> None:
        self._bounds = bounds
        self._coroutine = coroutine
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = self._waiting
        advance = self._bounds._advance
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
