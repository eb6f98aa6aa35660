"""Boards as a node holds them in memory: the definition, the running period and its ranks."""

from __future__ import annotations

from palestra.core.clock import utc
from palestra.core.cron import Schedule
from palestra.features.leaderboards.contract import Leaderboard, Operator, Sort
from palestra.features.leaderboards.ranks import Ranks
from palestra.features.leaderboards.rules import Change, change_of, period_end


class Period:
    """One period of a board: `ends_at` in unix seconds, 0 when it never ends. Equal to any of the same board and end.

    `ranks` is None where ranks are not kept: on boards without them, and for periods of the past.
    """

    __slots__ = ("board_id", "ends_at", "expires_at", "ranks")

    def __init__(self, board_id: str, ends_at: int, ranks: Ranks | None) -> None:
        self.board_id = board_id
        self.ends_at = ends_at
        self.expires_at = utc(ends_at)
        self.ranks = ranks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Period) and (self.board_id, self.ends_at) == (other.board_id, other.ends_at)

    def __hash__(self) -> int:
        return hash((self.board_id, self.ends_at))

    @property
    def rank_count(self) -> int:
        """How many owners have a rank; 0 when that is unknown."""
        return self.ranks.count if self.ranks is not None else 0

    def rank(self, owner: bytes) -> int:
        """An owner's rank; 0 when that is unknown."""
        return (self.ranks.rank(owner) or 0) if self.ranks is not None else 0


class Board:
    """A board with the period that runs now. `stored` says whether it may have records that the ranks do not know."""

    __slots__ = ("_changes", "_current", "_ended", "_schedule", "definition", "descending")

    def __init__(self, definition: Leaderboard, now: float, *, stored: bool) -> None:
        self.definition = definition
        self.descending = definition.sort is Sort.DESCENDING
        self._schedule = Schedule.parse(definition.reset) if definition.reset else None
        self._changes = {operator: change_of(definition.sort, operator) for operator in Operator}
        self._ended: list[int] = []
        self._current = self._period(now, loading=stored)

    def change(self, operator: Operator) -> Change:
        """What an operator does to a number on this board."""
        return self._changes[operator]

    def current(self, now: float) -> Period:
        """The running period. When the one before is over, a new one begins, empty."""
        period = self._current
        if period.ends_at and now >= period.ends_at:
            self._ended.append(period.ends_at)
            period = self._current = self._period(now, loading=False)
        return period

    def period(self, expiry: int, now: float) -> Period:
        """The period that ends at `expiry` (unix seconds); 0 stands for the running one."""
        current = self.current(now)
        return current if expiry in (0, current.ends_at) else Period(self.definition.id, expiry, None)

    def take_ended(self) -> list[int]:
        """The ends of the periods that have ended since this was last asked."""
        ended, self._ended = self._ended, []
        return ended

    def new_ranks(self, *, loading: bool) -> Ranks | None:
        """Empty ranks for a period, None when the board has none."""
        return Ranks(descending=self.descending, loading=loading) if self.definition.enable_ranks else None

    def _period(self, now: float, *, loading: bool) -> Period:
        return Period(self.definition.id, period_end(self._schedule, now), self.new_ranks(loading=loading))
