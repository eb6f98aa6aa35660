"""Long work on the loop, of many who ask for it at once: a slice at a time, in turns, and bounded as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from palestra.core.errors import InvalidArgument

SLICE_SECONDS = 0.004
"""How long one works before the loop may do something else."""
WHOLE_SECONDS_MAX = 0.5
"""Work of one caller, waiting not counted, after which it is refused: costs are the caller's to choose."""

A = TypeVar("A")


class TooCostly(InvalidArgument):
    """What was asked for takes too long to find out."""


class Turns:
    """Works for one caller after the other. However many there are, the loop is kept for one slice at a time."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._turn = asyncio.Lock()

    async def each(self, items: Iterable[A], work: Callable[[A], bool]) -> None:
        """Call `work` with each item until it says that this is enough. Raises TooCostly.

        At the least one item is worked on in a slice, so that is what bounds a slice if items are costly.
        """
        rest = iter(items)
        spent = 0.0
        while spent < WHOLE_SECONDS_MAX:
            async with self._turn:
                began = self._monotonic()
                until = began + SLICE_SECONDS
                for item in rest:
                    if work(item):
                        return
                    if self._monotonic() > until:
                        break
                else:
                    return
                spent += self._monotonic() - began
                # Before the next one begins, who may be about to do so in this very turn of the loop.
                await asyncio.sleep(0)
        raise TooCostly("The query takes too long: ask for less, or with fewer and simpler clauses.")
