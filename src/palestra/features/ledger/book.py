"""The accounts that this node knows, as far as their last known or expected state: what decisions are made upon.

The database has the last word: whatever is decided here is written only if the state it was decided upon is still that
of the database. So a row may be ahead of the database while its round is in flight, and it may be outdated; it is
forgotten when a round that touched it fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from palestra.features.ledger.contract import ID_TICKS_PER_MICROSECOND, Line

STRIPES = 16
"""Rows of balance of a hot account. Writers of different rows never wait for each other."""
ROWS_MAX = 100_000


class Row:
    """One row of balance with what never changes of its account."""

    __slots__ = (
        "account",
        "asset",
        "balance",
        "closed",
        "held",
        "key",
        "last",
        "may_go_negative",
        "player_id",
        "stripe",
        "version",
    )

    def __init__(
        self,
        account: int,
        stripe: int,
        asset: str,
        player_id: str | None,
        may_go_negative: bool,
        closed: bool,
        balance: int,
        held: int,
        version: int,
        last: int,
    ) -> None:
        self.key = row_key(account, stripe)
        self.account = account
        self.stripe = stripe
        self.asset = asset
        self.player_id = player_id
        self.may_go_negative = may_go_negative
        self.closed = closed
        self.balance = balance
        self.held = held
        self.version = version
        self.last = last


class HoldRow:
    """A hold: accounts, amount, unix second of its end, and 0 while it is open, else the step that ended it."""

    __slots__ = ("amount", "credit", "debit", "expires_at", "id", "measure", "status")

    def __init__(
        self, hold_id: int, debit: int, credit: int, amount: int, expires_at: int, measure: int, status: int
    ) -> None:
        self.id = hold_id
        self.debit = debit
        self.credit = credit
        self.amount = amount
        self.expires_at = expires_at
        self.measure = measure
        self.status = status


class GuardRow:
    """The guard's state for a player."""

    __slots__ = ("player_id", "state", "version")

    def __init__(self, player_id: str, state: str | None, version: int) -> None:
        self.player_id = player_id
        self.state = state
        self.version = version


def row_key(account: int, stripe: int) -> int:
    """One number for a row of balance: ordinary accounts have one row, and ids above zero."""
    return account if account > 0 else account * STRIPES - stripe


class Missing(NamedTuple):
    """What a round needs and the book does not have: keys of rows, hold ids, player ids."""

    rows: set[int]
    holds: set[int]
    guards: set[str]

    def __bool__(self) -> bool:
        return bool(self.rows or self.holds or self.guards)


class Book:
    """Known rows by their keys, holds and guards, each bounded by `rows_max`; what is dropped is read again."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self.rows: dict[int, Row] = {}
        self.holds: dict[int, HoldRow] = {}
        self.guards: dict[str, GuardRow] = {}
        self._rows_max = rows_max

    def learn(self, rows: Iterable[Row], holds: Iterable[HoldRow], guards: Iterable[GuardRow]) -> None:
        """Take in what was read. What is known already stays: it may be ahead of what was read."""
        for row in rows:
            self.rows.setdefault(row.key, row)
        for hold in holds:
            self.holds.setdefault(hold.id, hold)
        for guard in guards:
            self.guards.setdefault(guard.player_id, guard)
        for known in (self.rows, self.holds, self.guards):
            _shorten(known, self._rows_max)

    def forget(self, rows: Iterable[Row], holds: Iterable[HoldRow], guards: Iterable[GuardRow]) -> None:
        """Drop what a failed round touched, unless it was read anew meanwhile."""
        for row in rows:
            if self.rows.get(row.key) is row:
                del self.rows[row.key]
        for hold in holds:
            if self.holds.get(hold.id) is hold:
                del self.holds[hold.id]
        for guard in guards:
            if self.guards.get(guard.player_id) is guard:
                del self.guards[guard.player_id]

    def drop(self, accounts: Iterable[int], holds: Iterable[int] = (), players: Iterable[str] = ()) -> None:
        """Forget what was written by another way than a round upon this book."""
        for account in accounts:
            for stripe in range(STRIPES if account < 0 else 1):
                self.rows.pop(row_key(account, stripe), None)
        for hold_id in holds:
            self.holds.pop(hold_id, None)
        for player_id in players:
            self.guards.pop(player_id, None)


def _shorten(known: dict[Any, Any], length_max: int) -> None:
    """Drop the tenth that was learnt first: dictionaries keep their order."""
    if len(known) > length_max:
        for key in list(known)[: length_max // 10]:
            del known[key]


class LineIds:
    """Gives ids to lines: they follow the clock, never repeat, and never fall behind a line they must come after."""

    def __init__(self, node_number: int) -> None:
        self._own = node_number % ID_TICKS_PER_MICROSECOND
        self._latest = 0

    def round_at(self, now: float) -> None:
        """A round begins at this unix time."""
        tick = Line.id_at(now) // ID_TICKS_PER_MICROSECOND
        if tick > self._latest:
            self._latest = tick

    def after(self, line_id: int) -> int:
        """The next id, later than all given out and than `line_id`."""
        floor = line_id // ID_TICKS_PER_MICROSECOND
        self._latest = (self._latest if self._latest >= floor else floor) + 1
        return self._latest * ID_TICKS_PER_MICROSECOND + self._own
