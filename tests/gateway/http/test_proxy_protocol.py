"""Behind balancers: whose connection it is by the PROXY protocol or X-Forwarded-For, and what is refused."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra import Game
from palestra.core.config import Settings, SocketSettings
from palestra.gateway.http.proxy_header import (
    BLOCK_BYTES_MAX,
    LINE_BYTES_MAX,
    SIGNATURE,
    BadProxyHeader,
    Origin,
    read_origin,
)
from palestra.gateway.websocket.handshake import client_address
from palestra.testing import Platform
from tests.gateway.http.wire import Wire, fetch, request

ASK = request("GET", "/v2/rpc/whose?http_key=defaulthttpkey")
LINE = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"


def block(source: str, destination: str = "", *, command: int = 0x21, more: bytes = b"") -> bytes:
    """A header of version 2 for TCP."""
    address = ipaddress.ip_address(source)
    family = 0x11 if address.version == 4 else 0x21
    addresses = address.packed + ipaddress.ip_address(destination or source).packed + b"\xdc\x04\x01\xbb" + more
    return SIGNATURE + bytes((command, family)) + len(addresses).to_bytes(2) + addresses


@pytest.fixture(scope="module")
def game() -> Game:
    """Tells callers who they seem to be."""
    game = Game("whose")

    @game.rpc
    async def whose(ctx: Any, payload: str) -> str:
        return ctx.client_ip

    return game


@pytest.fixture(scope="module")
def node_settings() -> Settings:
    """With the protocol, and a proxy before the balancer that adds to X-Forwarded-For."""
    return Settings(socket=SocketSettings(proxy_protocol=True, read_timeout_seconds=0.3))


async def opened(platform: Platform, header: bytes) -> Wire:
    wire = await Wire.open(platform.node.port)
    wire.send(header)
    return wire


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("header", "client"),
    [
        (LINE, "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4124 443\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
        (block("203.0.113.8"), "203.0.113.8"),
        (block("2001:db8::8"), "2001:db8::8"),
        (block("203.0.113.8", more=b"\x04\x00\x03abc"), "203.0.113.8"),
        (block("203.0.113.8", command=0x20), "127.0.0.1"),
        (SIGNATURE + b"\x20\x00\x00\x00", "127.0.0.1"),
        (SIGNATURE + b"\x21\x00\x00\x00", "127.0.0.1"),
    ],
)
async def test_a_call_comes_from_where_the_header_says(platform: Platform, header: bytes, client: str) -> None:
    for pieces in ([header + ASK], [header, ASK], [bytes([byte]) for byte in header + ASK]):
        wire = await Wire.open(platform.node.port)
        for piece in pieces:
            wire.send(piece)
            await asyncio.sleep(0)
        assert (await wire.answer()).json["payload"] == client
        # The header belongs to the connection: the next request on it has none.
        wire.send(ASK)
        assert (await wire.answer()).json["payload"] == client
        await wire.hang_up()


@pytest.mark.asyncio(loop_scope="module")
async def test_without_the_header_a_call_is_refused_and_told_why(platform: Platform) -> None:
    answer = await fetch(platform.node.port, "GET", "/healthcheck")
    assert answer.status == 400
    assert b"socket.proxy_protocol" in answer.body


@pytest.mark.asyncio(loop_scope="module")
async def test_a_header_that_does_not_end_is_timed_out(platform: Platform) -> None:
    for header in (LINE[:-1], block("203.0.113.8")[:-1], b"P", LINE):
        wire = await opened(platform, header)
        assert (await wire.ended()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.asyncio(loop_scope="module")
async def test_operators_ask_without_it(platform: Platform) -> None:
    assert (await fetch(platform.node.console_port, "GET", "/ready")).status == 200


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n",
        b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.07 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.700 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 2\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 2\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        b"PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP5 203.0.113.7 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY " + b"1" * LINE_BYTES_MAX,
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11" + BLOCK_BYTES_MAX.to_bytes(2) + bytes(12),
    ],
)
def test_a_bent_header_is_refused(header: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        read_origin(header)


@given(st.binary(max_size=64), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_whatever_arrives_is_read_refused_or_waited_for(rest: bytes, begin: bytes) -> None:
    try:
        origin = read_origin(begin + rest) if begin + rest else None
    except BadProxyHeader:
        return
    assert origin is None or (isinstance(origin, Origin) and origin.header_bytes <= len(begin + rest))


@pytest.mark.parametrize(
    ("lines", "proxy_count", "address"),
    [
        ([], 1, "192.0.2.1"),
        (["203.0.113.7"], 0, "192.0.2.1"),
        (["203.0.113.7"], 1, "203.0.113.7"),
        (["made-up, 203.0.113.7"], 1, "203.0.113.7"),
        (["made-up", "203.0.113.7"], 1, "203.0.113.7"),
        (["made-up", "203.0.113.7,198.51.100.1"], 2, "203.0.113.7"),
        (["made-up", "203.0.113.7", "198.51.100.1"], 2, "203.0.113.7"),
        (["203.0.113.7"], 2, "203.0.113.7"),
    ],
)
def test_the_last_hops_are_believed_on_however_many_lines_they_stand(
    lines: list[str], proxy_count: int, address: str
) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    assert client_address(headers, "192.0.2.1", proxy_count) == address
