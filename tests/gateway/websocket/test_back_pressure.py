"""Receivers that do not keep up: what they miss, when they are closed, and what they cost others."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from palestra.gateway.push import RawPush
from palestra.gateway.websocket.frames import frame_of
from palestra.gateway.websocket.socket import Socket
from tests.gateway.websocket.node import KEY, Client, Node
from tests.gateway.websocket.test_flow import Endings, stalled


async def fill(slow: Socket) -> None:
    """Write until the buffers between are full."""
    async with asyncio.timeout(10):
        while not slow._held:
            slow.send_frame(frame_of(b"x" * 8_000))
            await asyncio.sleep(0)


def push(text: str, *, droppable: bool) -> RawPush:
    return RawPush(b'"%b"' % text.encode(), droppable=droppable)


async def heard(client: Client) -> list[bytes]:
    """What a client gets once it reads again, without what filled the buffers."""
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    found: list[bytes] = []
    while not found or found[-1] != b'"last"':
        _, payload = await client.read()
        if not payload.startswith(b"x"):
            found.append(payload)
    return found


async def test_a_slow_reader_misses_what_it_may_miss_before_it_is_closed() -> None:
    async with Node(outgoing_queue_max=8) as node:
        client, slow = await stalled(node)
        await fill(slow)
        for number in range(100):
            slow.send(push(f"position {number}", droppable=True))
        slow.send(push("goal", droppable=False))
        slow.send(push("last", droppable=False))
        assert not slow.closing
        assert await heard(client) == [b'"position 98"', b'"position 99"', b'"goal"', b'"last"']
        assert node.gateway.holding.dropped == 98


async def test_what_it_may_miss_goes_when_it_is_old_and_what_it_may_not_closes_it_later() -> None:
    async with Node(outgoing_seconds_max=10, write_wait_seconds=60) as node:
        endings = Endings(node.gateway)
        _, slow = await stalled(node)
        await fill(slow)
        slow.send(push("position", droppable=True))
        node.clock.advance(1)
        slow.send(push("goal", droppable=False))
        assert slow._outbox is not None
        node.clock.advance(4)
        node.gateway.sweep()
        assert len(slow._outbox) == 1
        node.clock.advance(5.9)
        node.gateway.sweep()
        assert not slow.closing
        node.clock.advance(0.2)
        node.gateway.sweep()
        assert await endings.wait() == ["session outgoing queue full"]


async def test_a_burst_that_fills_the_buffers_half_way_through_loses_nothing_and_keeps_its_order() -> None:
    async with Node(send_bytes=8_192, outgoing_queue_max=1_000, outgoing_bytes_max=4_194_304) as node:
        client, slow = await stalled(node)
        for number in range(500):
            slow.send(RawPush(b'"%d %b"' % (number, b"x" * 4_000)))
        assert slow._held
        slow.send(push("last", droppable=False))
        assert [int(word.strip(b'"').split()[0]) for word in (await heard(client))[:-1]] == list(range(500))


@asynccontextmanager
async def crowd(node: Node, count: int) -> AsyncIterator[list[Socket]]:
    """Sockets of clients that read nothing after their handshake: no more than file descriptors of this process."""
    loop = asyncio.get_running_loop()
    before = set(node.gateway.sessions)
    with ExitStack() as opened:
        for number in range(count):
            raw = opened.enter_context(socket.socket())
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            raw.setblocking(False)
            await loop.sock_connect(raw, ("127.0.0.1", node.port))
            head = (
                f"GET /ws?token=token-player-{number} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n"
                f"connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY.decode()}\r\n\r\n"
            )
            await loop.sock_sendall(raw, head.encode())
            assert (await loop.sock_recv(raw, 1_000)).startswith(b"HTTP/1.1 101")
        yield [one for session_id, one in node.gateway.sessions.items() if session_id not in before]


async def test_the_node_as_a_whole_holds_no_more_than_it_may() -> None:
    bounds = {"held_bytes_max": 100_000, "outgoing_bytes_max": 100_000_000, "outgoing_queue_max": 10_000}
    async with Node(send_bytes=8_192, close_ack_wait_seconds=0.1, **bounds) as node, crowd(node, 4) as crowded:
        endings = Endings(node.gateway)
        for slow in crowded:
            await fill(slow)
        while not endings.reasons:
            for slow in crowded:
                slow.send(push("x" * 1_000, droppable=False))
                assert node.gateway.holding.bytes <= 101_100
            await asyncio.sleep(0)
        assert set(endings.reasons) == {"session outgoing queue full"}
        assert len(node.gateway.sessions) > 0


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("shared", [True, False])
async def test_a_thousand_stalled_clients_cost_bounded_memory_and_nobody_else_notices(shared: bool) -> None:
    bounds = {"held_bytes_max": 16_777_216, "close_ack_wait_seconds": 0.1}
    async with Node(send_bytes=8_192, **bounds) as node, crowd(node, 1_000) as crowded, asyncio.timeout(60):
        endings = Endings(node.gateway)
        other, most, number = await node.client("fast"), 0, 0
        before = resident_bytes()
        while len(endings.reasons) < len(crowded):
            number += 1
            told = push(f"{number} {'x' * 4_000}", droppable=number % 2 == 0)
            for slow in crowded:
                slow.send(told if shared else push(f"{number} {'x' * 4_000}", droppable=number % 2 == 0))
            # Whoever reads hears from the node within the same turns of the loop.
            assert await other.ask(cid=str(number), ping={}) == {"cid": str(number), "pong": {}}
            assert node.gateway.holding.bytes <= 16_777_216
            most = max(most, resident_bytes() - before)
        assert set(endings.reasons) == {"session outgoing queue full"}
        assert node.gateway.connected == 1
        assert node.gateway.holding.bytes == 0
        # Up to 64 KiB in the transport of each, and what the node may hold.
        assert most < 128 * 1024 * 1024
