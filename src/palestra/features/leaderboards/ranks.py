"""Ranks of one board's period, held in memory: who stands where, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from sortedcontainers import SortedList

_pack = Struct(">QQ16s").pack


class Ranks:
    """The order of all records of one board and period.

    Owners are the 16 bytes of their ids. Records compare by score, then subscore, then owner, as in the database: the
    three are packed into one 32-byte key, so that comparing records is comparing bytes. `set`, `remove` and `rank` take
    O(log n), a few microseconds among a million; an owner costs about 250 bytes.

    After a start, rows are streamed in by `load` while writes go on: what a write or a removal has touched is newer
    than any row, so rows never override it. Until `loaded` is called the order is incomplete and every rank unknown.
    """

    __slots__ = ("_descending", "_keys", "_order", "_touched")

    def __init__(self, *, descending: bool, loading: bool = False) -> None:
        self._descending = descending
        self._order = SortedList()
        self._keys: dict[bytes, bytes] = {}
        self._touched: set[bytes] | None = set() if loading else None

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
        if self._touched is not None:
            self._touched.add(owner)
        self._put(owner, _pack(score, subscore, owner))

    def remove(self, owner: bytes) -> None:
        """Forget an owner; nothing happens when it has no record."""
        if self._touched is not None:
            self._touched.add(owner)
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

    def _put(self, owner: bytes, key: bytes) -> None:
        old = self._keys.get(owner)
        if old == key:
            return
        if old is not None:
            self._order.remove(old)
        self._keys[owner] = key
        self._order.add(key)
