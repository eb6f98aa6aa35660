"""An HTTP client made of nothing but a TCP stream, so that it can also misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import resource
import socket
from typing import Any, ClassVar, NamedTuple

SERVER_KEY = "Basic " + base64.b64encode(b"defaultkey:").decode()
SECONDS_MAX = 15.0


class Answer(NamedTuple):
    """One answer as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, int, str]:
        """Status, code and message of an error, which must have the documented shape."""
        body = self.json
        assert set(body) == {"code", "message"}, body
        return self.status, body["code"], body["message"]


class Wire:
    """One connection."""

    opened: ClassVar[set[Wire]] = set()
    """Those that have not hung up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.opened.add(self)

    @classmethod
    async def open(cls, port: int, *, receive_bytes: int = 0) -> Wire:
        """Connect; with a small `receive_bytes` a peer that does not read is noticed sooner."""
        raw = socket.socket()
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=raw, limit=2**16))

    def send(self, data: bytes) -> None:
        """Write bytes as they are, if there is still somebody to read them."""
        if not self.writer.transport.is_closing():
            self.writer.write(data)

    def ask(self, method: str, target: str, body: bytes = b"", *headers: tuple[str, str]) -> None:
        """Write one whole request."""
        self.send(request(method, target, body, *headers))

    async def answer(self, method: str = "GET") -> Answer:
        """Read one whole answer; to a HEAD request it has no body."""
        async with asyncio.timeout(SECONDS_MAX):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            pairs = [line.split(": ", 1) for line in lines]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs), head
            status = int(first.split(" ")[1])
            size = 0 if method == "HEAD" or status in (100, 304) else int(headers["content-length"])
            return Answer(status, headers, await self.reader.readexactly(size))

    async def fetch(self, method: str, target: str, body: bytes = b"", *headers: tuple[str, str]) -> Answer:
        """Send one request and read its answer."""
        self.ask(method, target, body, *headers)
        return await self.answer(method)

    async def ended(self) -> bytes:
        """Wait until the server has ended the connection; what it still said."""
        rest = b""
        async with asyncio.timeout(SECONDS_MAX):
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    rest += part
        await self.hang_up()
        return rest

    async def hang_up(self) -> None:
        """Drop the connection at once."""
        self.opened.discard(self)
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def request(method: str, target: str, body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {target} HTTP/1.1", "host: test"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body or method in ("POST", "PUT"):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


async def fetch(port: int, method: str, target: str, body: bytes = b"", *headers: tuple[str, str]) -> Answer:
    """One request on a connection of its own."""
    wire = await Wire.open(port)
    try:
        return await wire.fetch(method, target, body, *headers)
    finally:
        await wire.hang_up()


def resident_bytes() -> int:
    """Memory this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
