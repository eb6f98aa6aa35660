"""The small parts everything stands on: ids, clocks, tasks, events, metrics, errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import uuid
from datetime import UTC, datetime

import msgspec
import pytest

from palestra.core.clock import ManualClock, timestamp
from palestra.core.errors import Code, GameError
from palestra.core.events import EventBus
from palestra.core.ids import new_id, parse_id
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks


def test_ids_are_random_uuids_that_threads_and_children_never_share() -> None:
    found: list[str] = []

    def make() -> None:
        found.extend([new_id() for _ in range(2_000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8_000
    for text in found[:300]:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    ours = {new_id() for _ in range(300)}
    assert os.read(read, 100).decode() not in ours
    os.close(read)
    os.close(write)


def test_an_id_is_read_in_every_spelling_and_nothing_else_is() -> None:
    text = "0123abcd-4567-89ab-cdef-0123456789ab"
    bare = text.replace("-", "")
    for spelling in (text, text.upper(), bare, bare.upper(), f"{{{text}}}", f"urn:uuid:{text}", f"URN:UUID:{text}"):
        assert parse_id(spelling) == text
    for wrong in ("", text[:-1], text + "a", text + "\n", f"{{{text}", f"{text}}}", "g" * 32, text.replace("-", "_")):
        with pytest.raises(ValueError, match="not a UUID"):
            parse_id(wrong)


def test_times_are_written_in_whole_seconds_or_with_the_fraction_they_have() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 123_456, UTC)
    assert msgspec.json.encode(timestamp(when)) == b'"2026-01-02T03:04:05Z"'
    assert msgspec.json.encode(timestamp(when, fraction=True)) == b'"2026-01-02T03:04:05.123456Z"'
    assert msgspec.json.encode(timestamp(when.replace(microsecond=0), fraction=True)) == b'"2026-01-02T03:04:05Z"'


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(1_000)
    before = clock.now(), clock.monotonic()
    assert (clock.now(), clock.monotonic()) == before
    clock.advance(60)
    assert (clock.now(), clock.monotonic()) == (before[0] + 60, before[1] + 60)


async def test_a_failing_task_is_logged_by_name_and_others_go_on_until_all_are_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = Tasks()
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("tidy")

    async def fails() -> None:
        raise KeyError("a bug")

    waiting = tasks.spawn(waits(), "patient")
    failing = tasks.spawn(fails(), "clumsy")
    await asyncio.wait([failing])
    await asyncio.sleep(0)
    assert not waiting.done()
    assert "clumsy" in (log := capsys.readouterr().out) and "KeyError: 'a bug'" in log
    await tasks.stop()
    assert waiting.cancelled() and ended == ["tidy"]


async def test_a_task_that_keeps_a_cancellation_to_itself_is_stopped_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("palestra.core.tasks.AGAIN_SECONDS", 0.01)
    tasks, swallowed = Tasks(), 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    task = tasks.spawn(deaf(), "deaf")
    await asyncio.sleep(0)
    await tasks.stop()
    assert task.cancelled() and swallowed == 2


async def test_a_task_that_never_ends_is_told_and_does_not_hold_up_the_end_of_all_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("palestra.core.tasks.AGAIN_SECONDS", 0.01)
    tasks, free = Tasks(), asyncio.Event()

    async def deaf() -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    task = tasks.spawn(deaf(), "stone deaf")
    await asyncio.sleep(0)
    await tasks.stop()
    assert "stone deaf" in capsys.readouterr().out
    free.set()
    await task


async def test_subscribers_hear_their_own_type_in_order_and_one_that_fails_fails_the_publication() -> None:
    bus = EventBus()
    heard: list[object] = []

    async def hears(event: object) -> None:
        heard.append(event)

    async def fails(event: object) -> None:
        raise KeyError(event)

    bus.subscribe(str, hears)
    bus.subscribe(int, hears)
    bus.subscribe(int, fails)
    bus.subscribe(int, hears)
    await bus.publish("text")
    await bus.publish(1.5)
    with pytest.raises(KeyError):
        await bus.publish(7)
    assert heard == ["text", 7]


def test_metrics_are_read_when_they_are_asked_for() -> None:
    metrics = Metrics()
    counts = {"ok": 1}
    metrics.counter("calls", "Calls", ("outcome",), lambda: [((name,), count) for name, count in counts.items()])
    metrics.gauge("open", "Open", (), lambda: [((), 3)])
    assert b'calls_total{outcome="ok"} 1.0' in metrics.render()
    counts["ok"] = 2
    shown = metrics.render()
    assert b'calls_total{outcome="ok"} 2.0' in shown and b"\nopen 3.0" in shown


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        (3, Code.INVALID_ARGUMENT),
        ("not_found", Code.NOT_FOUND),
        ("NOT_FOUND", Code.NOT_FOUND),
        (0, Code.INTERNAL),
        (17, Code.INTERNAL),
        (-1, Code.INTERNAL),
        ("nonsense", Code.INTERNAL),
    ],
)
def test_a_game_error_has_a_known_code_or_counts_as_internal(code: int | str, meant: Code) -> None:
    assert GameError("text", code).code is meant
