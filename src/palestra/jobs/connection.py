"""A worker's connection: pgqueuer's driver, for which a lost connection is a wait and not an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import msgspec
from pgqueuer.core.tm import TaskManager
from pgqueuer.ports.driver import NotifyCallback

from palestra.core.errors import PalestraError, SetupError, Unavailable
from palestra.core.log import get_logger
from palestra.core.tasks import set_within
from palestra.database.pool import Database, connection_lost

log = get_logger(__name__)
Result = TypeVar("Result")
STATEMENT_SECONDS_MAX = 30.0
RECONNECT_SECONDS_MIN = 0.1
RECONNECT_SECONDS_MAX = 2.0
CHANGED = msgspec.json.encode(
    {
        "type": "table_changed_event",
        "channel": "ch_pgqueuer",
        "table": "pgqueuer",
        "operation": "insert",
        "sent_at": datetime.now(UTC),
    }
).decode()
"""What the table's trigger sends when jobs come in."""


class WorkerConnection:
    """pgqueuer's `Driver` over one held connection.

    A statement whose connection is lost is sent again on a new one, however long that takes, so jobs in hand neither
    notice nor lose their outcome. All of pgqueuer's statements bear that: at worst a job is run twice. Its listeners
    come along to each new connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection | None = None
        self._listeners: list[tuple[str, NotifyCallback]] = []
        self._lock = asyncio.Lock()
        self._given_up = asyncio.Event()
        self._shutdown = asyncio.Event()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """All rows of a statement."""
        rows = await self._asked(lambda c: c.fetch(query, *args, timeout=STATEMENT_SECONDS_MAX))
        return [dict(row) for row in rows]

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._asked(lambda c: c.execute(query, *args, timeout=STATEMENT_SECONDS_MAX))

    async def notify(self, channel: str, payload: str) -> None:
        """Send a notification."""
        await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Hand the payloads of a channel's notifications to `callback`, on this connection and all later ones."""
        await self._asked(lambda c: _listen(c, channel, callback))
        self._listeners.append((channel, callback))

    @property
    def shutdown(self) -> asyncio.Event:
        """Part of the protocol; nobody sets it."""
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        """Part of the protocol; nothing runs in it."""
        return TaskManager()

    async def __aenter__(self) -> WorkerConnection:
        return self

    async def __aexit__(self, *_: object) -> None:
        """It outlives the manager that uses it; `close` ends it."""

    def give_up(self) -> None:
        """From now on a statement that needs a new connection raises Unavailable instead of waiting."""
        self._given_up.set()

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await connection.close(timeout=RECONNECT_SECONDS_MAX)

    async def _asked(self, ask: Callable[[asyncpg.Connection], Awaitable[Result]]) -> Result:
        async with self._lock:
            while True:
                connection = await self._open()
                try:
                    return await ask(connection)
                except Exception as error:
                    # A server that does not answer in time may never: the connection goes as well.
                    if not isinstance(error, TimeoutError) and not connection_lost(error, connection):
                        raise
                    connection.terminate()

    async def _open(self) -> asyncpg.Connection:
        """The connection, made when there is none or the one there was is lost."""
        wait = RECONNECT_SECONDS_MIN
        if self._connection is not None and self._connection.is_closed():
            self._connection = None
            log.warning("the worker's connection is lost, it makes another")
        while self._connection is None:
            try:
                connection = await self._database.connect_directly()
                for channel, callback in self._listeners:
                    await _listen(connection, channel, callback)
                    # Of what came in between nobody told: look.
                    callback(CHANGED)
                self._connection = connection
            except (PalestraError, SetupError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                await self._wait(wait, error)
                wait = min(wait * 2, RECONNECT_SECONDS_MAX)
        return self._connection

    async def _wait(self, seconds: float, error: Exception) -> None:
        if await set_within(self._given_up, seconds):
            raise Unavailable("The database is away, and the worker stops.") from error


async def _listen(connection: asyncpg.Connection, channel: str, callback: NotifyCallback) -> None:
    def hand_over(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        callback(str(payload))

    await connection.add_listener(channel, hand_over)
