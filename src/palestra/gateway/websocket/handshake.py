"""Who may open a socket: the checks of a handshake, in the contract's order, before anything is upgraded."""

from __future__ import annotations

import binascii
import re
from http import HTTPStatus
from urllib.parse import parse_qs

import msgspec

from palestra.gateway.operation import Authenticator, Caller

PATH = b"/ws"
PROTOBUF = "protobuf"
FORMATS = ("", "json", PROTOBUF)
LANGUAGE = "en"
_RESUME_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}").fullmatch
_COUNT = re.compile(r"[0-9]{1,15}").fullmatch
_ON = frozenset(("1", "t", "T", "true", "TRUE", "True"))

Headers = list[tuple[bytes, bytes]]


class Refusal(msgspec.Struct, frozen=True):
    """An answer other than an upgrade: a status and a plain text."""

    status: int
    text: str = ""

    def body(self) -> bytes:
        """The text as it goes over the wire."""
        return f"{self.text}\n".encode() if self.text else b""

    def whole(self) -> bytes:
        """The whole HTTP/1.1 answer; the connection ends with it."""
        body = self.body()
        return (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            "content-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        ).encode() + body


class Accepted(msgspec.Struct, frozen=True):
    """A handshake that may go on. `key` is the client's Sec-WebSocket-Key, `status` asks to be shown as online.

    `resume` is the client's own name for its session, "" for those that have none, and `received` how many of its
    envelopes have arrived, None if the client does not say.
    """

    caller: Caller
    language: str
    status: bool
    key: bytes
    format: str
    resume: str = ""
    received: int | None = None


WRONG_METHOD = Refusal(405)
BAD_FORMAT = Refusal(400, "Invalid format parameter")
BAD_RESUME = Refusal(400, "Invalid resume parameter")
BAD_TOKEN = Refusal(401, "Missing or invalid token")
BAD_UPGRADE = Refusal(400, "Bad Request")
UNAVAILABLE = Refusal(503, "Service Unavailable")


def check_handshake(authenticator: Authenticator, method: str, query: bytes, headers: Headers) -> Refusal | Accepted:
    """Decide about a request for `/ws`. Header names are in lower case, as parsers deliver them."""
    if method != "GET":
        return WRONG_METHOD
    given = dict(headers)
    try:
        values = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return BAD_FORMAT
    form = values.get("format", [""])[0]
    if form not in FORMATS:
        return BAD_FORMAT
    resume, received = values.get("resume", [""])[0], values.get("received", [""])[0]
    if (resume and not _RESUME_KEY(resume)) or (received and not _COUNT(received)):
        return BAD_RESUME
    authorization = given.get(b"authorization")
    if authorization is None:
        token = values.get("token", [""])[0]
    elif authorization[:7] == b"Bearer ":
        token = authorization[7:].decode("latin-1")
    else:
        return BAD_TOKEN
    caller = authenticator.verify(token) if token else None
    if caller is None:
        return BAD_TOKEN
    key = given.get(b"sec-websocket-key", b"").strip()
    if (
        b"websocket" not in _tokens(given.get(b"upgrade", b""))
        or b"upgrade" not in _tokens(given.get(b"connection", b""))
        or given.get(b"sec-websocket-version") != b"13"
        or not _is_key(key)
    ):
        return BAD_UPGRADE
    language = values.get("lang", [""])[0] or LANGUAGE
    return Accepted(
        caller,
        language,
        values.get("status", [""])[0] in _ON,
        key,
        form,
        resume,
        int(received) if received else None,
    )


def client_address(headers: Headers, peer: str, proxy_count: int) -> str:
    """The caller's address: the peer, or behind that many trusted proxies the address they were called from."""
    if proxy_count:
        # A proxy may add a line of its own rather than to the line that came, which the client could have made up.
        hops = [hop for name, value in headers if name == b"x-forwarded-for" for hop in value.split(b",")]
        if hops:
            return hops[-min(proxy_count, len(hops))].strip().decode("latin-1")
    return peer


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False
