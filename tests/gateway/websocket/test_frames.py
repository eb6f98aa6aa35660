"""Frames as they may come: in parts, too large, in the wrong order, or as noise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from palestra.gateway.websocket.frames import frame_of, reason_of
from tests.gateway.websocket.node import BINARY, CLOSE, PING, PONG, TEXT, Client, Node
from tests.gateway.websocket.talk import Talk


async def test_a_message_in_parts_is_put_together_around_control_frames() -> None:
    async with Node(Talk().messages) as node:
        client = await node.client()
        client.write(
            client.frame(b'{"cid":"1",', TEXT, fin=False),
            client.frame(b"hello", PING),
            client.frame(b'"pi', 0, fin=False),
            client.frame(b'ng":{}}', 0),
        )
        assert await client.read() == (PONG, b"hello")
        assert await client.hear() == {"cid": "1", "pong": {}}


async def test_a_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    async with Node(Talk().messages, message_bytes_max=1000) as node:
        client = await node.client()
        text = b'{"cid":"%s","ping":{}}' % (b"x" * (1000 - len(b'{"cid":"","ping":{}}')))
        assert len(text) == 1000
        client.write(client.frame(text))
        assert (await client.hear())["pong"] == {}
        client.write(client.frame(text + b" "))
        code, _ = await client.closed()
        assert code == 1009


async def test_the_limit_holds_for_the_sum_of_the_parts() -> None:
    async with Node(message_bytes_max=1000) as node:
        client = await node.client()
        client.write(client.frame(b"x" * 600, TEXT, fin=False), client.frame(b"x" * 600, 0, fin=False))
        code, _ = await client.closed()
        assert code == 1009


@pytest.mark.parametrize(
    "frames",
    [
        lambda c: [c.frame(b"{}", masked=False)],
        lambda c: [c.frame(b"{}", 3)],
        lambda c: [c.frame(b"{}", 0)],
        lambda c: [c.frame(b"{", fin=False), c.frame(b"{}")],
        lambda c: [c.frame(b'{"ping":{}}', rsv=4)],
        lambda c: [c.frame(b'{"ping":{}}', rsv=2)],
        lambda c: [c.frame(b"", PING, fin=False)],
        lambda c: [c.frame(b"x" * 126, PING)],
        lambda c: [c.frame(b"\x03", CLOSE)],
        lambda c: [c.frame((999).to_bytes(2, "big"), CLOSE)],
    ],
)
async def test_a_break_of_the_frame_rules_is_a_protocol_error(frames: Callable[[Client], list[bytes]]) -> None:
    async with Node() as node:
        client = await node.client()
        client.write(*frames(client))
        kind, payload = await client.read()
        assert (kind, int.from_bytes(payload[:2], "big")) == (CLOSE, 1002)
        client.write(client.frame(payload, CLOSE))
        await client.ended()


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_close_is_answered_with_its_own_code(code: int) -> None:
    async with Node() as node:
        client = await node.client()
        client.write(client.frame(code.to_bytes(2, "big") + b"bye", CLOSE))
        assert await client.read() == (CLOSE, code.to_bytes(2, "big"))
        await client.ended()
        assert node.gateway.sessions == {}


async def test_a_close_without_a_code_is_answered_without_one() -> None:
    async with Node() as node:
        client = await node.client()
        client.write(client.frame(b"", CLOSE))
        assert await client.read() == (CLOSE, b"")
        await client.ended()


def test_a_frame_header_holds_any_length() -> None:
    assert frame_of(b"x" * 125)[:2] == b"\x81\x7d"
    assert frame_of(b"x" * 126)[:4] == b"\x81\x7e\x00\x7e"
    assert frame_of(b"x" * 65536)[:10] == b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
    assert len(reason_of("ü" * 100)) == 122


_frames = st.builds(
    lambda payload, kind, fin, masked, rsv: Client(None, None).frame(payload, kind, fin=fin, masked=masked, rsv=rsv),  # type: ignore[arg-type]
    st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            (b"", b"{}", b'{"ping":{}}', b'{"rpc":{"id":"wait"}}', b'{"party_data_send":{}}', b"\x03\xe8", b"x" * 5000)
        ),
    ),
    st.sampled_from((TEXT, TEXT, TEXT, 0, BINARY, CLOSE, PING, PONG, 3, 15)),
    st.booleans(),
    st.sampled_from((True, True, True, False)),
    st.sampled_from((0, 0, 0, 4, 1)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(_frames, st.binary(max_size=40)), min_size=1, max_size=8), st.booleans())
def test_noise_never_shakes_the_node(noise: list[bytes], half_close: bool) -> None:
    async def play() -> None:
        trouble: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: trouble.append(context))
        talk = Talk()
        talk.gate.set()
        async with Node(talk.messages) as node:
            client = await node.client()
            client.write(*noise)
            if half_close:
                client.writer.write_eof()
            good = await node.client("good")
            assert await good.ask(cid="1", ping={}) == {"cid": "1", "pong": {}}
            assert len(node.gateway.sessions) <= 2
        assert node.gateway.sessions == {}
        assert trouble == []

    with capture_logs() as logs:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(play())
        assert logs == []
