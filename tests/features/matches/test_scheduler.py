"""The scheduler of ticks: on time, without drift, without a spiral, fair."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palestra.core.clock import ManualClock
from palestra.core.metrics import Metrics
from palestra.features.matches.pace import Pace
from palestra.features.matches.scheduler import EARLY_SECONDS, Scheduler


class Metronome:
    """Notes when its ticks were due, and when they came."""

    def __init__(self, clock: ManualClock, ticks_per_second: int = 20, seconds_each: float = 0.0) -> None:
        self.ticks_per_second = ticks_per_second
        self.due: list[float] = []
        self.came: list[float] = []
        self.skipped = 0
        self._clock = clock
        self._seconds_each = seconds_each

    def tick(self, due: float) -> None:
        self.due.append(due)
        self.came.append(self._clock.monotonic())
        self._clock.advance(self._seconds_each)

    def missed(self, ticks: int) -> None:
        self.skipped += ticks


def run(scheduler: Scheduler, clock: ManualClock, seconds: float, every: float = 0.001) -> None:
    """Let time go by in steps."""
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        clock.advance(every)
        scheduler.run_due(clock.monotonic())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.floats(0.0003, 0.02))
def test_deadlines_never_drift_however_late_each_tick_is(rate: int, every: float) -> None:
    clock = ManualClock(0.0)
    scheduler, metronome = Scheduler(clock.monotonic), Metronome(clock, rate)
    scheduler.add(metronome)
    run(scheduler, clock, 20.0, every)
    first = metronome.due[0]
    for due in metronome.due:
        slots = (due - first) * rate
        assert abs(slots - round(slots)) < 1e-6
    assert abs(len(metronome.due) + metronome.skipped - 20 * rate) <= 2
    late = [came - due for due, came in zip(metronome.due, metronome.came, strict=True)]
    assert min(late) >= -EARLY_SECONDS - 1e-9
    assert max(late) <= every + 1e-9


def test_what_is_overdue_by_a_period_is_skipped_and_counted_not_made_up_for() -> None:
    clock = ManualClock(0.0)
    scheduler, metronome = Scheduler(clock.monotonic), Metronome(clock)
    scheduler.add(metronome)
    run(scheduler, clock, 0.2)
    before = len(metronome.due)
    clock.advance(1.0)
    scheduler.run_due(clock.monotonic())
    scheduler.run_due(clock.monotonic())
    assert len(metronome.due) == before + 1
    assert 19 <= metronome.skipped <= 20
    run(scheduler, clock, 0.5)
    assert len(metronome.due) in (before + 10, before + 11, before + 12)


def test_a_match_that_takes_all_the_time_does_not_keep_others_from_ticking() -> None:
    clock = ManualClock(0.0)
    scheduler = Scheduler(clock.monotonic)
    greedy, modest = Metronome(clock, 20, seconds_each=0.06), Metronome(clock, 20)
    scheduler.add(greedy)
    scheduler.add(modest)
    run(scheduler, clock, 6.0)
    assert greedy.skipped > 20
    assert len(modest.due) >= 0.4 * 120
    assert abs(len(modest.due) - len(greedy.due)) <= 2


def test_matches_that_begin_together_do_not_tick_together() -> None:
    clock = ManualClock(0.0)
    scheduler = Scheduler(clock.monotonic)
    several = [Metronome(clock) for _ in range(100)]
    for metronome in several:
        scheduler.add(metronome)
    run(scheduler, clock, 0.05, 0.0001)
    firsts = sorted(metronome.due[0] for metronome in several)
    gaps = [later - earlier for earlier, later in itertools.pairwise(firsts)]
    assert max(gaps) < 0.0012
    assert min(gaps) > 0.0001


def test_what_is_removed_ticks_no_more() -> None:
    clock = ManualClock(0.0)
    scheduler, metronome, other = Scheduler(clock.monotonic), Metronome(clock), Metronome(clock)
    scheduler.add(metronome)
    scheduler.add(other)
    run(scheduler, clock, 0.2)
    ticks = len(metronome.due)
    scheduler.remove(metronome)
    scheduler.remove(metronome)
    run(scheduler, clock, 0.2)
    scheduler.step()
    assert len(metronome.due) == ticks
    assert len(other.due) > ticks


async def test_time_drives_matches_once_it_is_started() -> None:
    arrived = asyncio.Event()

    class Real:
        ticks_per_second = 60
        due: list[float] = []  # noqa: RUF012 - one object only

        def tick(self, due: float) -> None:
            self.due.append(due)
            if len(self.due) == 5:
                arrived.set()

        def missed(self, ticks: int) -> None:
            """A busy machine."""

    scheduler, real = Scheduler(time.monotonic), Real()
    scheduler.add(real)
    scheduler.start()
    began = time.monotonic()
    await asyncio.wait_for(arrived.wait(), 5)
    assert time.monotonic() - began > 3.9 / 60
    assert all(later > earlier for earlier, later in zip(real.due, real.due[1:], strict=False))
    scheduler.stop()


def test_figures_tell_how_late_and_how_long_and_the_log_names_the_slowest(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock(0.0)
    pace, metrics = Pace(clock.monotonic), Metrics()
    pace.measure(metrics)
    pace.ticked("arena", "quick", 0.0004, 0.001, 0.05)
    pace.ticked("arena", "first", 0.004, 0.06, 0.05)
    for _ in range(3):
        pace.ticked("arena", "slowest", 0.004, 0.07, 0.05)
    pace.ticked("arena", "slow", 0.004, 0.08, 0.05)
    clock.advance(11)
    pace.ticked("arena", "slow", 9.0, 0.08, 0.05)
    pace.skipped("arena", 4)
    told = [line for line in capsys.readouterr().out.splitlines() if "too slow" in line]
    assert ["first" in told[0], "slowest" in told[1], "slow_ticks=3" in told[1], len(told)] == [True, True, True, 2]
    text = metrics.render().decode()
    for line in (
        'palestra_match_ticks_total{match="arena"} 7.0',
        'palestra_match_ticks_missed_total{match="arena"} 4.0',
        'palestra_match_ticks_slow_total{match="arena"} 6.0',
        'palestra_match_tick_lateness_seconds_bucket{le="0.0005"} 1.0',
        'palestra_match_tick_lateness_seconds_bucket{le="0.005"} 6.0',
        'palestra_match_tick_lateness_seconds_bucket{le="+Inf"} 7.0',
        "palestra_match_tick_seconds_count 7.0",
    ):
        assert line in text
