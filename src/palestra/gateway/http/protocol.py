"""Limits that belong to the connection: header size, reading deadlines, number of connections."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from palestra.core.config import SocketSettings
from palestra.gateway.websocket.upgrade import UpgradeMixin

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

    def __init__(self, settings: SocketSettings) -> None:
        self.settings = settings
        self.waiting: dict[LimitedProtocol, float] = {}
        self.unread: dict[LimitedProtocol, float] = {}
        self.connections = 0

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
        reading.connections += 1
        self._header_bytes = 0
        self._completed = False
        if reading.connections > reading.settings.connections_max:
            transport.write(TOO_MANY)
            transport.close()
            return
        reading.waiting[self] = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reading.connections -= 1
        self.reading.waiting.pop(self, None)
        self.reading.unread.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._header_bytes >= 0 and len(data) + self._header_bytes > self.reading.settings.header_bytes_max:
            self._count_headers(data)
            if self.transport.is_closing():
                return
        self._completed = False
        super().data_received(data)
        if self._header_bytes >= 0 and not self._completed:
            self._header_bytes += len(data)

    def _count_headers(self, data: bytes) -> None:
        """Large data is fine as a body, but not as a header block that has not ended yet."""
        end = data.find(b"\r\n\r\n")
        size = self._header_bytes + (len(data) if end < 0 else end)
        if size > self.reading.settings.header_bytes_max:
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self.reading.waiting.setdefault(self, self.loop.time())

    def on_headers_complete(self) -> None:
        self._header_bytes = -1
        super().on_headers_complete()

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

    def handed_over(self) -> None:
        """The connection is a socket now, counted and watched by the socket gateway."""
        self.reading.waiting.pop(self, None)
        self.reading.connections -= 1

    def time_out(self) -> None:
        """End a connection whose request does not arrive."""
        self.reading.waiting.pop(self, None)
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(TIMED_OUT)
        self.transport.close()
