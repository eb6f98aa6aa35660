"""Records that were read of late, kept so that showing them again costs no query: on nodes that write alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from time import monotonic

from palestra.cluster.cache import Terms
from palestra.cluster.caches.memory import Memory
from palestra.features.leaderboards.contract import LeaderboardRecord

Read = Callable[[list[bytes]], Awaitable[Iterable[tuple[bytes, LeaderboardRecord]]]]
"""Reads the records of some owners."""
RECORD_BYTES = 700
"""About what a record takes in memory beside its metadata."""


class KeptRecords:
    """The records of all boards that a node keeps, bounded together.

    Only where ranks are in this node's memory, which means that nobody else writes: each write tells the ranks, and
    they tell what is kept of their period.
    """

    name = "leaderboard_records"

    def __init__(self, terms: Terms) -> None:
        self.seconds = terms.seconds
        self.memory: Memory[bytes, LeaderboardRecord] = Memory(
            lambda record: RECORD_BYTES + len(record.metadata), entries_max=terms.entries_max, bytes_max=terms.bytes_max
        )
        self.hits = self.misses = self.loaded = 0
        self._numbers = count()

    def of_period(self) -> KeptOfPeriod:
        """What is kept of one more period."""
        return KeptOfPeriod(self, next(self._numbers))

    @property
    def entries(self) -> int:
        """How many records are kept."""
        return len(self.memory)

    @property
    def bytes(self) -> int:
        """About how many bytes they take."""
        return self.memory.bytes


class KeptOfPeriod:
    """The records of one period that are kept, by the 16 bytes of their owners."""

    __slots__ = ("_all", "_awaited", "_memory", "_prefix")

    def __init__(self, all_kept: KeptRecords, number: int) -> None:
        self._all = all_kept
        self._memory = all_kept.memory
        self._prefix = number.to_bytes(8)
        self._awaited: dict[bytes, object] = {}
        """Owners whose records are being read, each with the reading that may keep what it finds."""

    def drop(self, owner: bytes) -> None:
        """A record is written or deleted: neither keep what is there, nor what is being read."""
        self._memory.drop(self._prefix + owner)
        self._awaited.pop(owner, None)

    async def records(self, owners: Sequence[bytes], read: Read) -> dict[bytes, LeaderboardRecord]:
        """The records of some owners, read where none is kept; those that have none are absent. Their ranks are old."""
        prefix, now = self._prefix, monotonic()
        found, unknown = self._memory.look([prefix + owner for owner in owners], now)
        records = {key[len(prefix) :]: record for key, record in found.items()}
        self._all.hits += len(found)
        if not unknown:
            return records
        self._all.misses += len(unknown)
        reading, wanted = object(), [key[len(prefix) :] for key in unknown]
        self._awaited.update(dict.fromkeys(wanted, reading))
        try:
            for owner, record in await read(wanted):
                records[owner] = record
                self._all.loaded += 1
                if self._awaited.get(owner) is reading:
                    self._memory.put(prefix + owner, record, now + self._all.seconds, now)
        finally:
            for owner in wanted:
                if self._awaited.get(owner) is reading:
                    del self._awaited[owner]
        return records
