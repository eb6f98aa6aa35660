"""Limits that belong to the connection: header size, reading and writing deadlines, number of connections."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from palestra.core.config import SocketSettings
from palestra.core.log import get_logger
from palestra.gateway.http.exchange import Exchange
from palestra.gateway.http.proxy_header import BadProxyHeader, read_origin
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.upgrade import UpgradeMixin

BODY_HEADERS = (b"content-length", b"transfer-encoding")
log = get_logger(__name__)

PIPELINED_MAX = 128
"""Requests that may wait on one connection for the answer to an earlier one."""
CHUNKED_FACTOR = 8
"""Bytes of a chunked body on the wire, as a multiple of the body limit: chunk lines and trailers come on top of it."""

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 35\r\nconnection: close\r\n\r\n431 Request Header Fields Too Large"
)
NO_PROXY = "This port takes connections of balancers that speak the PROXY protocol (socket.proxy_protocol)."
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Reading:
    """The connections whose request is still arriving, those whose answer is not being read, and those without work.

    Each kind in the order in which it began; one sweep a second ends those whose time is up.

    A timer per request would cost more than the request's parsing; a dictionary entry costs a tenth of a microsecond.
    """

    def __init__(self, settings: SocketSettings, sockets: SocketGateway | None = None) -> None:
        self.settings = settings
        self.waiting: dict[LimitedProtocol, float] = {}
        self.unread: dict[LimitedProtocol, float] = {}
        self.idle: dict[LimitedProtocol, float] = {}
        self.requesting = 0
        self.ending = False
        """Whether each answer ends its connection."""
        self._sockets = sockets

    @property
    def connections(self) -> int:
        """Open connections, sockets included."""
        return self.requesting + (self._sockets.connected if self._sockets is not None else 0)

    def sweep(self, now: float) -> None:
        """End the connections that take longer to send a request, to read an answer, or to come back, than they may."""
        for connection in _older(self.waiting, now - self.settings.read_timeout_seconds):
            connection.time_out()
        for connection in _older(self.unread, now - self.settings.write_timeout_seconds):
            connection.transport.abort()
        for connection in _older(self.idle, now - self.settings.idle_timeout_seconds):
            connection.end_idle()


def _older(connections: dict[LimitedProtocol, float], limit: float) -> list[LimitedProtocol]:
    found: list[LimitedProtocol] = []
    for connection, since in connections.items():
        if since > limit:
            break
        found.append(connection)
    return found


class LimitedProtocol(UpgradeMixin, HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with our limits, and our door to sockets."""

    reading: Reading
    proxied = False
    """Whether each connection begins with a header of the PROXY protocol."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        reading = self.reading
        self._begun = b"" if self.proxied else None
        reading.requesting += 1
        self._header_bytes = 0
        self._header_end = b""
        self._body_bytes = 0
        self._chunked = False
        self._completed = False
        if reading.connections > reading.settings.connections_max:
            transport.write(TOO_MANY)
            transport.close()
            return
        reading.waiting[self] = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        reading = self.reading
        reading.requesting -= 1
        reading.waiting.pop(self, None)
        reading.unread.pop(self, None)
        reading.idle.pop(self, None)
        super().connection_lost(exc)

    def handed_over(self) -> None:
        """The connection is a socket now, counted and watched by the socket gateway."""
        reading = self.reading
        reading.requesting -= 1
        reading.waiting.pop(self, None)
        reading.unread.pop(self, None)
        reading.idle.pop(self, None)

    # -- what arrives

    def data_received(self, data: bytes) -> None:
        if self._begun is not None and not (data := self._introduced(self._begun + data)):
            return
        self.reading.idle.pop(self, None)
        if self._header_bytes < 0:
            self._body_bytes += len(data)
            if self._chunked and self._body_bytes > CHUNKED_FACTOR * self.reading.settings.request_bytes_max:
                self.transport.abort()
                return
        elif len(data) + self._header_bytes > self.reading.settings.header_bytes_max:
            self._count_headers(data)
            if self.transport.is_closing():
                return
        self._completed = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._stay(data[stop.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._header_bytes >= 0 and not self._completed:
            self._header_bytes += len(data)
            self._header_end = data[-3:]
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and self.parser is not None:
            self._between_requests()

    def _introduced(self, begun: bytes) -> bytes:
        """Take the header of the PROXY protocol off what has arrived; the rest, empty while the header is not whole."""
        try:
            origin = read_origin(begun)
        except BadProxyHeader:
            self.send_400_response(NO_PROXY)
            return b""
        if origin is None:
            self._begun = begun
            return b""
        self._begun = None
        if origin.client is not None:
            self.client = origin.client
        return begun[origin.header_bytes :]

    def _count_headers(self, data: bytes) -> None:
        """Large data is fine as a body, but not as a header block that has not ended yet."""
        end = (self._header_end + data).find(b"\r\n\r\n") if self._header_bytes else data.find(b"\r\n\r\n")
        size = self._header_bytes + (len(data) if end < 0 else end)
        if size > self.reading.settings.header_bytes_max:
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def _between_requests(self) -> None:
        """Bytes came in that started no work: no answer will tell that the connection is idle again."""
        if self.transport.is_closing():
            return
        if self._completed:
            self.reading.idle[self] = self.loop.time()
        else:
            self.reading.waiting.setdefault(self, self.loop.time())

    def on_message_begin(self) -> None:
        # The parent also makes an ASGI scope, here and below, which nobody would read.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._header_bytes = 0
        self.reading.waiting.setdefault(self, self.loop.time())

    def on_headers_complete(self) -> None:
        self._header_bytes = -1
        self._body_bytes = 0
        self._chunked = False
        parser = self.parser
        method = parser.get_method().decode("ascii")
        if parser.should_upgrade() and self._should_upgrade():
            self.scope = {"method": method, "headers": self.headers}  # pyright: ignore[reportAttributeAccessIssue]
            return
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0" and not self.reading.ending
        before: Any = self.cycle
        exchange: Any = Exchange(self, method, self.url, keep_alive=keep_alive)
        self.cycle = exchange
        if before is None or before.response_complete:
            self._begin(exchange)
            return
        if len(self.pipeline) >= PIPELINED_MAX:
            raise ValueError("too many requests wait for an answer")
        self.flow.pause_reading()
        later: Any = (exchange, self.app)
        self.pipeline.appendleft(later)

    def _begin(self, exchange: Any) -> None:
        task = self.loop.create_task(self.app(exchange))  # pyright: ignore[reportCallIssue, reportArgumentType]
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The gateway answers its own failures; one that it did not see leaves nothing to tell the client.
            log.error("request failed outside its operation", exc_info=error)
            self.transport.abort()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._begin(self.pipeline.pop()[0])
        else:
            self.reading.idle[self] = self.loop.time()

    def on_chunk_header(self) -> None:
        """The parser calls this for each part of a chunked body."""
        self._chunked = True

    def on_message_complete(self) -> None:
        self._header_bytes = 0
        self._completed = True
        self.reading.waiting.pop(self, None)
        super().on_message_complete()

    def pause_writing(self) -> None:
        self.reading.unread[self] = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.reading.unread.pop(self, None)
        super().resume_writing()

    def _stay(self, rest: bytes) -> None:
        """Go on after a request for an upgrade that is not offered, as some clients make of every first request.

        The parser takes what follows the headers for the other protocol's, so another parser reads the body, and the
        connection ends with the answer.
        """
        self.cycle.keep_alive = False
        framing = [(name, value) for name, value in self.headers if name in BODY_HEADERS]
        if not framing:
            return
        self.cycle.more_body = True
        self._completed = False
        self._header_bytes = -1
        self.reading.waiting[self] = self.loop.time()
        self.parser = httptools.HttpRequestParser(_Body(self))
        head = b"".join(b"%b: %b\r\n" % header for header in framing)
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n%b" % (head, rest))
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    # -- deadlines

    def time_out(self) -> None:
        """End a connection whose request does not arrive."""
        self.reading.waiting.pop(self, None)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(TIMED_OUT)
        self.transport.close()

    def end_idle(self) -> None:
        """End an idle connection. What its peer has not read by now, it will not."""
        self.reading.idle.pop(self, None)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


class _Body:
    """Passes on the body of one request, and nothing behind it."""

    def __init__(self, connection: LimitedProtocol) -> None:
        self._connection = connection
        self._complete = False

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._connection.on_body(body)

    def on_chunk_header(self) -> None:
        self._connection.on_chunk_header()

    def on_message_complete(self) -> None:
        if not self._complete:
            self._complete = True
            self._connection.on_message_complete()
