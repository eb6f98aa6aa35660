"""Long work of many at once: in turns, in slices, within bounds."""

from __future__ import annotations

import asyncio

import pytest

from palestra.core.clock import ManualClock
from palestra.core.turns import SLICE_SECONDS, WHOLE_SECONDS_MAX, TooCostly, Turns


class Work:
    """Takes its time for each item, and notes whose they were."""

    def __init__(self, seconds: float) -> None:
        self.clock = ManualClock()
        self.turns = Turns(self.clock.monotonic)
        self.done: list[str] = []
        self._seconds = seconds

    def note(self, item: str) -> bool:
        self.clock.advance(self._seconds)
        self.done.append(item)
        return item == "enough"


async def test_who_asks_together_works_in_turns_and_others_come_between() -> None:
    work = Work(SLICE_SECONDS * 0.6)

    async def other() -> None:
        for _ in range(3):
            work.done.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(work.turns.each("aaaa", work.note), work.turns.each("bbbb", work.note), other())
    assert work.done.count("a") == work.done.count("b") == 4
    assert [one for one in work.done if one != "other"] == list("aabbaabb")
    assert "other" in work.done[1:6]


async def test_work_ends_with_the_first_that_is_enough() -> None:
    work = Work(0)
    await work.turns.each(["first", "enough", "more"], work.note)
    assert work.done == ["first", "enough"]


async def test_work_without_end_is_refused_and_the_next_one_is_not() -> None:
    work = Work(WHOLE_SECONDS_MAX / 8)
    with pytest.raises(TooCostly, match="takes too long"):
        await work.turns.each(["much"] * 1_000, work.note)
    assert len(work.done) == 8
    await work.turns.each(["little"], work.note)
