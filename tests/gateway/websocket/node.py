"""A socket gateway on a real port, and a client that can also misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from palestra.core.clock import ManualClock
from palestra.core.config import ResumeSettings, SocketSettings
from palestra.core.tasks import Tasks
from palestra.gateway.dispatch import Dispatcher
from palestra.gateway.operation import Caller, Message
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.upgrade import UpgradeMixin
from tests.gateway.websocket import judge

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
NEVER = ResumeSettings(seconds=0)
"""Sessions end with their connection."""


class Authenticator:
    """Takes `token-<name>`, and `token-<name>.<log-in>`, for the token of a player of that name."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()

    def verify(self, token: str) -> Caller | None:
        if not token.startswith("token-"):
            return None
        name = token[6:].partition(".")[0]
        return Caller(str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), name, {}, token, 2_000_000_000, 0)

    def lasts(self, user_id: str, token_id: str, logged_in_at: int) -> bool:
        return token_id not in self.revoked


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Node:
    """`async with Node(messages) as node`: a gateway with these messages, listening."""

    def __init__(
        self,
        messages: Iterable[Message] = (),
        resume: ResumeSettings = NEVER,
        send_bytes: int = 0,
        **settings: Any,
    ) -> None:
        """A small `send_bytes` keeps the kernel from taking megabytes for a peer that does not read."""
        self._send_bytes = send_bytes
        self.authenticator = Authenticator()
        self.clock = ManualClock()
        self.tasks = Tasks()
        self.gateway = SocketGateway(
            SocketSettings(**settings),
            self.authenticator,
            Dispatcher(100),
            messages,
            tasks=self.tasks,
            clock=self.clock,
            resume=resume,
        )
        self.port = 0
        self._clients: list[Client] = []

    async def __aenter__(self) -> Node:
        self.gateway.start()
        http = type("Http", (UpgradeMixin, HttpToolsProtocol), {"sockets": self.gateway})
        config = uvicorn.Config(_not_found, http=http, ws="none", lifespan="off", log_config=None, access_log=False)
        config.load()
        state = ServerState()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: http(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        listening = self._server.sockets[0]
        self.port = listening.getsockname()[1]
        if self._send_bytes:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_bytes)
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.hang_up()
        await self.gateway.stop()
        await self.tasks.stop()
        self._server.close()
        await self._server.wait_closed()

    async def client(self, name: str = "ann", query: str = "", *, protobuf: bool = False, **more: Any) -> Client:
        """A connected client; with `protobuf` it speaks that."""
        client = await self.dial(**more)
        if protobuf:
            client.kind, client.encode, client.decode = BINARY, judge.encode, judge.decode
        answer = await client.handshake(f"/ws?token=token-{name}&format={'protobuf' if protobuf else ''}{query}")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return client

    async def dial(self, receive_bytes: int = 0) -> Client:
        """A TCP connection; a small `receive_bytes` makes a reader that is easily stalled."""
        raw = socket.socket()
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=2**14)
        client = Client(reader, writer)
        self._clients.append(client)
        return client


class Client:
    """A WebSocket client made of nothing but a TCP stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.kind = TEXT
        self.encode: Callable[[Any], bytes] = msgspec.json.encode
        self.decode: Callable[[bytes], Any] = json.loads

    async def hang_up(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def handshake(self, target: str, method: str = "GET", **changed: str | None) -> bytes:
        """Ask for an upgrade, with headers changed or left out (None), and return the whole answer."""
        headers: dict[str, str | None] = {
            "host": "x",
            "upgrade": "websocket",
            "connection": "keep-alive, Upgrade",
            "sec-websocket-version": "13",
            "sec-websocket-key": KEY.decode(),
        }
        headers.update({name.replace("_", "-"): value for name, value in changed.items()})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
        self.writer.write(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 101"):
            return head
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        return head + await self.reader.readexactly(length)

    def frame(self, payload: bytes, kind: int = TEXT, *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
        """The bytes of one frame."""
        first = bytes(((0x80 if fin else 0) | rsv << 4 | kind,))
        flag = 0x80 if masked else 0
        size = len(payload)
        if size < 126:
            length = bytes((flag | size,))
        elif size < 65536:
            length = bytes((flag | 126,)) + size.to_bytes(2, "big")
        else:
            length = bytes((flag | 127,)) + size.to_bytes(8, "big")
        if not masked:
            return first + length + payload
        mask = os.urandom(4)
        return first + length + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))

    def write(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def say(self, *envelopes: Any) -> None:
        """Send envelopes in one write."""
        self.write(*(self.frame(self.encode(one), self.kind) for one in envelopes))

    async def read(self) -> tuple[int, bytes]:
        """The next frame: kind and payload."""
        async with asyncio.timeout(10):
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return first & 15, await self.reader.readexactly(size)

    async def hear(self) -> dict[str, Any]:
        """The next envelope."""
        kind, payload = await self.read()
        assert kind == self.kind, (kind, payload)
        return self.decode(payload)

    async def ask(self, **envelope: Any) -> dict[str, Any]:
        """Send one envelope and return the next that comes."""
        self.say(envelope)
        return await self.hear()

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame that must come next, after which the connection ends."""
        kind, payload = await self.read()
        assert kind == CLOSE, (kind, payload)
        self.write(self.frame(payload, CLOSE))
        assert await self.reader.read() == b""
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def ended(self) -> None:
        """Wait until the server has dropped the connection."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
