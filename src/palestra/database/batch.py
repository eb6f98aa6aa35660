"""Natural batching: concurrent callers of one hot operation share a round trip, a parse and a commit.

While one round trip is in flight, the items submitted meanwhile gather; the next round trip takes them all. Nobody
waits for a timer: a lone caller goes at once, a crowd shares. A batch behaves as follows.

1. **Ordered rows.** Two batches, here or on another node, may write the same rows. The statement that `execute` sends
   locks its rows in key order (`ORDER BY … FOR UPDATE`, or a sorted array); only the statement can, so it must. Should
   PostgreSQL report a deadlock or a serialization failure all the same, the whole batch is sent again.
2. **Own outcomes.** `execute` answers one result, or one exception, per item. If it raises instead and nothing was
   committed, the items are run again one by one, so that only the culprit fails.
3. **Same key, one after the other.** Items are of the same key when `key(item)` is equal; without `key` no two are.
   Items of one key never share a round trip and are never in flight together, not even in different lanes: each
   starts when the one submitted before it has its outcome, so together they equal a serial order. A statement that
   folds duplicates itself needs no `key`. Other batches and other nodes know nothing of these keys: between them, row
   locks keep the order.
4. **Limits.** A round takes at most `rows_max` items and `bytes_max` bytes (one larger item travels alone). At most
   `queue_max` items wait; beyond that `submit` raises `Overloaded` at once and nothing was done. A round that takes
   longer than `statement_seconds_max` is cancelled and counts as a lost connection.
5. **Known outcomes.** A future is resolved only after commit. If the connection is lost in flight, idempotent work is
   sent again on a new one; other work fails with `OutcomeUnknown`. What a server that has become a standby refuses was
   not done, and is sent to the one that took over. If no connection can be had, what waits fails with
   `Unavailable`, and so do new items for a short while, so that a dead database is not hammered.
6. **Held connections.** Each lane keeps a connection of its own, opened when first needed and replaced when lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import asyncpg

from palestra.core.errors import OutcomeUnknown, Overloaded, PalestraError, Unavailable
from palestra.core.log import get_logger

if TYPE_CHECKING:
    from palestra.database.pool import Database

Item = TypeVar("Item")
Result = TypeVar("Result")

ATTEMPTS_MAX = 3
"""How often a batch is sent when PostgreSQL asks for a retry, or idempotent work loses its connection."""
LATE_SECONDS = 0.1
BACK_OFF_SECONDS_MIN = 0.05
BACK_OFF_SECONDS_MAX = 2.0
CLOSE_SECONDS_MAX = 2.0

# TimeoutError and ConnectionError are OSErrors. The driver loses count when a server says goodbye at the very moment a
# statement is sent.
_LOST = (
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    OSError,
)
# A server that has become a standby; nothing was done, and another connection leads to the one that took over.
_DEMOTED = asyncpg.ReadOnlySQLTransactionError
_SEND_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, _DEMOTED)
# PostgreSQL rolled back, asyncpg refused an argument before sending, or `execute` refused on purpose.
_NOTHING_DONE = (asyncpg.PostgresError, asyncpg.InterfaceError, PalestraError)

_log = get_logger("database.batch")


class _Lane:
    """One held connection; at most one round trip is in flight on it."""

    __slots__ = ("connection",)

    def __init__(self) -> None:
        self.connection: asyncpg.Connection | None = None


class Batch(Generic[Item, Result]):
    """Collects items for `execute`; see the top of this file for what it promises.

    `execute(connection, items)` is one statement, or several inside one `connection.transaction()`, and returns one
    result or exception per item, in order. It may raise only when nothing was committed: an error that is neither
    PostgreSQL's nor a `PalestraError` is a bug of which that is not known, so unless the work is `idempotent` the items
    are not run again and all get that error. `size_bytes(item)` is counted against `bytes_max`.

    `lanes` is how many round trips may be in flight at once. With `further_lane_rows_min`, one beside another starts
    only when at least so many items wait, since larger rounds are cheaper, or when they have waited for LATE_SECONDS:
    something holds the other round up that they may have nothing to do with. With `halve_from`, a lane that wakes to
    so many items or more takes half of them: callers who come in a crowd come back in a crowd, and so one half comes
    back while the database works for the other. All attributes are counters, read by metrics.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        execute: Callable[[asyncpg.Connection, list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        key: Callable[[Item], Hashable] | None = None,
        rows_max: int = 500,
        size_bytes: Callable[[Item], int] | None = None,
        bytes_max: int = 1 << 20,
        queue_max: int = 20_000,
        lanes: int = 1,
        further_lane_rows_min: int = 1,
        halve_from: int | None = None,
        idempotent: bool = False,
        statement_seconds_max: float = 30.0,
    ) -> None:
        if (
            min(rows_max, bytes_max, queue_max, lanes, further_lane_rows_min, halve_from or 1) < 1
            or statement_seconds_max <= 0
        ):
            raise ValueError(f"batch {name}: every limit must be at least 1")
        self.name = name
        self.items = 0
        """Items sent, each counted once however often it was sent."""
        self.rounds = 0
        self.rows_last = 0
        """Items in the latest round."""
        self.retries = 0
        """Round trips repeated after a deadlock, a serialization failure or a lost connection."""
        self.splits = 0
        """Batches that were run again item by item."""
        self.sheds = 0
        """Items refused because the queue was full."""
        self._database = database
        self._execute = execute
        self._key = key
        self._rows_max = rows_max
        self._size_bytes = size_bytes
        self._bytes_max = bytes_max
        self._queue_max = queue_max
        self._further_lane_rows_min = further_lane_rows_min
        self._halve_from = halve_from
        self._idempotent = idempotent
        self._statement_seconds_max = statement_seconds_max

        # (item, future, key, bytes). With `key`, the queue and the rounds in flight together hold one item of a key.
        # The others of that key are parked in its line; a key that is here or there is a member of `_lines`.
        self._queue: deque[tuple[Item, asyncio.Future[Result], Hashable, int]] = deque()
        self._lines: dict[Hashable, deque[tuple[Item, asyncio.Future[Result], Hashable, int]] | None] = {}
        self._parked = 0

        self._lanes = [_Lane() for _ in range(lanes)]
        self._idle = list(self._lanes)
        self._running: set[asyncio.Task[None]] = set()
        self._waking = False
        self._late: asyncio.TimerHandle | None = None
        self._open = True
        self._stopping = False
        self._back_off_seconds = 0.0
        self._away_until = 0.0
        self._waits_for_database = False

    @property
    def depth(self) -> int:
        """Items that wait for a round."""
        return len(self._queue) + self._parked

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue one item; the future is resolved after its commit. About a microsecond, no round trip of its own.

        A caller that stops waiting (cancels) takes an item back only while it is not yet in flight.

        Raises:
            Overloaded: `queue_max` items wait already; nothing was done.
            Unavailable: the database is away, or this batch is draining; nothing was done. The same from the future.
            OutcomeUnknown: (from the future) the connection was lost in flight.
        """
        if not self._open:
            self._check_open()
        queue = self._queue
        if len(queue) + self._parked >= self._queue_max:
            self.sheds += 1
            raise Overloaded(f"{self.name}: {self._queue_max} requests are waiting already; try again in a moment.")
        size = 0 if self._size_bytes is None else self._size_bytes(item)
        key = None
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if self._key is not None:
            key = self._key(item)
            if key in self._lines:
                self._park((item, future, key, size))
                return future
            self._lines[key] = None
        queue.append((item, future, key, size))
        if self._idle and not self._waking:
            if self._wants_lane():
                self._wake()
            elif self._late is None:
                self._late = future.get_loop().call_later(LATE_SECONDS, self._look_late)
        return future

    async def stop(self) -> None:
        """Refuse new items, finish the queued ones, close the connections. May be called again."""
        self._stopping = True
        self._open = False
        if self._late is not None:
            self._late.cancel()
        while self._running:
            await asyncio.wait(self._running)
        for lane in self._lanes:
            await self._disconnect(lane)

    # ---- the queue

    def _check_open(self) -> None:
        if self._stopping:
            raise Unavailable(f"{self.name}: this server is draining; try again.")
        seconds_left = self._seconds_left()
        if seconds_left > 0:
            raise Unavailable(f"{self.name}: the database is away; try again.", retry_after_seconds=seconds_left)
        self._open = True

    def _seconds_left(self) -> float:
        """Until the back-off ends, which is at once when the database is known to be back."""
        if self._waits_for_database and self._database.available:
            return 0.0
        return self._away_until - asyncio.get_running_loop().time()

    def _park(self, entry: tuple[Item, asyncio.Future[Result], Hashable, int]) -> None:
        line = self._lines[entry[2]]
        if line is None:
            line = self._lines[entry[2]] = deque()
        line.append(entry)
        self._parked += 1

    def _release(self, key: Hashable) -> None:
        """The item of `key` that was queued or in flight is gone: the next in its line is queued, behind other keys."""
        line = self._lines[key]
        if line:
            self._queue.append(line.popleft())
            self._parked -= 1
        else:
            del self._lines[key]

    def _wants_lane(self) -> bool:
        """Whether what waits is worth a lane that is idle: always when no other lane will take it soon."""
        return len(self._queue) >= self._further_lane_rows_min or len(self._idle) == len(self._lanes)

    def _look_late(self) -> None:
        self._late = None
        if self._queue and self._idle and not self._waking:
            self._wake()

    def _take(self, rows_max: int) -> list[tuple[Item, asyncio.Future[Result], Hashable, int]]:
        """The next round: as many items as the limits allow, without those whose callers left. Empty: nothing waits."""
        queue, bytes_left, keyed = self._queue, self._bytes_max, self._key is not None
        batch: list[tuple[Item, asyncio.Future[Result], Hashable, int]] = []
        while queue and len(batch) < rows_max:
            entry = queue[0]
            if entry[1].done():
                queue.popleft()
                if keyed:
                    self._release(entry[2])
                continue
            bytes_left -= entry[3]
            if bytes_left < 0 and batch:
                break
            batch.append(queue.popleft())
        return batch

    # ---- the lanes

    def _wake(self) -> None:
        # The task takes its batch in the next iteration of the loop, so callers of this one share it.
        self._waking = True
        task = asyncio.get_running_loop().create_task(self._run(self._idle.pop()), name=f"batch {self.name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, lane: _Lane) -> None:
        """Send round after round until nothing waits."""
        self._waking = False
        batch = []
        rows_max = self._rows_max
        if self._halve_from is not None and len(self._queue) >= self._halve_from:
            rows_max = min(rows_max, (len(self._queue) + 1) // 2)
        try:
            while batch := self._take(rows_max):
                rows_max = self._rows_max
                if self._queue and self._idle and not self._waking and self._wants_lane():
                    self._wake()
                self.rounds += 1
                self.rows_last = len(batch)
                self.items += len(batch)
                outcomes = await self._outcomes(lane, [entry[0] for entry in batch])
                for (_, future, _, _), outcome in zip(batch, outcomes, strict=True):
                    if future.done():
                        continue
                    if isinstance(outcome, Exception):
                        future.set_exception(outcome)
                    else:
                        future.set_result(outcome)
                if self._key is not None:
                    for entry in batch:
                        self._release(entry[2])
        finally:
            # Something is left only if the loop is being torn down around this task: nobody may wait for ever.
            for _, future, _, _ in batch:
                future.cancel()
            self._idle.append(lane)

    async def _outcomes(self, lane: _Lane, items: list[Item]) -> Sequence[Result | Exception]:
        """Send `items` until each has a result or an exception of its own; raises nothing."""
        failure: Exception = Unavailable()
        lost = False
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                self.retries += 1
            connection = lane.connection
            if connection is None or connection.is_closed():
                try:
                    connection = await self._connect(lane)
                except Unavailable as error:
                    kind = OutcomeUnknown if lost else Unavailable
                    return [kind(error.message, retry_after_seconds=error.retry_after_seconds) for _ in items]
            try:
                return await self._send(connection, items)
            except Exception as error:
                failure = error
                lost = connection.is_closed() or isinstance(error, _LOST)
                if lost or isinstance(error, _DEMOTED) or connection.is_in_transaction():
                    _log.warning("connection dropped", batch=self.name, items=len(items), error=repr(error))
                    await self._disconnect(lane)
                if not (self._idempotent if lost else isinstance(error, _SEND_AGAIN)):
                    break
        if lost:
            text = f"{self.name}: the database connection was lost; this may or may not have been done."
            return [OutcomeUnknown(text) for _ in items]
        if isinstance(failure, _DEMOTED):
            return [Unavailable(f"{self.name}: the database takes no writes now; try again.") for _ in items]
        if len(items) == 1 or not (self._idempotent or isinstance(failure, _NOTHING_DONE)):
            return [failure] * len(items)
        _log.warning("batch is run item by item", batch=self.name, items=len(items), error=repr(failure))
        self.splits += 1
        return [(await self._outcomes(lane, [item]))[0] for item in items]

    async def _send(self, connection: asyncpg.Connection, items: list[Item]) -> Sequence[Result | Exception]:
        try:
            async with asyncio.timeout(self._statement_seconds_max):
                results = await self._execute(connection, items)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this task was cancelled but what `execute` waited for, as happens to a statement whose line is cut.
            raise ConnectionAbortedError("the statement was cancelled in flight") from error
        if connection.is_in_transaction():
            raise RuntimeError(f"batch {self.name}: execute left its transaction open; nothing was committed")
        if len(results) != len(items):
            raise RuntimeError(f"batch {self.name}: execute returned {len(results)} results for {len(items)} items")
        return results

    async def _connect(self, lane: _Lane) -> asyncpg.Connection:
        """Open the lane's connection. Raises Unavailable: at once during a back-off, else after starting one."""
        loop = asyncio.get_running_loop()
        await self._disconnect(lane)
        seconds_left = self._seconds_left()
        if seconds_left <= 0:
            try:
                connection = lane.connection = await self._database.connect()
            except Exception as error:
                seconds_left = min(max(self._back_off_seconds * 2, BACK_OFF_SECONDS_MIN), BACK_OFF_SECONDS_MAX)
                self._back_off_seconds = seconds_left
                self._away_until = loop.time() + seconds_left
                self._waits_for_database = not self._database.available
                self._open = False
                _log.warning("no connection", batch=self.name, retry_after_seconds=seconds_left, error=repr(error))
            else:
                self._back_off_seconds = 0.0
                self._waits_for_database = False
                return connection
        raise Unavailable(f"{self.name}: the database is away; try again.", retry_after_seconds=seconds_left)

    async def _disconnect(self, lane: _Lane) -> None:
        connection: Any = lane.connection
        lane.connection = None
        if connection is not None:
            # close() first has the server cancel a statement that still runs, and falls back to cutting the line.
            with contextlib.suppress(Exception):
                await connection.close(timeout=CLOSE_SECONDS_MAX)
