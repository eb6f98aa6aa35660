"""An own connection to Valkey or Redis on hiredis: commands out, replies in, with no client library between.

For what passes so often that the library's pipelines and pools would be most of its cost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from palestra.core.errors import SetupError

LOOKS = 4
"""A silence is measured in so many looks. They are counted, not seconds: it may be us who stood still."""

AnyLine = TypeVar("AnyLine", bound="Line")


class Place(NamedTuple):
    """Where a server is, who we are there, and in which of its databases."""

    host: str
    port: int
    path: str
    credentials: tuple[str, ...]
    tls: ssl.SSLContext | None
    database: int

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


def client_url(url: str) -> str:
    """A URL of Valkey's as the client library knows it, by Redis' name."""
    return url.replace("valkey", "redis", 1) if url.startswith("valkey") else url


def place_of(url: str) -> Place:
    """What a URL names. Raises SetupError where the client is not installed."""
    try:
        import hiredis  # noqa: F401 - each line needs it
        from redis.asyncio.connection import SSLConnection, parse_url
    except ImportError:
        raise SetupError('a Valkey or Redis URL needs its client: pip install "redis[hiredis]"') from None
    given: dict[str, Any] = dict(parse_url(client_url(url)))
    tls = None
    if given.pop("connection_class", None) is SSLConnection:
        tls = SSLConnection(**given).ssl_context.get()
    credentials = (given.get("username") or "default", given["password"]) if given.get("password") else ()
    host, port, path = str(given.get("host", "localhost")), int(given.get("port", 6379)), str(given.get("path", ""))
    return Place(host, port, path, credentials, tls, int(given.get("db") or 0))


def command(*words: str | bytes | int) -> bytes:
    """A command as it is sent."""
    import hiredis

    return hiredis.pack_command(words)  # type: ignore[arg-type] - words of any number


class Line(asyncio.Protocol):
    """A connection, until it is `lost`. Each reply is given to `take`."""

    def __init__(self) -> None:
        import hiredis

        self._reader = hiredis.Reader()
        self._protocol_error = hiredis.ProtocolError
        self._transport: asyncio.Transport
        self.heard = True
        """Whether anything has come since this was last set to False."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has an exception in the end."""
        self.lost.add_done_callback(lambda done: done.cancelled() or done.exception())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.heard = True
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                self.take(reply)
        except self._protocol_error as error:
            self.fail(ConnectionError(f"it speaks another protocol: {error}"))

    def take(self, reply: Any) -> None:
        """Deal with a reply, which is an exception where the server refuses."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(exc or ConnectionError("it has closed the connection"))

    def fail(self, error: Exception) -> None:
        """There is no use in going on."""
        if not self.lost.done():
            self.lost.set_exception(error)
        self._transport.abort()

    def waiting_bytes(self) -> int:
        """What has not been written yet."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send as it is, unless the connection is ending; it is lost a moment later then."""
        if not self._transport.is_closing():
            self._transport.write(data)


class _Waiting:
    """Commands under way together, and the replies that have come so far."""

    __slots__ = ("answer", "count", "replies")

    def __init__(self, count: int, answer: asyncio.Future[list[Any]]) -> None:
        self.count = count
        self.replies: list[Any] = []
        self.answer = answer


class Questions(Line):
    """A line on which each command is answered, one after the other.

    It is lost when there is no sign of an answer for `silent_seconds`, a quarter more at most.
    """

    def __init__(self, silent_seconds: float) -> None:
        super().__init__()
        self._look_seconds = silent_seconds / LOOKS
        self._silent_looks = 0
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, commands: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send `count` commands; their replies, each of which may be an exception. Raises OSError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()
        if self.lost.done():
            answer.set_exception(ConnectionError(str(self.lost.exception())))
            return answer
        if not self._waiting:
            self.heard = True
            if self._timer is None:
                self._timer = loop.call_later(self._look_seconds, self._look)
        self._waiting.append(_Waiting(count, answer))
        self.write(commands)
        return answer

    async def tell(self, *words: str | bytes | int) -> Any:
        """One command; its reply. Raises OSError, also with what the server refuses."""
        (reply,) = await self.ask(command(*words), 1)
        if isinstance(reply, Exception):
            raise ConnectionError(str(reply))
        return reply

    def take(self, reply: Any) -> None:
        if not self._waiting:
            self.fail(ConnectionError("it says what nobody asked for"))
            return
        first = self._waiting[0]
        first.replies.append(reply)
        if len(first.replies) == first.count:
            self._waiting.popleft()
            # Whoever asked may have stopped waiting.
            if not first.answer.done():
                first.answer.set_result(first.replies)

    def fail(self, error: Exception) -> None:
        super().fail(error)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            if not one.answer.done():
                one.answer.set_exception(error if isinstance(error, OSError) else ConnectionError(str(error)))

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        self._silent_looks = 0 if self.heard else self._silent_looks + 1
        self.heard = False
        if self._silent_looks >= LOOKS:
            self.fail(TimeoutError("it does not answer"))
        else:
            self._timer = asyncio.get_running_loop().call_later(self._look_seconds, self._look)


async def connect(place: Place, make: Callable[[], AnyLine], seconds: float) -> AnyLine:
    """A line to a server. Raises OSError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        if place.path:
            _, line = await loop.create_unix_connection(make, place.path)
        else:
            _, line = await loop.create_connection(make, place.host, place.port, ssl=place.tls)
    return line
