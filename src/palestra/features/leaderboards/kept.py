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

    def __init__(self, terms: Terms) -> None:
        self._seconds = terms.seconds
        self._memory: Memory[bytes, LeaderboardRecord] = Memory(
            lambda record: RECORD_BYTES + len(record.metadata), entries_max=terms.entries_max, bytes_max=terms.bytes_max
        )
        self._numbers = count()

    def of_period(self) -> KeptOfPeriod:
        """What is kept of one more period."""
        return KeptOfPeriod(self._memory, self._seconds, next(self._numbers))


class KeptOfPeriod:
    """The records of one period that are kept, by the 16 bytes of their owners."""

    __slots__ = ("_awaited", "_memory", "_prefix", "_seconds")

    def __init__(self, memory: Memory[bytes, LeaderboardRecord], seconds: float, number: int) -> None:
        self._memory = memory
        self._seconds = seconds
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
        if not unknown:
            return records
        reading, wanted = object(), [key[len(prefix) :] for key in unknown]
        self._awaited.update(dict.fromkeys(wanted, reading))
        try:
            for owner, record in await read(wanted):
                records[owner] = record
                if self._awaited.get(owner) is reading:
                    self._memory.put(prefix + owner, record, now + self._seconds, now)
        finally:
            for owner in wanted:
                if self._awaited.get(owner) is reading:
                    del self._awaited[owner]
        return records
