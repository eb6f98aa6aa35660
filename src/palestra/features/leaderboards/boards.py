"""Boards as a node holds them in memory: the definition, the running period and its ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from palestra.core.clock import utc
from palestra.core.cron import Schedule
from palestra.features.leaderboards.contract import Leaderboard, Operator, Sort
from palestra.features.leaderboards.ranks import Ranks
from palestra.features.leaderboards.rules import Change, Terms, change_of, next_end, period_end, window_at
from palestra.features.leaderboards.shared_ranks import SharedRanks

SharedOf = Callable[[Leaderboard, int], SharedRanks]
"""Makes the ranks of a board's period that ends then, where nodes share them."""


class Definition(msgspec.Struct, frozen=True):
    """A board as stored; with `terms` a tournament. What ended until `announced_at` (unix seconds) has been told."""

    board: Leaderboard
    terms: Terms | None
    announced_at: int


class Period:
    """One period of a board: `ends_at` in unix seconds, 0 when it never ends. Equal to any of the same board and end.

    `ranks` is None where ranks are not kept: on boards without them, and for periods of the past. Among several nodes
    they are `shared` instead.
    """

    __slots__ = ("_settled", "_writes", "board_id", "ends_at", "expires_at", "ranks", "shared")

    def __init__(self, board_id: str, ends_at: int, ranks: Ranks | None, shared: SharedRanks | None = None) -> None:
        self.board_id = board_id
        self.ends_at = ends_at
        self.expires_at = utc(ends_at)
        self.ranks = ranks
        self.shared = shared
        self._writes = 0
        self._settled: asyncio.Event | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Period) and (self.board_id, self.ends_at) == (other.board_id, other.ends_at)

    def __hash__(self) -> int:
        return hash((self.board_id, self.ends_at))

    @property
    def rank_count(self) -> int:
        """How many owners have a rank; 0 when that is unknown here."""
        return self.ranks.count if self.ranks is not None else 0

    def rank(self, owner: bytes) -> int:
        """An owner's rank; 0 when that is unknown here."""
        return (self.ranks.rank(owner) or 0) if self.ranks is not None else 0

    @contextmanager
    def written(self) -> Iterator[None]:
        """Around a write, so that nobody is told that the period is over while it is on its way."""
        self._writes += 1
        try:
            yield
        finally:
            self._writes -= 1
            if not self._writes and self._settled is not None:
                self._settled.set()

    async def settled(self) -> None:
        """Wait until no write is on its way; for periods and windows that take no new ones."""
        if self._writes:
            if self._settled is None:
                self._settled = asyncio.Event()
            await self._settled.wait()


class Board:
    """A board with the period that runs now. `stored` says whether it may have records that the ranks do not know.

    With `shared_of` the ranks are those that nodes share.
    """

    __slots__ = (
        "_before",
        "_changes",
        "_current",
        "_shared_of",
        "definition",
        "descending",
        "next_end",
        "schedule",
        "terms",
    )

    def __init__(self, definition: Definition, now: float, *, stored: bool, shared_of: SharedOf | None = None) -> None:
        self.definition = definition.board
        self.terms = definition.terms
        self.descending = self.definition.sort is Sort.DESCENDING
        self.schedule = Schedule.parse(self.definition.reset) if self.definition.reset else None
        self._changes = {operator: change_of(self.definition.sort, operator) for operator in Operator}
        self._shared_of = shared_of
        self._before: Period | None = None
        self._current = self._period(self._end(now), loading=stored)
        self.announced_until(definition.announced_at)

    def change(self, operator: Operator) -> Change:
        """What an operator does to a number on this board."""
        return self._changes[operator]

    def current(self, now: float) -> Period:
        """The running period. When the one before is over, a new one begins, empty; a tournament's last one stays."""
        period = self._current
        if period.ends_at and now >= period.ends_at and (ends_at := self._end(now)) != period.ends_at:
            self._before = period
            period = self._current = self._period(ends_at, loading=False)
        return period

    def period(self, expiry: int, now: float) -> Period:
        """The period that ends at `expiry` (unix seconds); 0 stands for the running one."""
        current = self.current(now)
        return current if expiry in (0, current.ends_at) else Period(self.definition.id, expiry, None)

    def announced_until(self, moment: int) -> None:
        """What ended until this moment has been told: `next_end` is when the next period or window does, or None."""
        self.next_end = next_end(self.terms, self.schedule, moment)

    async def settled(self, now: float) -> None:
        """Wait for the writes that are on their way to what has ended until now."""
        current = self.current(now)
        if self._before is not None:
            await self._before.settled()
            self._before = None
        if self.terms is not None and window_at(self.terms, self.schedule, now).closed(now):
            await current.settled()

    def new_ranks(self, *, loading: bool) -> Ranks | None:
        """Empty ranks for a period, None when the board has none, or none of this node's own."""
        if self._shared_of is not None or not self.definition.enable_ranks:
            return None
        return Ranks(descending=self.descending, loading=loading)

    def _end(self, now: float) -> int:
        if self.terms is not None:
            return window_at(self.terms, self.schedule, now).expires_at
        return period_end(self.schedule, now)

    def _period(self, ends_at: int, *, loading: bool) -> Period:
        if self._shared_of is not None and self.definition.enable_ranks:
            return Period(self.definition.id, ends_at, None, self._shared_of(self.definition, ends_at))
        return Period(self.definition.id, ends_at, self.new_ranks(loading=loading))
