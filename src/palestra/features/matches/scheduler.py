"""One scheduler per node ticks all matches on absolute deadlines, so that lateness never adds up."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

EARLY_SECONDS = 0.0005
"""The loop's timers count in milliseconds; what is due within half of one is due."""
TURN_SECONDS = 0.004
"""Time after which ticks that are due wait until the loop has looked at sockets."""
GOLDEN = 0.618_033_988_749_895
"""Multiples of it, modulo one, lie evenly however many there are."""


class Ticking(Protocol):
    """What is ticked."""

    ticks_per_second: int

    def tick(self, due: float) -> None:
        """Do one tick, which was due at `due`. Never raises."""
        ...

    def missed(self, ticks: int) -> None:
        """So many ticks will not take place, because their time had passed before they could begin."""
        ...


class _Course:
    """The deadlines of one match: `origin` and every period after it."""

    __slots__ = ("origin", "over", "period", "slot", "ticking")

    def __init__(self, ticking: Ticking, origin: float) -> None:
        self.ticking = ticking
        self.period = 1 / ticking.ticks_per_second
        self.origin = origin
        self.slot = 0
        self.over = False


class Scheduler:
    """Calls `tick` of each match at its deadlines, the most overdue first.

    A deadline is computed from the beginning of the match, never from the tick before. Ticks whose successor is due as
    well are skipped and counted, so an overloaded node does not fall behind for ever. First ticks are spread over the
    period: matches that begin together do not tick together. Nothing runs by itself until `start`; tests call
    `run_due` or `step`. O(log matches) a tick.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heap: list[tuple[float, int, _Course]] = []
        self._courses: dict[Ticking, _Course] = {}
        self._order = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._wakes_at = 0.0

    def start(self) -> None:
        """Let time drive the matches; call on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arm()

    def stop(self) -> None:
        """Tick no more."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def driven_by_time(self) -> bool:
        """Whether matches tick by themselves."""
        return self._loop is not None

    def add(self, ticking: Ticking) -> None:
        """Tick from now on; the first time within a period."""
        order = next(self._order)
        course = _Course(ticking, self._monotonic())
        course.origin += course.period * (order * GOLDEN % 1)
        self._courses[ticking] = course
        heapq.heappush(self._heap, (course.origin, order, course))
        if self._timer is None or course.origin < self._wakes_at:
            self._arm()

    def remove(self, ticking: Ticking) -> None:
        """Tick no more; known or not."""
        course = self._courses.pop(ticking, None)
        if course is not None:
            course.over = True

    def run_due(self, now: float) -> None:
        """Do the ticks that are due at `now`, each match at most once."""
        heap = self._heap
        latest = now + EARLY_SECONDS
        while heap and heap[0][0] <= latest:
            due, order, course = heap[0]
            if course.over:
                heapq.heappop(heap)
                continue
            course.slot += 1
            following = course.origin + course.slot * course.period
            if following <= latest:
                skipped = int((latest - following) / course.period) + 1
                course.slot += skipped
                following = course.origin + course.slot * course.period
                course.ticking.missed(skipped)
            heapq.heapreplace(heap, (following, order, course))
            course.ticking.tick(due)
            if self._loop is not None and self._monotonic() - now > TURN_SECONDS:
                return

    def step(self) -> None:
        """Tick every match once, whatever the time."""
        for ticking, course in list(self._courses.items()):
            if not course.over:
                ticking.tick(self._monotonic())

    def _wake(self) -> None:
        self._timer = None
        try:
            self.run_due(self._monotonic())
        finally:
            self._arm()

    def _arm(self) -> None:
        if self._loop is None or not self._heap:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = self._heap[0][0]
        self._timer = self._loop.call_later(max(0.0, self._wakes_at - self._monotonic()), self._wake)
