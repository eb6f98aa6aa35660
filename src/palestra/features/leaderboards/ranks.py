"""Ranks of one board's period, held in memory: who stands where, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

from sortedcontainers import SortedList

from palestra.features.leaderboards.kept import KeptOfPeriod
from palestra.features.leaderboards.rules import window

OWNER_BYTES = 16
_pack = Struct(">QQ16s").pack


class Window(NamedTuple):
    """Owners around one of them in the order of a board, the first of whom has rank `first`; `keys` say how they stand.

    `more_above` and `more_below`: there are others on that side.
    """

    first: int
    keys: Sequence[bytes]
    more_above: bool
    more_below: bool


def key_of(owner: bytes, score: int, subscore: int) -> bytes:
    """What places an owner in the order; it ends with the owner."""
    return _pack(score, subscore, owner)


class Ranks:
    """The order of all records of one board and period.

    Owners are the 16 bytes of their ids. Records compare by score, then subscore, then owner, as in the database: the
    three are packed into one 32-byte key, so that comparing records is comparing bytes. `set`, `remove` and `rank` take
    O(log n), a few microseconds among a million; an owner costs about 250 bytes.

    After a start, rows are streamed in by `load` while writes go on: what a write or a removal has touched is newer
    than any row, so rows never override it. Until `loaded` is called the order is incomplete and every rank unknown.
    """

    __slots__ = ("_descending", "_keys", "_order", "_touched", "kept")

    def __init__(self, *, descending: bool, loading: bool = False) -> None:
        self._descending = descending
        self._order = SortedList()
        self._keys: dict[bytes, bytes] = {}
        self._touched: set[bytes] | None = set() if loading else None
        self.kept: KeptOfPeriod | None = None
        """Records that are to be forgotten when their owners are put elsewhere, or removed."""

    @property
    def loading(self) -> bool:
        """Whether rows are still missing."""
        return self._touched is not None

    @property
    def count(self) -> int:
        """How many owners have a rank; 0 while loading."""
        return 0 if self._touched is not None else len(self._keys)

    def set(self, owner: bytes, score: int, subscore: int) -> None:
        """Put an owner where this score belongs, whatever was known of it before. Both numbers are at least 0."""
        self._touch(owner)
        self._put(owner, _pack(score, subscore, owner))

    def remove(self, owner: bytes) -> None:
        """Forget an owner; nothing happens when it has no record."""
        self._touch(owner)
        key = self._keys.pop(owner, None)
        if key is not None:
            self._order.remove(key)

    def rank(self, owner: bytes) -> int | None:
        """The owner's place, 1 for the first; None without a record or while loading."""
        key = self._keys.get(owner)
        if key is None or self._touched is not None:
            return None
        below = self._order.bisect_left(key)
        return len(self._keys) - below if self._descending else below + 1

    def around(self, owner: bytes, limit: int) -> Window | None:
        """Up to `limit` owners around one, itself included, best first; None without a record or while loading."""
        key = self._keys.get(owner)
        if key is None or self._touched is not None:
            return None
        at, size = self._order.bisect_left(key), len(self._keys)
        above = size - 1 - at if self._descending else at
        up, down = window(above, size - 1 - above, limit)
        first, last = (at - down, at + up) if self._descending else (at - up, at + down)
        keys = tuple(self._order.islice(first, last + 1, reverse=self._descending))
        return Window(above - up + 1, keys, above > up, size - 1 - above > down)

    def load(self, rows: Iterable[tuple[bytes, int, int]]) -> None:
        """Add stored rows (owner, score, subscore) but for owners that were written or removed since loading began."""
        touched = self._touched
        if touched is None:
            raise RuntimeError("ranks can be loaded only before they are complete")
        for owner, score, subscore in rows:
            if owner not in touched:
                self._put(owner, _pack(score, subscore, owner))

    def loaded(self) -> None:
        """All rows are in: from now on ranks are known."""
        self._touched = None

    def _touch(self, owner: bytes) -> None:
        if self._touched is not None:
            self._touched.add(owner)
        if self.kept is not None:
            self.kept.drop(owner)

    def _put(self, owner: bytes, key: bytes) -> None:
        old = self._keys.get(owner)
        if old == key:
            return
        if old is not None:
            self._order.remove(old)
        self._keys[owner] = key
        self._order.add(key)
