"""Who may open a socket, and what the others are told."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.gateway.websocket.node import Node


@pytest.mark.parametrize(
    ("target", "changed", "status", "body"),
    [
        ("/ws?token=token-ann&format=xml", {}, 400, b"Invalid format parameter\n"),
        ("/ws?token=token-ann&format=PROTOBUF", {}, 400, b"Invalid format parameter\n"),
        ("/ws?format=protobuf", {}, 401, b"Missing or invalid token\n"),
        ("/ws", {}, 401, b"Missing or invalid token\n"),
        ("/ws?token=", {}, 401, b"Missing or invalid token\n"),
        ("/ws?token=wrong", {}, 401, b"Missing or invalid token\n"),
        ("/ws?token=token-ann", {"authorization": "Basic abc"}, 401, b"Missing or invalid token\n"),
        ("/ws?token=token-ann", {"authorization": "Bearer wrong"}, 401, b"Missing or invalid token\n"),
        ("/ws?token=wrong", {"sec_websocket_version": "8"}, 401, b"Missing or invalid token\n"),
        ("/ws?token=token-ann", {"sec_websocket_version": "8"}, 400, b"Bad Request\n"),
        ("/ws?token=token-ann", {"sec_websocket_key": "short"}, 400, b"Bad Request\n"),
        ("/ws?token=token-ann", {"sec_websocket_key": None}, 400, b"Bad Request\n"),
    ],
)
async def test_a_bad_handshake_is_refused_in_plain_text(
    target: str, changed: dict[str, Any], status: int, body: bytes
) -> None:
    async with Node() as node:
        client = await node.dial()
        answer = await client.handshake(target, **changed)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"content-type: text/plain; charset=utf-8\r\n" in answer
        assert answer.endswith(b"\r\n\r\n" + body)
        assert node.gateway.sessions == {}


async def test_the_token_may_come_in_a_header_and_wins_over_the_query() -> None:
    async with Node() as node:
        client = await node.dial()
        answer = await client.handshake("/ws?token=wrong&lang=de&status=t", authorization="Bearer token-bob")
        assert answer.startswith(b"HTTP/1.1 101 ")
        (socket,) = node.gateway.sessions.values()
        assert (socket.caller.username, socket.language, socket.show_status) == ("bob", "de", True)


async def test_only_get_opens_a_socket() -> None:
    async with Node() as node:
        client = await node.dial()
        assert (await client.handshake("/ws?token=token-ann", "POST")).startswith(b"HTTP/1.1 405 ")


async def test_an_upgrade_elsewhere_is_an_ordinary_request() -> None:
    async with Node() as node:
        client = await node.dial()
        assert (await client.handshake("/wsx?token=token-ann")).startswith(b"HTTP/1.1 404 ")


async def test_a_node_that_stops_takes_no_new_sockets() -> None:
    async with Node() as node:
        node.gateway.accepting = False
        client = await node.dial()
        assert (await client.handshake("/ws?token=token-ann")).startswith(b"HTTP/1.1 503 ")


async def test_sockets_have_a_limit() -> None:
    async with Node(connections_max=1) as node:
        await node.client()
        late = await node.dial()
        assert (await late.handshake("/ws?token=token-ann")).startswith(b"HTTP/1.1 503 ")


async def test_a_browser_like_client_gets_through_and_is_forgotten_when_it_leaves() -> None:
    async with Node() as node:
        ended: list[str] = []
        node.gateway.on_close(lambda socket, reason: ended.append(reason))
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"http://127.0.0.1:{node.port}/ws?token=token-ann&lang=en&status=false") as ws,
        ):
            await ws.send_json({"cid": "1", "ping": {}})
            assert await ws.receive_json() == {"cid": "1", "pong": {}}
            await ws.close(code=1001)
            assert ws.close_code == 1001
        assert ended == [""]
        assert node.gateway.sessions == {}
        assert node.gateway.of_user("") == []
