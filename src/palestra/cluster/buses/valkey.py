"""Packets through the publish and subscribe of Valkey or Redis, a single server or a cluster.

An own connection on hiredis, since every message between nodes passes here: by the client's pipelines and subscriptions
a relay from node to node costs a third more CPU (`./dev bench cluster_relay`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from palestra.cluster.bus import EVERYBODY
from palestra.cluster.line import Line, command, connect, place_of
from palestra.core.errors import Unavailable
from palestra.core.log import get_logger

LIVELY_SECONDS = 1.0
"""How often the connection is tried when nothing comes."""
DEAD_SECONDS = 3.0
"""How long it may be silent: a broker that hangs is as good as gone."""
BACK_OFF_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
WAITING_BYTES_MAX = 33_554_432
"""What may wait for a broker that is slower than we are."""
SUBSCRIBED, MESSAGE = b"subscribe", b"message"
LAST = b"last"
"""The answer to it says that all before it was taken."""
REPLY_ON = b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n"
REPLY_OFF = b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"
TRIED = b"tried"
PROBE = b"\0"
"""What a connection says to itself; no packet is that."""

log = get_logger(__name__)


class _Connection(Line):
    """A RESP3 connection that publishes and subscribes. Where it can, the server does not answer what is published."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._trying = self._probed = self._answered = False
        self._quiet = False
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.subscribed.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.tried: asyncio.Future[None] = loop.create_future()
        self.sent: asyncio.Future[None] = loop.create_future()
        """When `LAST` has been answered."""

    def take(self, reply: Any) -> None:
        if isinstance(reply, list):
            if reply[0] == MESSAGE:
                if reply[2] == PROBE:
                    self._probed = True
                else:
                    self._deliver(reply[2])
            elif reply[0] == SUBSCRIBED and reply[2] == 2 and not self.subscribed.done():
                self.subscribed.set_result(None)
        elif self._trying:
            self._answered |= isinstance(reply, int | Exception)
            if reply == TRIED:
                self._trying = False
                self.tried.set_result(None)
        elif isinstance(reply, Exception):
            self.fail(ConnectionError(str(reply)))
        elif reply == LAST and not self.sent.done():
            self.sent.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.subscribed.done():
            self.subscribed.set_exception(error)
        super().fail(error)

    async def hush(self, channel: bytes) -> None:
        """Have what is published not answered, which nobody reads: each answer wakes us.

        Some servers keep subscribers from hearing then, or do not allow it: it is tried on our own channel.
        """
        self._trying = True
        self.write(REPLY_OFF + _published(channel, PROBE) + REPLY_ON + command("PING", TRIED))
        await asyncio.wait([self.tried, self.lost], return_when="FIRST_COMPLETED")
        if self.lost.done():
            self.lost.result()
        self._quiet = self._probed and not self._answered
        if self._quiet:
            self.write(REPLY_OFF)

    def ask(self, word: bytes = b"") -> None:
        """Ask for a sign of life that says this word."""
        ping = command("PING", word)
        self.write(REPLY_ON + ping + REPLY_OFF if self._quiet else ping)


class ValkeyTransport:
    """Implements `Transport`, on a connection that is made anew whenever it fails."""

    gather_seconds = 0.002

    def __init__(self, url: str, prefix: str = "palestra") -> None:
        self._place = place_of(url)
        # Publishing knows nothing of databases: without this those who have one each would hear of each other.
        self._prefix = f"{prefix}:{self._place.database}" if self._place.database else prefix
        self._connection: _Connection | None = None
        self._running: asyncio.Task[None] | None = None
        self._deliver: Callable[[bytes], None]
        self._changed: Callable[[bool], None]
        self._node = ""

    async def open(self, node: str, deliver: Callable[[bytes], None], changed: Callable[[bool], None]) -> None:
        """Begin to receive. Raises Unavailable."""
        self._node, self._deliver, self._changed = node, deliver, changed
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._stay_connected(first), name="valkey bus")
        try:
            await first
        except OSError as error:
            await self.close()
            raise Unavailable(
                f"Valkey at {self._place} cannot be used: {error.strerror or error or 'no answer'}.\n"
                "Start it, or correct --redis-url (or cluster.bus_url)."
            ) from error

    def publish(self, to: str, packet: bytes) -> bool:
        """Write a packet."""
        connection = self._connection
        if connection is None or connection.waiting_bytes() + len(packet) > WAITING_BYTES_MAX:
            return False
        connection.write(_published(self._channel(to).encode(), packet))
        return True

    async def close(self) -> None:
        """Send what waits, then disconnect."""
        if self._running is None:
            return
        if (connection := self._connection) is not None:
            connection.ask(LAST)
            await asyncio.wait([connection.sent, connection.lost], timeout=DEAD_SECONDS, return_when="FIRST_COMPLETED")
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._running = None

    def _channel(self, to: str) -> str:
        return f"{self._prefix}:bus:{to or '*'}"

    async def _stay_connected(self, first: asyncio.Future[None]) -> None:
        failures = 0
        while True:
            try:
                await self._connected(first)
            except OSError as error:
                if not first.done():
                    first.set_exception(error)
                    return
                if self._connection is not None:
                    failures = 0
                    log.warning("connection to Valkey lost", reason=str(error) or type(error).__name__)
            except Exception as error:
                if not first.done():
                    first.set_exception(error)
                    return
                # Whatever it is, a node without a bus is worse.
                log.error("the bus failed and connects anew", exc_info=error)
            finally:
                self._connection = None
                self._changed(False)
            await asyncio.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
            failures += 1

    async def _connected(self, first: asyncio.Future[None]) -> None:
        """Connect, and carry packets until the connection fails."""
        connection = await self._connect()
        try:
            async with asyncio.timeout(DEAD_SECONDS):
                await connection.subscribed
                await connection.hush(self._channel(self._node).encode())
            self._connection = connection
            self._changed(True)
            if not first.done():
                first.set_result(None)
            silent_looks = 0
            while not connection.lost.done():
                await asyncio.wait([connection.lost], timeout=LIVELY_SECONDS)
                # Looks are counted, not seconds: it may be us who stood still.
                silent_looks = 0 if connection.heard else silent_looks + 1
                if silent_looks * LIVELY_SECONDS > DEAD_SECONDS:
                    raise TimeoutError("it does not answer")
                connection.heard = False
                if silent_looks:
                    connection.ask()
            connection.lost.result()
        finally:
            connection.fail(ConnectionError("it is not needed any more"))

    async def _connect(self) -> _Connection:
        connection = await connect(self._place, lambda: _Connection(self._deliver), DEAD_SECONDS)
        credentials = self._place.credentials
        connection.write(command("HELLO", "3", *(("AUTH", *credentials) if credentials else ())))
        connection.write(command("SUBSCRIBE", self._channel(self._node), self._channel(EVERYBODY)))
        return connection


def _published(channel: bytes, packet: bytes) -> bytes:
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(packet), packet)
