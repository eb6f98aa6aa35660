"""Packets through the publish and subscribe of Valkey or Redis, a single server or a cluster.

An own connection on hiredis, since every message between nodes passes here: by the client's pipelines and subscriptions
a relay from node to node costs a third more CPU (`./dev bench cluster_relay`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

from palestra.cluster.bus import EVERYBODY
from palestra.core.errors import SetupError, Unavailable
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

log = get_logger(__name__)


class _Place(NamedTuple):
    """Where the server is, and who we are there."""

    host: str
    port: int
    path: str
    credentials: tuple[str, ...]
    tls: ssl.SSLContext | None


class _Connection(asyncio.Protocol):
    """A RESP3 connection that publishes and subscribes."""

    def __init__(self, reader: Any, errors: type[Exception], deliver: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self._reader = reader
        self._errors = errors
        self._deliver = deliver
        self._transport: asyncio.Transport
        self.heard = True
        """Whether anything has come since this was last set to False."""
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        """Has an exception in the end."""
        self.sent: asyncio.Future[None] = loop.create_future()
        """When `LAST` has been answered."""
        for future in (self.subscribed, self.lost):
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.heard = True
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                # Numbers are answers to what was published, the commonest that comes.
                if type(reply) is not int:
                    self._take(reply)
        except self._errors as error:
            self.fail(ConnectionError(f"it speaks another protocol: {error}"))

    def _take(self, reply: Any) -> None:
        if isinstance(reply, list):
            if reply[0] == MESSAGE:
                self._deliver(reply[2])
            elif reply[0] == SUBSCRIBED and reply[2] == 2 and not self.subscribed.done():
                self.subscribed.set_result(None)
        elif isinstance(reply, Exception):
            self.fail(ConnectionError(str(reply)))
        elif reply == LAST and not self.sent.done():
            self.sent.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc or ConnectionError("it has closed the connection"))

    def fail(self, error: Exception) -> None:
        """There is no use in going on."""
        for future in (self.subscribed, self.lost):
            if not future.done():
                future.set_exception(error)
        self._transport.abort()

    def waiting_bytes(self) -> int:
        """What has not been written yet."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send as it is, unless the connection is ending; it is lost a moment later then."""
        if not self._transport.is_closing():
            self._transport.write(data)


class ValkeyTransport:
    """Implements `Transport`, on a connection that is made anew whenever it fails."""

    def __init__(self, url: str, prefix: str = "palestra") -> None:
        try:
            import hiredis
            from redis.asyncio.connection import SSLConnection, parse_url
        except ImportError:
            raise SetupError('a Valkey or Redis URL needs its client: pip install "redis[hiredis]"') from None
        given: dict[str, Any] = dict(parse_url(url))
        tls = None
        if given.pop("connection_class", None) is SSLConnection:
            tls = SSLConnection(**given).ssl_context.get()
        credentials = (given.get("username") or "default", given["password"]) if given.get("password") else ()
        path = str(given.get("path", ""))
        self._place = _Place(str(given.get("host", "localhost")), int(given.get("port", 6379)), path, credentials, tls)
        self._reader_of: Callable[[], Any] = hiredis.Reader
        self._protocol_error: type[Exception] = hiredis.ProtocolError
        # Publishing knows nothing of databases: without this those who have one each would hear of each other.
        number = int(given.get("db") or 0)
        self._prefix = f"{prefix}:{number}" if number else prefix
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
            where = self._place.path or f"{self._place.host}:{self._place.port}"
            raise Unavailable(
                f"Valkey at {where} cannot be used: {error.strerror or error or 'no answer'}.\n"
                "Start it, or correct --redis-url (or cluster.bus_url)."
            ) from error

    def publish(self, to: str, packet: bytes) -> bool:
        """Write a packet."""
        connection = self._connection
        if connection is None or connection.waiting_bytes() + len(packet) > WAITING_BYTES_MAX:
            return False
        channel = self._channel(to).encode()
        connection.write(
            b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(packet), packet)
        )
        return True

    async def close(self) -> None:
        """Send what waits, then disconnect."""
        if self._running is None:
            return
        if (connection := self._connection) is not None:
            connection.write(_command("PING", LAST.decode()))
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
                    connection.write(_command("PING"))
            connection.lost.result()
        finally:
            connection.fail(ConnectionError("it is not needed any more"))

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        place = self._place

        def made() -> _Connection:
            return _Connection(self._reader_of(), self._protocol_error, self._deliver)

        async with asyncio.timeout(DEAD_SECONDS):
            if place.path:
                _, connection = await loop.create_unix_connection(made, place.path)
            else:
                _, connection = await loop.create_connection(made, place.host, place.port, ssl=place.tls)
        connection.write(_command("HELLO", "3", *(("AUTH", *place.credentials) if place.credentials else ())))
        connection.write(_command("SUBSCRIBE", self._channel(self._node), self._channel(EVERYBODY)))
        return connection


def _command(*words: str) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in (text.encode() for text in words)]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))
