"""A player made of code: speaks the real protocol over HTTP and a socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import deque
from typing import Any

import aiohttp

from palestra.gateway.websocket.protobuf import Protobuf
from palestra.testing.mirror import Mirror

ANSWER_SECONDS_MAX = 10.0


class BotError(Exception):
    """The platform refused: HTTP status (0 on a socket), error code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{status}/{code} {message}")
        self.status = status
        self.code = code
        self.message = message


class Bot:
    """One player. HTTP calls work at once; `connect` opens a socket for real-time play."""

    def __init__(self, http: aiohttp.ClientSession, url: str, server_key: str, device_id: str) -> None:
        self._http = http
        self._url = url
        self._server_key = server_key
        self.device_id = device_id
        self.token = self.refresh_token = ""
        self.id = self.username = ""
        self.pushes: deque[dict[str, Any]] = deque()
        """Envelopes that came without being asked for, oldest first."""
        self.close_code: int | None = None
        self.received = 0
        """Envelopes that came, in a session with a key."""
        self._key = ""
        self._mirrors: dict[str, Mirror] = {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._arrived = asyncio.Event()
        self._asked = 0
        self._protobuf: Protobuf | None = None

    # -- HTTP

    async def log_in(self, username: str = "", vars: dict[str, str] | None = None) -> None:
        """Log in by device id, making the player at first."""
        key = base64.b64encode(f"{self._server_key}:".encode()).decode()
        answer = await self.call(
            "POST",
            "/v2/account/authenticate/device",
            {"id": self.device_id, "vars": vars or {}},
            query={"create": "true", **({"username": username} if username else {})},
            authorization=f"Basic {key}",
        )
        self.token, self.refresh_token = answer["token"], answer["refresh_token"]
        payload = self.token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        self.id, self.username = claims["uid"], claims["usn"]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        authorization: str | None = None,
    ) -> Any:
        """An HTTP call; the decoded answer. Raises BotError."""
        headers = {"Authorization": authorization or f"Bearer {self.token}"}
        async with self._http.request(method, self._url + path, json=body, params=query, headers=headers) as answer:
            content = json.loads(await answer.read() or b"{}")
            if answer.status != 200:
                raise BotError(answer.status, content.get("code", 0), content.get("message", ""))
            return content

    async def rpc(self, function_id: str, payload: Any = None) -> Any:
        """Call a server-side function; the payload goes and the result comes as JSON. Raises BotError."""
        text = await self.rpc_text(function_id, json.dumps(payload) if payload is not None else "")
        return json.loads(text) if text else None

    async def rpc_text(self, function_id: str, payload: str = "") -> str:
        """Call a function that takes and returns plain text. Raises BotError."""
        answer = await self.call("POST", f"/v2/rpc/{function_id}", payload)
        return answer.get("payload", "")

    # -- socket

    async def connect(self, *, format: str = "json", url: str = "", resume: str = "") -> None:
        """Open the socket, in `json` or `protobuf`; what you send and get looks the same.

        `url` is that of another node. With a key to `resume` by, the bot counts what it receives, and so misses nothing
        when it connects by that key again.
        """
        self._protobuf = Protobuf() if format == "protobuf" else None
        self._url = url or self._url
        url = f"{self._url.replace('http', 'ws', 1)}/ws?token={self.token}&format={format}"
        if resume:
            url += f"&resume={resume}" + (f"&received={self.received}" if resume == self._key else "")
        self._key = resume
        self._socket = await self._http.ws_connect(url, autoping=True)
        self._reading = asyncio.create_task(self._read(self._socket))

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                envelope = (
                    json.loads(frame.data) if self._protobuf is None else _plain(self._protobuf.decode(frame.data))
                )
                cid = envelope.get("cid", "")
                if self._key and cid in ("opened", "resumed"):
                    self.received *= cid == "resumed"
                    continue
                self.received += 1
                waiting = self._replies.pop(cid, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(envelope)
                else:
                    self.pushes.append(envelope)
                self._arrived.set()
        self.close_code = socket.close_code
        self._arrived.set()
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the socket was closed"))

    @property
    def connected(self) -> bool:
        """Whether the socket is open."""
        return self._socket is not None and not self._socket.closed

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Send one message, `bot.ask(match_create={})`, and return the reply without its cid. Raises BotError."""
        assert self._socket is not None, "connect first"
        self._asked += 1
        cid = str(self._asked)
        waiting = self._replies[cid] = asyncio.get_running_loop().create_future()
        await self._send({"cid": cid, **message})
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            reply = await waiting
        if "error" in reply:
            raise BotError(0, reply["error"].get("code", 0), reply["error"]["message"])
        return {key: value for key, value in reply.items() if key != "cid"}

    async def tell(self, **message: Any) -> None:
        """Send one message that has no reply."""
        await self._send(message)

    async def _send(self, envelope: dict[str, Any]) -> None:
        text = json.dumps(envelope)
        await self.send_raw(text if self._protobuf is None else self._protobuf.encode(text.encode()))

    async def settle(self) -> None:
        """Wait until what was sent has been dealt with, and what was sent here before that has arrived."""
        with contextlib.suppress(ConnectionError):
            await self.ask(ping={})

    async def send_raw(self, text: str | bytes) -> None:
        """Send a frame as it is."""
        assert self._socket is not None, "connect first"
        await (self._socket.send_bytes(text) if isinstance(text, bytes) else self._socket.send_str(text))

    async def push(self, kind: str) -> Any:
        """The next pushed envelope of a kind, waiting for it if need be."""

        def take() -> Any:
            for envelope in self.pushes:
                if kind in envelope:
                    self.pushes.remove(envelope)
                    return envelope[kind]
            return None

        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while (found := take()) is None:
                self._arrived.clear()
                await self._arrived.wait()
        return found

    async def send(self, match_id: str, op_code: int, data: Any = b"") -> None:
        """Send match data: bytes, text, or anything else as JSON."""
        if not isinstance(data, bytes):
            data = (data if isinstance(data, str) else json.dumps(data)).encode()
        body = {"match_id": match_id, "op_code": str(op_code), "data": base64.b64encode(data).decode()}
        await self.tell(match_data_send=body)

    def state(self, match_id: str) -> Any:
        """What this player sees of a match declared with `sync`, from all that has arrived; None before a snapshot."""
        mirror = self._mirrors.setdefault(match_id, Mirror())
        for envelope in list(self.pushes):
            message = envelope.get("match_data", {})
            if message.get("match_id") == match_id and mirror.receive(
                int(message.get("op_code", 0)), base64.b64decode(message.get("data", ""))
            ):
                self.pushes.remove(envelope)
        return mirror.state

    async def closed(self) -> int | None:
        """Wait until the server has closed the socket; the close code."""
        assert self._reading is not None, "connect first"
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await asyncio.shield(self._reading)
        return self.close_code

    async def drop(self) -> None:
        """Break the socket's connection off without a word, as a dead network does. `connect` comes back."""
        assert self._socket is not None, "connect first"
        assert self._reading is not None, "connect first"
        response = self._socket._response
        assert response.connection is not None, "the socket was closed"
        assert response.connection.transport is not None, "the socket was closed"
        response.connection.transport.abort()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def leave(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            await self._socket.close()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)


def _plain(tree: Any) -> Any:
    """What stands in an envelope, its objects as dictionaries."""
    if isinstance(tree, tuple):
        return {name: _plain(value) for name, value in tree}
    return [_plain(one) for one in tree] if isinstance(tree, list) else tree
