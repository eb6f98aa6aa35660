"""How punctual matches are and how long they take: counters for the metrics, and words about the slowest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from palestra.core.log import get_logger
from palestra.core.metrics import Histogram, Metrics, Sample

log = get_logger(__name__)

BOUNDS_SECONDS = (
    0.00025,
    0.0005,
    0.001,
    0.0015,
    0.002,
    0.003,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.5,
)
TOLD_EVERY_SECONDS = 10.0


class _Spread:
    """Durations, counted by size."""

    __slots__ = ("counts", "total_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.total_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def histogram(self) -> Histogram:
        """For the metrics."""
        return Histogram(BOUNDS_SECONDS, self.counts, self.total_seconds)


class Pace:
    """What ticks of this node's matches took, and the match to blame.

    A tick that takes longer than its period is slow. Now and then one line of the log names the match whose ticks
    overran most since the last line.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.lateness = _Spread()
        self.work = _Spread()
        self.ticks: dict[str, int] = {}
        self.missed: dict[str, int] = {}
        self.slow: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.dropped = 0
        self._told_at = self._dropped_told_at = -TOLD_EVERY_SECONDS
        self._overruns: dict[tuple[str, str], tuple[int, float, float]] = {}
        """Slow ticks since the last line: how many, their time together, the longest."""

    def ticked(self, name: str, match_id: str, late_seconds: float, took_seconds: float, period_seconds: float) -> None:
        """A tick of a match is done."""
        self.ticks[name] = self.ticks.get(name, 0) + 1
        self.lateness.add(max(0.0, late_seconds))
        self.work.add(took_seconds)
        if took_seconds > period_seconds:
            self.slow[name] = self.slow.get(name, 0) + 1
            count, total, longest = self._overruns.get((name, match_id), (0, 0.0, 0.0))
            self._overruns[name, match_id] = (count + 1, total + took_seconds, max(longest, took_seconds))
            self._tell()

    def failed(self, name: str) -> None:
        """The code of a match raised."""
        self.failures[name] = self.failures.get(name, 0) + 1

    def skipped(self, name: str, ticks: int) -> None:
        """Ticks of a match did not take place."""
        self.missed[name] = self.missed.get(name, 0) + ticks

    def drop(self, name: str, match_id: str) -> None:
        """A match did not take in a message, because too many of one tick were there already."""
        self.dropped += 1
        now = self.monotonic()
        if now - self._dropped_told_at >= TOLD_EVERY_SECONDS:
            self._dropped_told_at = now
            log.warning("messages to a match are dropped", match=name, match_id=match_id, dropped=self.dropped)

    def _tell(self) -> None:
        now = self.monotonic()
        if now - self._told_at < TOLD_EVERY_SECONDS:
            return
        self._told_at = now
        (name, match_id), (count, _, longest) = max(self._overruns.items(), key=lambda item: item[1][1])
        log.warning(
            "a match is too slow for its tick rate",
            match=name,
            match_id=match_id,
            slow_ticks=count,
            longest_seconds=round(longest, 4),
            slow_matches=len(self._overruns),
        )
        self._overruns.clear()

    def measure(self, metrics: Metrics) -> None:
        """Show all of it."""

        def by_name(counts: dict[str, int]) -> Callable[[], Iterable[Sample]]:
            return lambda: [((name,), count) for name, count in counts.items()]

        label = ("match",)
        metrics.counter("palestra_match_ticks", "Ticks of matches", label, by_name(self.ticks))
        metrics.counter("palestra_match_ticks_missed", "Ticks skipped as too late", label, by_name(self.missed))
        metrics.counter("palestra_match_ticks_slow", "Ticks longer than their period", label, by_name(self.slow))
        metrics.counter("palestra_match_messages_dropped", "Messages to full matches", (), lambda: [((), self.dropped)])
        metrics.histogram(
            "palestra_match_tick_lateness_seconds", "From a tick's deadline to its start", self.lateness.histogram
        )
        metrics.histogram("palestra_match_tick_seconds", "What ticks took", self.work.histogram)
