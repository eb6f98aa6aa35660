"""Whatever is submitted, in whatever pattern, a keyed batch gives the results of one serial order."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from palestra.database.batch import Batch

MODULUS = 1_000_003


class Line:
    """A connection that never breaks."""

    def is_closed(self) -> bool:
        return False

    def is_in_transaction(self) -> bool:
        return False

    async def close(self, timeout: float) -> None:
        return


class Lines:
    """A database of such connections."""

    async def connect(self) -> Line:
        return Line()


class Store:
    """Registers behind a statement that reads all its rows first and writes them later, so overlaps lose updates."""

    def __init__(self, ticks: list[int]) -> None:
        self.registers: dict[str, int] = {}
        self.ticks = ticks

    async def execute(self, connection: Any, items: list[Step]) -> list[int]:
        if any(amount < 0 for _, amount, _ in items):
            raise asyncpg.CheckViolationError("negative")
        read = [self.registers.get(key, 1) for key, _, _ in items]
        for _ in range(self.ticks.pop() if self.ticks else 0):
            await asyncio.sleep(0)
        results = [after(value, amount) for value, (_, amount, _) in zip(read, items, strict=True)]
        for (key, _, _), result in zip(items, results, strict=True):
            self.registers[key] = result
        return results


# A register's name, an amount (negative: PostgreSQL would refuse it), and how long after it the next one is submitted.
Step = tuple[str, int, int]
steps = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-1, 9), st.integers(0, 3)), max_size=40)


def after(value: int, amount: int) -> int:
    """A step that shows in which order it was taken."""
    return (value * 31 + amount) % MODULUS


@settings(max_examples=200, deadline=None)
@given(
    items=steps,
    ticks=st.lists(st.integers(0, 5), max_size=30),
    rows_max=st.integers(1, 6),
    lanes=st.integers(1, 3),
    left=st.sets(st.integers(0, 39), max_size=4),
)
def test_results_equal_those_of_the_order_of_submission(
    items: list[Step], ticks: list[int], rows_max: int, lanes: int, left: set[int]
) -> None:
    store = Store(ticks)

    async def play() -> list[int | BaseException]:
        batch: Batch[Step, int] = Batch(
            "test",
            Lines(),  # type: ignore[arg-type]
            store.execute,
            key=lambda item: item[0],
            rows_max=rows_max,
            lanes=lanes,
        )
        futures = []
        for number, item in enumerate(items):
            futures.append(batch.submit(item))
            if number in left:
                futures[-1].cancel()
            for _ in range(item[2]):
                await asyncio.sleep(0)
        await batch.stop()
        assert batch.depth == 0
        return await asyncio.gather(*futures, return_exceptions=True)

    model: dict[str, int] = {}
    for number, ((key, amount, _), result) in enumerate(zip(items, asyncio.run(play()), strict=True)):
        if number in left:
            assert isinstance(result, asyncio.CancelledError)
        elif amount < 0:
            assert isinstance(result, asyncpg.CheckViolationError)
        else:
            model[key] = after(model.get(key, 1), amount)
            assert result == model[key]
    assert store.registers == model
