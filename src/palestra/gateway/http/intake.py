"""Undoing the compression of request bodies, within the limit."""

from __future__ import annotations

import zlib

from palestra.core.errors import InvalidArgument, Overloaded


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
