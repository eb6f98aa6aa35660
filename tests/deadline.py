"""No test waits for ever: one that hangs fails, and says where each of its tasks stood."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
from collections.abc import Generator, Iterator
from types import FrameType

import pytest

SECONDS_MAX = 240.0
"""Several times what the slowest test takes beside a busy second process."""
AGAIN_SECONDS = 30.0
"""A hanging test may swallow the failure, and so may its fixtures: they get it again. In the end pytest's own
`faulthandler_timeout` ends the process."""
_fired: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Set an alarm around the test with its fixtures; the long modes have their own ends."""
    if os.environ.get("PALESTRA_LONG"):
        return (yield)
    before = signal.signal(signal.SIGALRM, _fail)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX, AGAIN_SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """The last resort is not for the long modes either; pytest has set it by now."""
    if os.environ.get("PALESTRA_LONG"):
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The failure may have struck a task of somebody else's, who made nothing of it."""
    report = yield
    if _fired:
        if report.passed:
            report.outcome, report.longrepr = "failed", _fired[0]
        _fired.clear()
    return report


def _fail(number: int, frame: FrameType | None) -> None:
    _fired.append(f"still not at its end after {SECONDS_MAX:g} s\n{_stacks()}")
    pytest.fail(_fired[-1])


def _stacks() -> str:
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return "no event loop runs"
    return "\n".join(f"{task.get_name()}: {' > '.join(_awaits(task.get_coro()))}" for task in tasks)


def _awaits(awaited: object) -> Iterator[str]:
    """Each coroutine from the task's own down to what it waits for; `Task.print_stack` shows the first alone."""
    while awaited is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            yield repr(awaited)
            # The step of an asynchronous generator, a fixture's most of all, keeps the generator to itself.
            awaited = next((held for held in gc.get_referents(awaited) if hasattr(held, "ag_frame")), None)
            continue
        frame = getattr(awaited, f"{kind}_frame")
        yield f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})" if frame else "running"
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
