"""One HTTP request and its answer: made for every request, so nothing in it is made in vain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from palestra.core.errors import Code, InvalidArgument, PalestraError

if TYPE_CHECKING:
    from palestra.gateway.http.protocol import LimitedProtocol

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyTooLarge(InvalidArgument):
    """The body is over the limit."""


class Disconnected(PalestraError):
    """The client went away before its request was complete; nobody is there to answer."""

    code = Code.CANCELED


class Exchange:
    """A request as the parser found it, its body as far as it has arrived, and the way to answer.

    `path` has its percent escapes undone, `query` has not; header names are in lower case. uvicorn's protocol, which
    drives the parser, knows this object as its request cycle and sets `body`, `more_body`, `disconnected` and
    `keep_alive`.
    """

    __slots__ = (
        "_arrived",
        "_connection",
        "_expects_continue",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "method",
        "more_body",
        "path",
        "query",
        "response_complete",
    )

    def __init__(self, connection: LimitedProtocol, method: str, url: bytes, *, keep_alive: bool) -> None:
        if url[:1] != b"/":
            # A proxy may send the whole address.
            parsed = httptools.parse_url(url)
            url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        path, _, query = url.partition(b"?")
        text = path.decode("ascii")
        self.method = method
        self.path = unquote(text) if "%" in text else text
        self.query = query
        self.headers = connection.headers
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = keep_alive
        self._expects_continue = connection.expect_100_continue
        self._connection = connection
        self._arrived: asyncio.Event | None = None

    # -- how the protocol tells that something has happened

    @property
    def message_event(self) -> Exchange:
        """What uvicorn's protocol calls `set` on when more of the body, or the end of the connection, has come."""
        return self

    def set(self) -> None:
        """Wake whoever waits for the body."""
        if self._arrived is not None:
            self._arrived.set()

    # -- what the gateway asks and does

    @property
    def peer(self) -> str:
        """The address at the other end of the connection."""
        client = self._connection.client
        return client[0] if client else ""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer: the date."""
        return self._connection.server_state.default_headers

    @property
    def held_back(self) -> bool:
        """Whether the client does not read what it asked for before: then what it asks for now waits with it."""
        return self._connection.flow.write_paused

    async def released(self) -> None:
        """Wait until the client has read enough."""
        await self._connection.flow.drain()

    async def read(self, bytes_max: int) -> bytes:
        """The whole body. Raises BodyTooLarge without reading on, Disconnected when the client left."""
        while self.more_body:
            if self.disconnected:
                raise Disconnected("client disconnected")
            if len(self.body) > bytes_max:
                break
            await self._more()
        if len(self.body) > bytes_max:
            raise BodyTooLarge("http: request body too large")
        return bytes(self.body)

    async def _more(self) -> None:
        if self._expects_continue:
            self._expects_continue = False
            self._connection.transport.write(CONTINUE)
        self._connection.flow.resume_reading()
        if self._arrived is None:
            self._arrived = asyncio.Event()
        self._arrived.clear()
        await self._arrived.wait()

    def answer(self, data: bytes) -> None:
        """Send one whole answer, its head made for this exchange's `keep_alive`. A second one is not sent."""
        if self.disconnected or self.response_complete:
            return
        transport: Any = self._connection.transport
        if transport.is_closing():
            # Only the newest request of a pipeline is told that its connection is gone.
            self.disconnected = True
            return
        transport.write(data)
        self.response_complete = True
        if not self.keep_alive:
            transport.close()
        self._connection.on_response_complete()
