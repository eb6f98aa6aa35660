"""JSON shapes of function calls."""

from __future__ import annotations

import msgspec


class RpcRequest(msgspec.Struct):
    """A function call over a socket."""

    id: str = ""
    payload: str = ""
    http_key: str = ""


class RpcWire(msgspec.Struct, omit_defaults=True):
    """The answer over a socket."""

    id: str = ""
    payload: str = ""


_decode_text = msgspec.json.Decoder(str | None).decode
_encode = msgspec.json.Encoder().encode
_HTML = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"), ("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))  # fmt: skip  # noqa: E501


def payload_of(body: bytes) -> str:
    """The payload in a request body: a JSON string, null, or nothing. Raises msgspec.DecodeError."""
    return (_decode_text(body) or "") if body.strip() else ""


def payload_body(payload: str) -> bytes:
    """The answer over HTTP: the payload is there even when empty, and safe to be embedded in a page."""
    body = b'{"payload":%b}' % _encode(payload)
    for raw, escaped in _HTML:
        if raw in body:
            body = body.replace(raw, escaped)
    return body
