"""Reads that may be a moment old, sent to replicas; nobody sees a replica that lacks what they have written.

The node asks the primary where its log of changes ends, and each replica how far it has applied it. All that was
acknowledged before the primary was asked is in the log up to its answer. So a replica that has come that far has all
that was acknowledged before that time: `fresh_until`. A player may read there if its own last write is older, for
which a time per player is enough: writes carry no position and cost nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Generic, TypeVar

import asyncpg

from palestra.core.errors import OutcomeUnknown, Overloaded, Unavailable
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.watch import Watch

Item = TypeVar("Item")
Result = TypeVar("Result")

SILENT_SECONDS_MAX = 1.0
"""A replica that has not answered for so long is not asked for rows."""
SAMPLES_MAX = 1_000
WRITERS_MAX = 1_000_000
"""How many players' last writes are remembered; beyond that all players count as having just written."""

NEVER = -math.inf


class Replica:
    """One replica and what is known of it. Times are the loop's."""

    def __init__(self, url: str, number: int) -> None:
        self.database = Database(url, writable=False)
        self.number = number
        self.answered_at = NEVER
        self.fresh_until = NEVER
        """All that was acknowledged before is there."""
        self.reads = 0
        """Calls that were sent there."""


_chosen: ContextVar[Replica | None] = ContextVar("replica", default=None)


@contextlib.contextmanager
def reading_from(replica: Replica | None) -> Iterator[None]:
    """Reads of this task that go through `Reads` go to `replica`, to the primary where that is None."""
    token = _chosen.set(replica)
    try:
        yield
    finally:
        _chosen.reset(token)


class Replicas:
    """The replicas of a node's database, how fresh they are, and who has written when."""

    def __init__(self, urls: Sequence[str], lag_seconds_max: float) -> None:
        self.all = [Replica(url, number) for number, url in enumerate(urls, 1)]
        self._lag_seconds_max = lag_seconds_max
        self._positions: deque[tuple[float, int]] = deque(maxlen=SAMPLES_MAX)
        self._wrote_at: dict[str, float] = {}
        self._all_wrote_at = NEVER
        self.cut_off = False
        """Nothing is heard of what other nodes write: nobody is sent to a replica."""

    def watches(self) -> list[Watch]:
        """What must run in the background, beside a watch of the primary that tells `ends_at`."""
        return [
            Watch(replica.database, lambda at, position, to=replica: self.applied(to, at, position))
            for replica in self.all
        ]

    def ends_at(self, asked_at: float, position: int) -> None:
        """What the primary said of the end of its log."""
        positions = self._positions
        if positions and position < positions[-1][1]:
            # Another primary, which lacks what the former one wrote last; what replicas have of that is not known.
            positions.clear()
            for replica in self.all:
                replica.fresh_until = NEVER
        positions.append((asked_at, position))
        # A replica that lags less than it may has what was written before this.
        forgotten = asked_at - self._lag_seconds_max
        while self._wrote_at:
            player, wrote_at = next(iter(self._wrote_at.items()))
            if wrote_at >= forgotten:
                break
            del self._wrote_at[player]

    def applied(self, replica: Replica, asked_at: float, position: int) -> None:
        """What a replica said of how far it is."""
        replica.answered_at = asked_at
        for sampled_at, end in reversed(self._positions):
            if end <= position:
                replica.fresh_until = max(replica.fresh_until, sampled_at)
                break

    # -- who has written

    def wrote(self, player: str, at: float) -> None:
        """A player's writes until this moment are acknowledged, or may be."""
        wrote_at = self._wrote_at
        # Taken out and put back, it is the last in order.
        latest = max(wrote_at.pop(player, NEVER), at)
        if len(wrote_at) >= WRITERS_MAX:
            wrote_at.clear()
            self.everybody_wrote(latest)
        wrote_at[player] = latest

    def everybody_wrote(self, at: float) -> None:
        """Who wrote what until this moment is not known."""
        self._all_wrote_at = max(self._all_wrote_at, at)

    # -- who may read where

    def lag_seconds(self, replica: Replica) -> float:
        """How old the newest thing is that may be missing there; infinite before it is known."""
        return self._positions[-1][0] - replica.fresh_until if self._positions else math.inf

    def fit(self, replica: Replica, now: float) -> bool:
        """Whether it answers and is close enough behind. With the primary away, as close as it was then."""
        return now - replica.answered_at <= SILENT_SECONDS_MAX and self.lag_seconds(replica) <= self._lag_seconds_max

    def choose(self, player: str, since: float = NEVER) -> Replica | None:
        """A replica for a player's reads, None for the primary. `since` is a moment it must know of besides.

        Players are spread over the replicas, each by turns of its own: one that came back from call to call to
        replicas of different age would see things vanish again.
        """
        if self.cut_off:
            return None
        now = asyncio.get_running_loop().time()
        wrote_at = max(self._wrote_at.get(player, NEVER), self._all_wrote_at, since)
        start = zlib.crc32(player.encode())
        for step in range(len(self.all)):
            replica = self.all[(start + step) % len(self.all)]
            if replica.fresh_until > wrote_at and self.fit(replica, now):
                replica.reads += 1
                return replica
        return None


class Reads(Generic[Item, Result]):
    """A batch of reads, and the same batch on each replica for those whose call was sent there.

    `make(name, database)` makes the batch.
    """

    def __init__(self, name: str, database: Database, make: Callable[[str, Database], Batch[Item, Result]]) -> None:
        self.primary = make(name, database)
        self._on_replicas: dict[Replica, Batch[Item, Result]] = {}
        self.submit: Callable[[Item], Awaitable[Result]] = self.primary.submit
        if database.replicas is not None:
            for replica in database.replicas.all:
                self._on_replicas[replica] = make(f"{name}.replica{replica.number}", replica.database)
            self.submit = self._submit

    @property
    def batches(self) -> list[Batch[Item, Result]]:
        """All of them, to be counted and stopped."""
        return [self.primary, *self._on_replicas.values()]

    async def _submit(self, item: Item) -> Result:
        replica = _chosen.get()
        if replica is not None:
            try:
                return await self._on_replicas[replica].submit(item)
            except (Unavailable, OutcomeUnknown, Overloaded, asyncpg.PostgresError):
                # Not fit after all, until it answers again; it also interrupts reads that are in the way of changes.
                replica.answered_at = NEVER
        return await self.primary.submit(item)
