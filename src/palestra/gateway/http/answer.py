"""Answers: status, headers, compression and error bodies, put on the wire in one write."""

from __future__ import annotations

import http
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from palestra.core.errors import Code
from palestra.gateway.http.exchange import Exchange

STATUS_OF = {
    Code.OK: 200,
    Code.CANCELED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
COMPRESS_BYTES_MIN = 1_400
"""Answers that fit one packet anyway are sent as they are."""

encode = msgspec.json.Encoder().encode

Headers = tuple[tuple[bytes, bytes], ...]
API_HEADERS: Headers = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store, no-cache, must-revalidate"),
    (b"vary", b"Accept-Encoding"),
)
FINE_HEADERS: Headers = (*API_HEADERS, (b"grpc-metadata-content-type", b"application/grpc"))


class ErrorBody(msgspec.Struct):
    """What an API error looks like."""

    code: int
    message: str


class WordedErrorBody(msgspec.Struct):
    """What an error looks like to another server: `error` is a stable word to branch on."""

    error: str
    code: int
    message: str


class RpcErrorBody(msgspec.Struct):
    """What an error of a server-side function looks like: `error` is the text again, or {} when game code raised it."""

    error: Any
    message: str
    code: int


class Writer:
    """Writes whole answers. Headers that never change are joined once; `extra` headers go to every API answer."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        own = {name for name, _ in FINE_HEADERS}
        pairs = [text.split("=", 1) for text in extra]
        self._extra: Headers = tuple(
            (name.strip().lower().encode(), value.strip().encode())
            for name, value in pairs
            if name.strip().lower().encode() not in own
        )
        self._fine = _joined((*FINE_HEADERS, *self._extra))
        self._failed = _joined((*API_HEADERS, *self._extra))

    def fine(self, exchange: Exchange, body: bytes, more: Headers = ()) -> None:
        """Send a 200 with a JSON body."""
        self.whole(exchange, b"HTTP/1.1 200 OK\r\n", self._fine, body, more)

    def failed(self, exchange: Exchange, status: int, body: bytes, more: Headers = ()) -> None:
        """Send an error with a JSON body."""
        self.whole(exchange, _status_line(status), self._failed, body, more)

    def other(self, exchange: Exchange, status: int, body: bytes, headers: Headers) -> None:
        """Send anything else, with just these headers."""
        self.whole(exchange, _status_line(status), b"", body, headers)

    def whole(self, exchange: Exchange, status_line: bytes, fixed: bytes, body: bytes, more: Headers) -> None:
        """Put one complete answer on the wire in one write: a second one would be a second system call."""
        parts = [status_line]
        for name, value in exchange.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(fixed)
        for name, value in more:
            parts += (name, b": ", value, b"\r\n")
        if not exchange.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"content-length: %d\r\n\r\n" % len(body))
        if exchange.method != "HEAD":
            parts.append(body)
        exchange.answer(b"".join(parts))


def compressed(body: bytes, accepted: bytes) -> tuple[bytes, Headers]:
    """The body in the first coding of `Accept-Encoding` that is exactly gzip or deflate, else as it is."""
    for token in accepted.split(b","):
        token = token.strip()
        if token in (b"gzip", b"deflate"):
            squeeze = zlib.compressobj(level=1, wbits=31 if token == b"gzip" else -15)
            return squeeze.compress(body) + squeeze.flush(), ((b"content-encoding", token),)
    return body, ()


def _joined(headers: Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


_LINES: dict[int, bytes] = {}


def _status_line(status: int) -> bytes:
    line = _LINES.get(status)
    if line is None:
        try:
            phrase = http.HTTPStatus(status).phrase
        except ValueError:
            phrase = "Client Closed Request"
        line = _LINES[status] = f"HTTP/1.1 {status} {phrase}\r\n".encode()
    return line
