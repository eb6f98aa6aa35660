"""Values in the memory of one node, bounded by number and bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, TypeVar

Value = TypeVar("Value")

SWEPT_ENTRIES = 2
"""How many of the oldest are looked at with each that is put: so they go when their time is over, and nobody waits."""
ENTRY_BYTES = 400
"""About what an entry takes beside its value."""


class _Entry(Generic[Value]):
    """A value, None when there is known to be none. `seen`: somebody asked for it since it was last passed over."""

    __slots__ = ("expires_at", "seen", "size_bytes", "value")

    def __init__(self, value: Value | None, expires_at: float, size_bytes: int) -> None:
        self.value = value
        self.expires_at = expires_at
        self.size_bytes = size_bytes
        self.seen = False


class Memory(Generic[Value]):
    """A map that forgets. When it is full the oldest go, but those that were asked for get a second round."""

    def __init__(self, size_bytes: Callable[[Value], int], *, entries_max: int, bytes_max: int) -> None:
        self._size_bytes = size_bytes
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        # An ordinary map would search for its first entry behind all that are gone.
        self._entries: OrderedDict[str, _Entry[Value]] = OrderedDict()
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def look(self, keys: Iterable[str], now: float) -> tuple[dict[str, Value], list[str]]:
        """What there is, in the order asked for, and the keys of which nothing is known."""
        found: dict[str, Value] = {}
        unknown: list[str] = []
        entries = self._entries
        for key in keys:
            entry = entries.get(key)
            if entry is None or entry.expires_at <= now:
                unknown.append(key)
            else:
                entry.seen = True
                if entry.value is not None:
                    found[key] = entry.value
        return found, unknown

    def put(self, key: str, value: Value | None, expires_at: float, now: float) -> None:
        """Keep a value, or that there is none; one that is larger than everything may be is not kept."""
        self.drop(key)
        size = ENTRY_BYTES + len(key) + (0 if value is None else self._size_bytes(value))
        if size > self._bytes_max:
            return
        self._entries[key] = _Entry(value, expires_at, size)
        self.bytes += size
        while len(self._entries) > self._entries_max or self.bytes > self._bytes_max:
            self._evict()
        for key, entry in list(islice(self._entries.items(), SWEPT_ENTRIES)):
            if entry.expires_at <= now:
                self.drop(key)

    def drop(self, key: str) -> None:
        """Forget a key."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0

    def _evict(self) -> None:
        key, entry = next(iter(self._entries.items()))
        if entry.seen:
            entry.seen = False
            self._entries.move_to_end(key)
            return
        del self._entries[key]
        self.bytes -= entry.size_bytes
        self.evictions += 1
