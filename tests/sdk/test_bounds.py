"""Game code is kept within its time, however it tries to overstay, and what is its own business is left to it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from palestra.core.errors import Code
from palestra.sdk.bounds import SIGNAL, Bounds, GameCodeTooSlow

SECONDS = 0.1


@pytest.fixture
def bounds() -> Iterator[Bounds]:
    bounds = Bounds(SECONDS)
    bounds.start()
    yield bounds
    bounds.stop()


async def loops_for_ever() -> None:
    while True:
        pass


async def sleeps_in_the_thread() -> None:
    time.sleep(30)  # noqa: ASYNC251


async def waits_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


async def swallows_exceptions() -> None:
    while True:
        with contextlib.suppress(Exception):
            while True:
                pass


async def swallows_everything_twice() -> None:
    for _ in range(2):
        try:
            while True:
                pass
        except BaseException:
            continue


async def blocks_after_a_wait() -> None:
    await asyncio.sleep(0)
    time.sleep(30)  # noqa: ASYNC251


async def waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    "code",
    [
        loops_for_ever,
        sleeps_in_the_thread,
        waits_for_a_lock,
        swallows_exceptions,
        blocks_after_a_wait,
        waits_for_ever,
    ],
)
async def test_what_overstays_is_cut_off_counted_and_leaves_the_loop_usable(
    bounds: Bounds, code: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    with pytest.raises(GameCodeTooSlow) as cut:
        await bounds.run(code())
    assert (cut.value.code, bounds.cut_off) == (Code.DEADLINE_EXCEEDED, 1)
    assert await bounds.run(asyncio.sleep(0.001, "fine")) == "fine"
    assert bounds.cut_off == 1


async def test_code_that_swallows_even_the_interruption_is_interrupted_again(bounds: Bounds) -> None:
    await bounds.run(swallows_everything_twice())
    assert await bounds.run(asyncio.sleep(0, "fine")) == "fine"


async def test_code_that_needs_no_wait_is_run_without_one(bounds: Bounds) -> None:
    async def adds() -> int:
        return 1 + 1

    coroutine = bounds.run(adds())
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value == 2


async def test_exceptions_of_game_code_come_out_as_they_are(bounds: Bounds) -> None:
    async def fails(after_a_wait: bool) -> None:
        if after_a_wait:
            await asyncio.sleep(0)
        raise KeyError("mine")

    for after_a_wait in (False, True):
        with pytest.raises(KeyError):
            await bounds.run(fails(after_a_wait))


async def test_a_time_out_of_game_codes_own_is_not_ours(bounds: Bounds) -> None:
    async def gives_up() -> None:
        async with asyncio.timeout(0.001):
            await waits_for_ever()

    with pytest.raises(TimeoutError):
        await bounds.run(gives_up())
    assert bounds.cut_off == 0


async def test_a_cancelled_request_cancels_game_code_which_may_tidy_up(bounds: Bounds) -> None:
    tidied: list[str] = []
    started = asyncio.Event()

    async def tidies() -> None:
        try:
            started.set()
            await waits_for_ever()
        finally:
            await asyncio.sleep(0)
            tidied.append("yes")

    task = asyncio.create_task(bounds.run(tidies()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied == ["yes"]
    assert bounds.cut_off == 0


async def test_runs_within_runs_are_each_bounded(bounds: Bounds) -> None:
    async def outer() -> str:
        with contextlib.suppress(GameCodeTooSlow):
            await bounds.run(loops_for_ever())
        with contextlib.suppress(GameCodeTooSlow):
            await bounds.run(blocks_after_a_wait())
        return "outer goes on"

    # The outer run has its own time, of which the inner ones used up two shares.
    patient = Bounds(10)
    assert await patient.run(outer()) == "outer goes on"
    assert bounds.cut_off == 2


async def test_two_nodes_of_a_process_share_the_signal_and_give_it_back() -> None:
    before = signal.getsignal(SIGNAL)
    one, two = Bounds(SECONDS), Bounds(SECONDS)
    one.start()
    two.start()
    one.stop()
    with pytest.raises(GameCodeTooSlow):
        await two.run(sleeps_in_the_thread())
    two.stop()
    two.stop()
    assert signal.getsignal(SIGNAL) == before


def test_on_another_thread_waits_are_still_cut_off() -> None:
    found: list[object] = []

    async def work() -> None:
        bounds = Bounds(SECONDS)
        bounds.start()
        try:
            await bounds.run(waits_for_ever())
        except GameCodeTooSlow as error:
            found.append(error)
        bounds.stop()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()
    assert len(found) == 1
