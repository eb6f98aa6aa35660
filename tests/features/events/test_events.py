"""The queue of client events: bounded, in order, and never in the way of those who report."""

from __future__ import annotations

import asyncio

import pytest

from palestra.core.clock import ManualClock
from palestra.core.tasks import Tasks
from palestra.features.events import service as events_module
from palestra.features.events.contract import ClientEvent, SessionEvent
from palestra.features.events.service import EventService
from tests.features.listener import Listener


async def test_without_a_handler_events_are_counted_and_dropped() -> None:
    events = EventService(ManualClock(), Tasks(), 10)
    events.send("nobody listens")
    assert (events.sent, events.dropped) == (1, 1)


async def test_a_full_queue_drops_and_counts_what_comes_and_keeps_the_order_of_the_rest() -> None:
    tasks, gate = Tasks(), asyncio.Event()
    events = EventService(ManualClock(5.0), tasks, 3)
    seen: list[str] = []

    async def slow(event: ClientEvent) -> None:
        await gate.wait()
        seen.append(event.name)
        assert event.timestamp.timestamp() == 5.0

    async def fails(event: ClientEvent) -> None:
        raise KeyError("a bug")

    events.handlers = [fails, slow]
    events.send("0")
    await asyncio.sleep(0)
    for number in range(1, 6):
        events.send(str(number))
    assert (events.sent, events.dropped) == (6, 2)
    gate.set()
    async with asyncio.timeout(5):
        while len(seen) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert seen == ["0", "1", "2", "3"]
    events.send("later")
    async with asyncio.timeout(5):
        while len(seen) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await tasks.stop()


async def test_large_events_fill_the_queue_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "QUEUE_CHARS_MAX", 1_000)
    tasks, gate = Tasks(), asyncio.Event()
    events = EventService(ManualClock(), tasks, 1_000)
    seen: list[str] = []

    async def slow(event: ClientEvent) -> None:
        await gate.wait()
        seen.append(event.name)

    events.handlers = [slow]
    for _ in range(10):
        events.send("big", {"text": "x" * 393})
    assert events.dropped == 8
    gate.set()
    async with asyncio.timeout(5):
        while len(seen) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    events.send("big", {"text": "x" * 393})
    assert events.dropped == 8
    await tasks.stop()


async def test_starts_and_ends_of_sessions_share_the_queue_and_cost_nothing_where_nobody_wants_them() -> None:
    tasks, gate = Tasks(), asyncio.Event()
    events = EventService(ManualClock(5.0), tasks, 2)
    ann = Listener("ann")
    events.session_started(ann)
    assert (events.sent, events.dropped) == (0, 0)
    seen: list[tuple[str, str, str, dict[str, str]]] = []

    async def slow(event: SessionEvent) -> None:
        await gate.wait()
        seen.append((event.name, event.session_id, event.caller.username, event.properties))

    events.session_handlers = [slow]
    events.session_started(ann)
    await asyncio.sleep(0)
    events.session_ended(ann, "why not")
    events.session_started(ann)
    events.session_ended(ann, "too much")
    assert (events.sent, events.dropped) == (4, 1)
    gate.set()
    async with asyncio.timeout(5):
        while len(seen) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert seen[:2] == [
        ("session_start", ann.id, "ann", {}),
        ("session_end", ann.id, "ann", {"reason": "why not"}),
    ]
    await tasks.stop()
