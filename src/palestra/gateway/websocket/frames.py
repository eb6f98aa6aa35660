"""WebSocket frames as a server writes them: unmasked, whole, built once for all who get them."""

from __future__ import annotations

PING = b"\x89\x00"
EMPTY_CLOSE = b"\x88\x00"
CLOSE_REASON_BYTES_MAX = 123

_SHORT = [bytes((0x81, size)) for size in range(126)]
_SHORT_BINARY = [bytes((0x82, size)) for size in range(126)]


def frame_of(payload: bytes) -> bytes:
    """One text frame holding `payload`."""
    size = len(payload)
    if size < 126:
        return _SHORT[size] + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def binary_frame_of(payload: bytes) -> bytes:
    """One binary frame holding `payload`."""
    size = len(payload)
    if size < 126:
        return _SHORT_BINARY[size] + payload
    if size < 65_536:
        return b"\x82\x7e" + size.to_bytes(2, "big") + payload
    return b"\x82\x7f" + size.to_bytes(8, "big") + payload


def pong_of(payload: bytes) -> bytes:
    """The answer to a ping that carried `payload` (at most 125 bytes)."""
    return bytes((0x8A, len(payload))) + payload


def reason_of(text: str) -> bytes:
    """A close reason cut to what a close frame can carry, never inside a character."""
    return text.encode()[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore").encode()
