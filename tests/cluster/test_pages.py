"""Pages that are kept until their subject changes, and the beginnings of lists."""

from __future__ import annotations

import asyncio

import pytest

from palestra.cluster import pages as pages_module
from palestra.cluster.beginnings import KEPT_ROWS_MAX, Beginning
from palestra.cluster.bus import Bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.cluster.cache import Caches, Terms
from palestra.cluster.caches.memory import Memory
from palestra.cluster.pages import LOAD_SECONDS_MAX, Pages
from palestra.core.clock import ManualClock
from palestra.core.config import CacheSettings
from palestra.core.errors import InvalidArgument
from palestra.core.tasks import Tasks

TERMS = Terms(seconds=60, absent_seconds=5, entries_max=1_000, bytes_max=1_000_000)


class Book:
    """Makes pages, and counts how often."""

    def __init__(self) -> None:
        self.made = 0
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def load(self, subject: str, limit: int) -> str:
        """A page, when `open` is set, as of when it was asked for."""
        if limit < 1:
            raise InvalidArgument("no such page")
        self.made += 1
        text = f"{subject} {limit} {self.made}"
        self.asked.set()
        await self.open.wait()
        return text


def alone(book: Book, clock: ManualClock | None = None) -> Pages[str]:
    """Pages on a node without others."""
    caches = Caches(Tasks(), CacheSettings(), monotonic=(clock or ManualClock()).monotonic)
    return Pages("book", caches, book.load, 100, TERMS)


async def test_a_page_is_made_once_until_its_subject_changes() -> None:
    book = Book()
    pages = alone(book)

    async def read(subject: str, limit: int = 10) -> str:
        return await pages.page(subject, subject, limit)

    assert await read("cats") == await read("cats") == "cats 10 1"
    assert await read("cats", 20) == "cats 20 2"
    assert await read("dogs") == "dogs 10 3"
    pages.invalidate(["cats"])
    assert (await read("cats"), await read("cats", 20)) == ("cats 10 4", "cats 20 5")
    assert await read("cats") == "cats 10 4"
    assert await read("dogs") == "dogs 10 3"
    pages.invalidate_all()
    assert await read("dogs") == "dogs 10 6"


async def test_a_page_that_was_being_made_when_its_subject_changed_is_not_kept() -> None:
    book = Book()
    pages = alone(book)
    opened, book.open = book.open, asyncio.Event()
    slow = asyncio.ensure_future(pages.page("cats", "cats", 10))
    await book.asked.wait()
    held, book.open = book.open, opened
    pages.invalidate(["cats"])
    held.set()
    # It came before the change was told, or sees the new page.
    assert await slow in ("cats 10 1", "cats 10 2")
    assert await pages.page("cats", "cats", 10) == "cats 10 2"


async def test_what_is_refused_is_refused_alone_and_not_kept() -> None:
    book = Book()
    pages = alone(book)
    outcomes = await asyncio.gather(
        pages.page("cats", "cats", 10), pages.page("cats", "cats", 0), return_exceptions=True
    )
    assert outcomes[0] == "cats 10 1"
    assert isinstance(outcomes[1], InvalidArgument)
    with pytest.raises(InvalidArgument):
        await pages.page("cats", "cats", 0)


async def test_changes_are_remembered_as_long_as_pages_may_live_and_no_more_of_them_than_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, book = ManualClock(), Book()
    pages = alone(book, clock)
    for number in range(10):
        pages.invalidate([f"subject-{number}"])
    assert len(pages._changed) == 10
    clock.advance(TERMS.seconds + LOAD_SECONDS_MAX + 1)
    pages.invalidate(["another"])
    assert list(pages._changed) == ["another"]
    monkeypatch.setattr(pages_module, "SUBJECTS_MAX", 5)
    assert await pages.page("cats", "cats", 10) == "cats 10 1"
    for number in range(6):
        pages.invalidate([f"subject-{number}"])
    assert len(pages._changed) <= 5
    assert await pages.page("cats", "cats", 10) == "cats 10 2"


async def test_other_nodes_hear_which_subjects_change() -> None:
    tasks, broker, book = Tasks(), LocalBroker(), Book()
    nodes: list[tuple[Bus, Pages[str]]] = []
    for name in "ab":
        bus = Bus(name, 1, LocalTransport(broker), tasks)
        nodes.append((bus, Pages("book", Caches(tasks, CacheSettings(), bus=bus), book.load, 100, TERMS)))
        await bus.start()
    (_, here), (_, there) = nodes
    assert await there.page("cats", "cats", 10) == "cats 10 1"
    assert await there.page("dogs", "dogs", 10) == "dogs 10 2"
    here.invalidate(["cats"])
    for _ in range(5):
        await asyncio.sleep(0)
    assert await there.page("cats", "cats", 10) == "cats 10 3"
    assert await there.page("dogs", "dogs", 10) == "dogs 10 2"
    for bus, _ in nodes:
        await bus.stop()


async def test_the_beginning_of_a_list_answers_what_it_knows() -> None:
    short: Beginning[int] = Beginning(list(range(10)))
    assert short.first(3) == [0, 1, 2]
    assert short.first(1_000) == list(range(10))
    assert short.first(2, lambda row: row > 5) == [6, 7]
    long: Beginning[int] = Beginning(list(range(KEPT_ROWS_MAX)))
    assert long.first(KEPT_ROWS_MAX) == list(range(KEPT_ROWS_MAX))
    assert long.first(KEPT_ROWS_MAX + 1) is None
    assert long.first(2, lambda row: row > 5) is None


async def test_a_page_is_kept_for_its_question_until_what_it_was_made_of_changes() -> None:
    memory: Memory[str, str] = Memory(len, entries_max=10, bytes_max=10_000)
    memory.put("ann", "Ann", 10, 0)
    held = memory.hold(["ann"], lambda: 0.0)
    assert held is not None
    kept: Beginning[int] = Beginning([1])
    assert kept.page((10, None)) is None
    kept.keep((10, None), "the page", held)
    assert (kept.page((10, None)), kept.page((11, None))) == ("the page", None)
    memory.put("ann", "Ann, renamed", 10, 0)
    assert kept.page((10, None)) is None
