"""Order, pressure, silence and farewell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from palestra.gateway.push import RawPush
from palestra.gateway.websocket.frames import frame_of
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.socket import Socket
from tests.gateway.websocket.node import CLOSE, PING, PONG, Client, Node
from tests.gateway.websocket.talk import Talk


class Endings:
    """Notes which sockets have ended, and lets a test wait for it."""

    def __init__(self, gateway: SocketGateway) -> None:
        self.reasons: list[str] = []
        self._told = asyncio.Event()
        gateway.on_close(self._ended)

    def _ended(self, socket: Socket, reason: str) -> None:
        self.reasons.append(reason)
        self._told.set()

    async def wait(self, count: int = 1) -> list[str]:
        async with asyncio.timeout(10):
            while len(self.reasons) < count:
                self._told.clear()
                await self._told.wait()
        return self.reasons


async def turn_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(10):
        turns = 0
        while not condition():
            turns += 1
            await asyncio.sleep(0)


async def test_replies_come_in_the_order_of_requests_however_slow_the_first() -> None:
    talk = Talk()
    async with Node(talk.messages) as node:
        client = await node.client()
        client.say({"cid": "1", "rpc": {"id": "wait"}}, {"cid": "2", "ping": {}})
        client.say({"party_data_send": {"party_id": "3"}}, {"cid": "4", "rpc": {"id": "x"}}, {"cid": "5", "ping": {}})
        await talk.at_gate.wait()
        talk.gate.set()
        assert [(await client.hear())["cid"] for _ in range(4)] == ["1", "2", "4", "5"]
        assert talk.seen == ["wait", "3", "x"]


async def test_what_is_put_off_until_the_reply_comes_right_after_it() -> None:
    async with Node(Talk().messages) as node:
        client = await node.client()
        client.say({"cid": "1", "rpc": {"id": "later"}}, {"cid": "2", "ping": {}})
        assert await client.hear() == {"cid": "1", "rpc": {"id": "later"}}
        assert await client.hear() == {"status": {}}
        assert await client.hear() == {"cid": "2", "pong": {}}


async def test_messages_sent_before_a_close_are_handled_before_it() -> None:
    talk = Talk()
    async with Node(talk.messages) as node:
        client = await node.client()
        client.say({"rpc": {"id": "wait"}}, {"rpc": {"id": "last words"}})
        client.write(client.frame(b"\x03\xe8", CLOSE))
        await talk.at_gate.wait()
        talk.gate.set()
        await client.hear()
        await client.hear()
        assert await client.read() == (CLOSE, b"\x03\xe8")
        assert talk.seen == ["wait", "last words"]


async def test_a_flood_behind_a_slow_message_stops_the_reading_and_nothing_is_lost() -> None:
    talk = Talk()
    async with Node(talk.messages, incoming_queue_max=8) as node:
        client = await node.client()
        client.say({"cid": "first", "rpc": {"id": "wait"}})
        await talk.at_gate.wait()
        (socket,) = node.gateway.sessions.values()
        filler = "x" * 1000
        for number in range(2000):
            client.say({"cid": str(number), "rpc": {"payload": filler}})
        # The kernel takes what it takes; the rest stays with the client until the first message is through.
        await turn_until(lambda: socket._reading_paused)
        assert socket._queue is not None
        assert len(socket._queue) < 16
        talk.gate.set()
        assert (await client.hear())["cid"] == "first"
        for number in range(2000):
            assert (await client.hear())["cid"] == str(number)


async def stalled(node: Node, receive_bytes: int = 4096) -> tuple[Client, Socket]:
    """A client that has stopped reading, and its socket with the buffers between them full."""
    client = await node.dial(receive_bytes)
    assert (await client.handshake("/ws?token=token-slow")).startswith(b"HTTP/1.1 101")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (socket,) = node.gateway.of_user(next(iter(node.gateway.sessions.values())).caller.user_id)
    return client, socket


async def test_a_reader_that_stalls_is_closed_while_others_get_everything_and_memory_stays_bounded() -> None:
    async with Node(outgoing_queue_max=64, outgoing_bytes_max=262_144) as node:
        endings = Endings(node.gateway)
        _, slow = await stalled(node)
        other = await node.client("fast")
        (fast,) = [socket for socket in node.gateway.sessions.values() if socket is not slow]
        frame = frame_of(b"x" * 4000)
        sent = most = 0
        async with asyncio.timeout(20):
            while not slow.closing:
                slow.send_frame(frame)
                fast.send_frame(frame)
                sent += 1
                waiting = slow.unwritten_bytes() + (slow._outbox.bytes if slow._outbox else 0)
                most = max(most, waiting)
                assert len(await other.read()) == 2
        assert sent > 64
        assert most <= 2 * 262_144
        assert slow._outbox is None
        assert node.gateway.holding.bytes == 0
        assert not fast.closing
        assert await endings.wait() == ["session outgoing queue full"]
        # It never agrees to the close: it is dropped when its time is up.
        node.clock.advance(2.5)
        node.gateway.sweep()
        await turn_until(lambda: not node.gateway._closing)


async def test_a_reader_that_makes_no_progress_is_dropped_even_if_little_waits_for_it() -> None:
    async with Node(write_wait_seconds=5) as node:
        endings = Endings(node.gateway)
        _, slow = await stalled(node)
        frame = frame_of(b"x" * 60_000)
        async with asyncio.timeout(10):
            while not slow._held:
                slow.send_frame(frame)
                await asyncio.sleep(0)
        node.clock.advance(4.9)
        node.gateway.sweep()
        assert not slow.closing
        node.clock.advance(0.2)
        node.gateway.sweep()
        assert await endings.wait() == ["peer does not read"]


async def test_a_reader_that_catches_up_gets_all_that_was_held_for_it() -> None:
    async with Node(outgoing_queue_max=64) as node:
        client, slow = await stalled(node)
        sent = 0
        async with asyncio.timeout(10):
            while slow._outbox is None or len(slow._outbox) < 32:
                slow.send_frame(frame_of(b"%d" % sent + b" " * 3000))
                sent += 1
                await asyncio.sleep(0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(sent):
            _, payload = await client.read()
            assert int(payload) == number
        assert not slow.closing


async def test_many_frames_at_once_reach_one_who_reads() -> None:
    async with Node(outgoing_queue_max=64) as node:
        client = await node.client()
        (socket,) = node.gateway.sessions.values()
        for number in range(1000):
            socket.send(RawPush(b"%d" % number))
        for number in range(1000):
            _, payload = await client.read()
            assert int(payload) == number


async def test_a_quiet_socket_is_pinged_once_and_dropped_when_it_stays_silent() -> None:
    async with Node() as node:
        endings = Endings(node.gateway)
        client = await node.client()
        node.clock.advance(14.9)
        node.gateway.sweep()
        node.clock.advance(0.2)
        node.gateway.sweep()
        assert await client.read() == (PING, b"")
        # Neither further sweeps nor an ordinary message change anything.
        assert await client.ask(cid="1", ping={}) == {"cid": "1", "pong": {}}
        node.clock.advance(9.8)
        node.gateway.sweep()
        assert endings.reasons == []
        node.clock.advance(0.2)
        node.gateway.sweep()
        assert await endings.wait() == ["no sign of life"]
        await client.ended()


async def test_a_pong_or_every_twentieth_message_is_a_sign_of_life() -> None:
    async with Node() as node:
        client = await node.client()
        for _ in range(3):
            node.clock.advance(15)
            node.gateway.sweep()
            assert await client.read() == (PING, b"")
            client.write(client.frame(b"", PONG))
            await client.ask(ping={})
        node.clock.advance(14)
        for _ in range(17):
            await client.ask(ping={})
        node.clock.advance(14)
        node.gateway.sweep()
        await client.ask(cid="still here", ping={})


async def test_a_server_side_close_flushes_then_waits_for_the_peer() -> None:
    async with Node() as node:
        endings = Endings(node.gateway)
        client = await node.client()
        (socket,) = node.gateway.sessions.values()
        socket.send(RawPush(b'{"last":1}'))
        socket.close("server-side session disconnect")
        socket.send(RawPush(b'{"never":1}'))
        assert await client.hear() == {"last": 1}
        assert await endings.wait() == ["server-side session disconnect"]
        assert await client.closed() == (1000, "server-side session disconnect")
        assert endings.reasons == ["server-side session disconnect"]


async def test_a_player_is_disconnected_everywhere_after_a_last_word() -> None:
    async with Node() as node:
        clients = [await node.client("ann"), await node.client("ann")]
        bystander = await node.client("bob")
        user_id = next(iter(node.gateway.sessions.values())).caller.user_id
        assert node.gateway.disconnect_user(user_id, "banned", RawPush(b'{"notifications":{}}')) == 2
        for client in clients:
            assert await client.hear() == {"notifications": {}}
            assert await client.closed() == (1000, "banned")
        assert node.gateway.of_user(user_id) == []
        await bystander.ask(ping={})


async def test_a_connection_that_breaks_ends_its_socket_once() -> None:
    async with Node() as node:
        endings = Endings(node.gateway)
        client = await node.client()
        await client.hang_up()
        assert await endings.wait() == ["connection lost"]
        assert node.gateway.sessions == {}


async def test_stopping_says_goodbye_to_all_and_ends() -> None:
    async with Node(close_ack_wait_seconds=0.2) as node:
        polite = await node.client()
        rude = await node.client()
        stopping = asyncio.ensure_future(node.gateway.stop())
        assert await polite.closed() == (1000, "server-side session disconnect")
        await stopping
        await rude.ended()
        assert node.gateway.sessions == {}


@pytest.mark.parametrize("failing", ["open", "close"])
async def test_a_callback_that_fails_harms_neither_the_socket_nor_the_other_callbacks(failing: str) -> None:
    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError

    async with Node() as node:
        (node.gateway.on_open if failing == "open" else node.gateway.on_close)(fail)
        endings = Endings(node.gateway)
        client = await node.client()
        await client.ask(ping={})
        await client.hang_up()
        await endings.wait()
        assert node.gateway.sessions == {}
