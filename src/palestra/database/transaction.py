"""Connections on which something can wait for the end of a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg


class Connection(asyncpg.Connection):
    """A connection of the driver that keeps what is to happen when its transaction has ended."""

    __slots__ = ("at_end",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.at_end: list[Callable[[], None]] = []


def at_end(tx: Any, callback: Callable[[], None]) -> None:
    """Call back once the transaction that `tx` is in has ended, whichever way: committed, rolled back, or unknown."""
    tx.at_end.append(callback)


@contextmanager
def ending(connection: Any) -> Iterator[None]:
    """The time of one transaction; what waits for its end is called when the block ends."""
    # Held on to: a connection that is lost is taken out of its wrapper.
    waiting: list[Callable[[], None]] = connection.at_end
    try:
        yield
    finally:
        called = list(waiting)
        waiting.clear()
        for callback in called:
            callback()


@asynccontextmanager
async def transaction(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction on a connection of one's own, as batches have it."""
    with ending(connection):
        async with connection.transaction():
            yield
