"""Values in the memory of one node, bounded by number and bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from itertools import islice
from typing import Generic, TypeVar

Value = TypeVar("Value")
Key = TypeVar("Key", bound=Hashable)

SWEPT_ENTRIES = 2
"""How many of the oldest are looked at with each that is put: so they go when their time is over, and nobody waits."""
ENTRY_BYTES = 440
"""About what an entry takes beside its value, its key among it."""


class _Entry(Generic[Value]):
    """A value, None when there is known to be none, while it is `kept`.

    `seen`: somebody asked for it since it was last passed over.
    """

    __slots__ = ("expires_at", "kept", "seen", "size_bytes", "value")

    def __init__(self, value: Value | None, expires_at: float, size_bytes: int) -> None:
        self.value = value
        self.expires_at = expires_at
        self.size_bytes = size_bytes
        self.seen = False
        self.kept = True


class Held(Generic[Value]):
    """Some entries, and whether they are still what is kept: far cheaper than to look for each of them again."""

    __slots__ = ("_entries", "_monotonic")

    def __init__(self, entries: list[_Entry[Value]], monotonic: Callable[[], float]) -> None:
        self._entries = entries
        self._monotonic = monotonic

    @property
    def values(self) -> list[Value]:
        """What there is, in the order asked for."""
        return [entry.value for entry in self._entries if entry.value is not None]

    def unchanged(self) -> bool:
        """Whether whoever looks now would find the same."""
        now = self._monotonic()
        for entry in self._entries:
            if not entry.kept or entry.expires_at <= now:
                return False
            entry.seen = True
        return True


class Memory(Generic[Key, Value]):
    """A map that forgets. When it is full the oldest go, but those that were asked for get a second round."""

    def __init__(self, size_bytes: Callable[[Value], int], *, entries_max: int, bytes_max: int) -> None:
        self._size_bytes = size_bytes
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        # An ordinary map would search for its first entry behind all that are gone.
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def look(self, keys: Iterable[Key], now: float) -> tuple[dict[Key, Value], list[Key]]:
        """What there is, in the order asked for, and the keys of which nothing is known."""
        found: dict[Key, Value] = {}
        unknown: list[Key] = []
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

    def hold(self, keys: Iterable[Key], monotonic: Callable[[], float]) -> Held[Value] | None:
        """The entries of some keys; None if nothing is known of one of them."""
        entries, now = [], monotonic()
        for key in keys:
            entry = self._entries.get(key)
            if entry is None or entry.expires_at <= now:
                return None
            entries.append(entry)
        return Held(entries, monotonic)

    def renew(self, key: Key) -> None:
        """Whoever holds the entry of a key is to look again; the value stays."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.kept = False
            self._entries[key] = _Entry(entry.value, entry.expires_at, entry.size_bytes)

    def put(self, key: Key, value: Value | None, expires_at: float, now: float) -> None:
        """Keep a value, or that there is none; one that is larger than everything may be is not kept."""
        self.drop(key)
        size = ENTRY_BYTES + (0 if value is None else self._size_bytes(value))
        if size > self._bytes_max:
            return
        self._entries[key] = _Entry(value, expires_at, size)
        self.bytes += size
        while len(self._entries) > self._entries_max or self.bytes > self._bytes_max:
            self._evict()
        for key, entry in list(islice(self._entries.items(), SWEPT_ENTRIES)):
            if entry.expires_at <= now:
                self.drop(key)

    def drop(self, key: Key) -> None:
        """Forget a key."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.kept = False
            self.bytes -= entry.size_bytes

    def clear(self) -> None:
        """Forget everything."""
        for entry in self._entries.values():
            entry.kept = False
        self._entries.clear()
        self.bytes = 0

    def _evict(self) -> None:
        key, entry = next(iter(self._entries.items()))
        if entry.seen:
            entry.seen = False
            self._entries.move_to_end(key)
            return
        entry.kept = False
        del self._entries[key]
        self.bytes -= entry.size_bytes
        self.evictions += 1
