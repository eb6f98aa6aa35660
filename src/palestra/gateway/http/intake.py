"""Request bodies: reading them up to the limit, and undoing their compression."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from palestra.core.errors import Code, InvalidArgument, Overloaded, PalestraError


class BodyTooLarge(InvalidArgument):
    """The body is over the limit."""


class Disconnected(PalestraError):
    """The client went away before its request was complete; nobody is there to answer."""

    code = Code.CANCELED


async def read_body(cycle: Any, receive: Callable[[], Awaitable[Any]], bytes_max: int) -> bytes:
    """The whole body of a request. Raises BodyTooLarge without reading on, Disconnected when the client left."""
    if not cycle.more_body and not cycle.disconnected:
        # It came with the headers, as nearly always: no need to wait for an event.
        body = bytes(cycle.body)
        if len(body) > bytes_max:
            raise BodyTooLarge("http: request body too large")
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise Disconnected("client disconnected")
        part = event["body"]
        size += len(part)
        if size > bytes_max:
            raise BodyTooLarge("http: request body too large")
        parts.append(part)
        if not event["more_body"]:
            return b"".join(parts)


def inflated(body: bytes, coding: bytes, bytes_max: int) -> bytes:
    """The body without its `Content-Encoding` (gzip or raw deflate); other codings and bad headers mean plain bytes.

    Never holds more than `bytes_max` + 1 inflated bytes. Raises Overloaded beyond it, InvalidArgument for corrupt data.
    """
    if not body:
        return body
    if coding == b"gzip" and body[:2] == b"\x1f\x8b":
        wbits = 31
    elif coding == b"deflate":
        wbits = -15
    else:
        return body
    unpack = zlib.decompressobj(wbits=wbits)
    try:
        plain = unpack.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise InvalidArgument(f"corrupt {coding.decode()} body: {error}") from None
    if len(plain) > bytes_max:
        raise Overloaded(f"trying to send message larger than max (more than {bytes_max} vs. {bytes_max})")
    if not unpack.eof:
        raise InvalidArgument(f"corrupt {coding.decode()} body: it ends too early")
    return plain
