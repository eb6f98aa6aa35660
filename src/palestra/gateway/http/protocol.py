"""Limits that belong to the connection: header size, reading and writing deadlines, number of connections."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from palestra.core.config import SocketSettings
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.upgrade import UpgradeMixin

PIPELINED_MAX = 128
"""Requests that may wait on one connection for the answer to an earlier one."""
CHUNKED_FACTOR = 8
"""Bytes of a chunked body on the wire, as a multiple of the body limit: chunk lines and trailers come on top of it."""

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 35\r\nconnection: close\r\n\r\n431 Request Header Fields Too Large"
)
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Reading:
    """The connections whose request is still arriving, oldest first, and those whose answer is not being read.

    One sweep a second ends those that are too slow.

    A timer per request would cost more than the request's parsing; a dictionary entry costs a tenth of a microsecond.
    """

    def __init__(self, settings: SocketSettings, sockets: SocketGateway | None = None) -> None:
        self.settings = settings
        self.waiting: dict[LimitedProtocol, float] = {}
        self.unread: dict[LimitedProtocol, float] = {}
        self.requesting = 0
        self._sockets = sockets

    @property
    def connections(self) -> int:
        """Open connections, sockets included."""
        return self.requesting + (len(self._sockets.sessions) if self._sockets is not None else 0)

    def sweep(self, now: float) -> None:
        """End the connections that take longer to send a request, or to read an answer, than they may."""
        limit = now - self.settings.read_timeout_seconds
        late: list[LimitedProtocol] = []
        for connection, since in self.waiting.items():
            if since > limit:
                break
            late.append(connection)
        for connection in late:
            connection.time_out()
        for connection, since in list(self.unread.items()):
            if since <= now - self.settings.write_timeout_seconds:
                connection.transport.abort()


class LimitedProtocol(UpgradeMixin, HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with our limits, and our door to sockets."""

    reading: Reading

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        reading = self.reading
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
        self.reading.requesting -= 1
        self.reading.waiting.pop(self, None)
        self.reading.unread.pop(self, None)
        super().connection_lost(exc)

    def handed_over(self) -> None:
        """The connection is a socket now, counted and watched by the socket gateway."""
        self.reading.requesting -= 1
        self.reading.waiting.pop(self, None)
        self.reading.unread.pop(self, None)

    # -- what arrives

    def data_received(self, data: bytes) -> None:
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
        super().data_received(data)
        if self._header_bytes >= 0 and not self._completed:
            self._header_bytes += len(data)
            self._header_end = data[-3:]
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and self.parser is not None:
            self._between_requests()

    def _count_headers(self, data: bytes) -> None:
        """Large data is fine as a body, but not as a header block that has not ended yet."""
        end = (self._header_end + data).find(b"\r\n\r\n") if self._header_bytes else data.find(b"\r\n\r\n")
        size = self._header_bytes + (len(data) if end < 0 else end)
        if size > self.reading.settings.header_bytes_max:
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def _between_requests(self) -> None:
        """Bytes came in that started no work: no answer will arm the timer that they have just stopped."""
        if self.transport.is_closing():
            return
        if self._completed:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.reading.waiting.setdefault(self, self.loop.time())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self.reading.waiting.setdefault(self, self.loop.time())

    def on_headers_complete(self) -> None:
        self._header_bytes = -1
        self._body_bytes = 0
        self._chunked = False
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED_MAX:
            raise ValueError("too many requests wait for an answer")

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

    def _unsupported_upgrade_warning(self) -> None:
        # The parser stops where it believes another protocol begins, so this connection ends with the answer.
        self.cycle.keep_alive = False

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

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection. What its peer has not read by now, it will not."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()
