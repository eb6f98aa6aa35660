"""Connections that are slow, silent, hasty or hostile: each has its end, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from palestra import Game
from palestra.core.config import Settings, SocketSettings
from palestra.gateway.server import Listener
from palestra.testing import Platform
from tests.gateway.http.game import LARGE_BYTES, Gate, made_game
from tests.gateway.http.wire import SECONDS_MAX, Wire, fetch, request, resident_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "?http_key=defaulthttpkey"
HEALTH = request("GET", "/healthcheck")
READ_SECONDS = 0.3
CONNECTIONS_MAX = 150


@pytest.fixture(scope="module")
def gate() -> Gate:
    """Where calls of `wait` stop."""
    return Gate()


@pytest.fixture(scope="module")
def game(gate: Gate) -> Game:
    """With a function that waits."""
    return made_game(gate)


@pytest.fixture(scope="module")
def node_settings() -> Settings:
    """Impatient."""
    socket = SocketSettings(
        read_timeout_seconds=READ_SECONDS,
        write_timeout_seconds=READ_SECONDS,
        idle_timeout_seconds=READ_SECONDS,
        connections_max=CONNECTIONS_MAX,
    )
    return Settings(socket=socket)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def others_are_unaffected(platform: Platform) -> AsyncIterator[None]:
    """During each test somebody else gets every answer, nothing is logged, and at the end all connections are gone."""
    listener = listening(platform)
    loop = asyncio.get_running_loop()
    trouble: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: trouble.append(context))
    slowest = 0.0
    stop = asyncio.Event()

    async def somebody() -> None:
        nonlocal slowest
        wire = await Wire.open(platform.node.port)
        while not stop.is_set():
            started = loop.time()
            assert (await wire.fetch("GET", "/healthcheck")).json == {}
            slowest = max(slowest, loop.time() - started)
            await asyncio.sleep(0.02)
        await wire.hang_up()

    with capture_logs() as logs:
        other = asyncio.create_task(somebody())
        yield
        stop.set()
        await other
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
    assert trouble == []
    assert slowest < 2.0
    async with asyncio.timeout(SECONDS_MAX):
        while listener.connections:  # noqa: ASYNC110 - a counter of the hot path
            await asyncio.sleep(0.01)


# -- slow and silent


async def test_headers_that_dribble_in_have_a_deadline(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)

    async def dribble() -> None:
        wire.send(b"GET /healthcheck HTTP/1.1\r\n")
        for number in range(10_000):
            wire.send(b"x-%d: y\r\n" % number)
            await asyncio.sleep(0.02)

    dribbling = asyncio.create_task(dribble())
    said = await wire.ended()
    dribbling.cancel()
    assert said.startswith(b"HTTP/1.1 408 ")


async def test_a_request_that_never_begins_or_never_ends_has_a_deadline(platform: Platform) -> None:
    async def begin(start: bytes) -> None:
        wire = await Wire.open(platform.node.port)
        wire.send(start)
        assert (await wire.ended()).startswith(b"HTTP/1.1 408 "), start

    starts = (b"", b"G", b"\r\n", b"\r\n" * 50, b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\ncontent-length: 5\r\n")
    await asyncio.gather(*map(begin, starts))


async def test_a_body_that_never_comes_has_a_deadline(platform: Platform) -> None:
    async def begin(target: str, more: bytes) -> None:
        wire = await Wire.open(platform.node.port)
        wire.send(b"POST %b HTTP/1.1\r\nhost: x\r\n%b" % (target.encode(), more))
        await wire.ended()

    await asyncio.gather(
        *(
            begin(target, more)
            for target in ("/v2/rpc/echo" + KEY, "/v2/account/authenticate/device", "/v2/event", "/x", "/healthcheck")
            for more in (b"content-length: 50\r\n\r\nhalf", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        )
    )


async def test_an_idle_connection_is_closed_without_a_word(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    assert (await wire.fetch("GET", "/healthcheck")).status == 200
    assert await wire.ended() == b""


async def test_bytes_that_ask_for_nothing_keep_no_connection_open(platform: Platform) -> None:
    """Neither blank lines after an answer nor the rest of a body that nobody waited for."""

    async def linger(rest: bytes, late: bytes) -> None:
        wire = await Wire.open(platform.node.port)
        wire.send(b"GET /healthcheck HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n" + rest)
        assert (await wire.answer()).status == 200
        wire.send(late)
        await wire.ended()

    await asyncio.gather(
        linger(b"abcdef", b"\r\n"), linger(b"abcdef", b"GE"), linger(b"abc", b"d"), linger(b"abc", b"def")
    )


# -- hasty


async def test_pipelined_requests_are_answered_in_order(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    for number in range(60):
        wire.ask("POST", "/v2/rpc/echo" + KEY, b'"%d"' % number)
    wire.ask("GET", "/nothing")
    assert [(await wire.answer()).json for _ in range(60)] == [{"payload": str(number)} for number in range(60)]
    assert (await wire.answer()).status == 404
    await wire.hang_up()


async def test_a_pipeline_has_a_length(platform: Platform, gate: Gate) -> None:
    """Requests behind one that takes long are not hoarded."""
    wires = [await Wire.open(platform.node.port) for _ in range(20)]
    for wire in wires:
        wire.ask("POST", "/v2/rpc/wait" + KEY)
    await asyncio.wait_for(gate.entered.wait(), SECONDS_MAX)
    for wire in wires:
        wire.send(b"GET / HTTP/1.1\r\n\r\n" * 3_000)
    async with asyncio.timeout(5):
        for wire in wires:
            assert b" 200 OK" not in await wire.ended()
    gate.open.set()


async def test_who_leaves_in_the_middle_leaves_nothing_behind(platform: Platform) -> None:
    whole = request("POST", "/v2/rpc/large" + KEY, b'"x"')
    body = whole.index(b"\r\n\r\n") + 4
    for cut in (1, 10, body - 2, body, body + 1, len(whole)):
        for half_close in (False, True):
            wire = await Wire.open(platform.node.port)
            wire.send(whole[:cut])
            if half_close:
                wire.writer.write_eof()
            await asyncio.sleep(0)
            await wire.hang_up()
    assert platform.node.parts is not None
    async with asyncio.timeout(SECONDS_MAX):
        while platform.node.parts.dispatcher.in_flight:  # noqa: ASYNC110 - a counter of the hot path
            await asyncio.sleep(0.01)


async def test_who_never_reads_gets_an_end_and_little_memory(platform: Platform) -> None:
    """A hundred requests for four megabytes each, and not one byte of the answers is taken."""
    before = resident_bytes()
    wire = await Wire.open(platform.node.port, receive_bytes=4096)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(100):
        wire.ask("POST", "/v2/rpc/large" + KEY)
        await asyncio.sleep(0.005)
    assert resident_bytes() - before < 8 * LARGE_BYTES
    async with asyncio.timeout(SECONDS_MAX):
        while listening(platform).connections > 1:  # noqa: ASYNC110 - a counter of the hot path
            await asyncio.sleep(0.01)
    await wire.hang_up()


async def test_a_slow_reader_gets_everything(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port, receive_bytes=65_536)
    for _ in range(3):
        wire.ask("POST", "/v2/rpc/large" + KEY)
    for _ in range(3):
        assert len((await wire.answer()).json["payload"]) == LARGE_BYTES
    await wire.hang_up()


# -- chunks and continuations


async def test_a_chunked_body_is_read(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    head = b"POST /v2/rpc/echo%b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % KEY.encode()
    parts = [b'"he', b"l", b'lo"']
    chunks = [b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts]
    trailer = b"0\r\nx-trailer: y\r\n\r\n"
    for pieces in ([head + b"".join(chunks) + trailer], [head, *chunks, trailer]):
        for piece in pieces:
            wire.send(piece)
            await fetch(platform.node.port, "GET", "/healthcheck")
        assert (await wire.answer()).json == {"payload": "hello"}
    await wire.hang_up()


async def test_a_chunked_body_has_the_same_limit(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    wire.send(b"POST /v2/rpc/echo%b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % KEY.encode())
    for _ in range(5):
        wire.send(b"10000\r\n%b\r\n" % (b"x" * 65536))
    wire.send(b"0\r\n\r\n")
    assert (await wire.answer()).error == (400, 3, "http: request body too large")
    assert (await wire.fetch("GET", "/healthcheck")).status == 200
    await wire.hang_up()


async def test_what_stands_around_chunks_is_not_hoarded(platform: Platform) -> None:
    """Trailers, or tiny chunks, without end."""
    before = resident_bytes()

    async def flood(start: bytes, piece: bytes) -> None:
        wire = await Wire.open(platform.node.port)
        head = b"POST /v2/rpc/echo%b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % KEY.encode()
        wire.send(head + start)
        with contextlib.suppress(ConnectionError):
            while not wire.writer.transport.is_closing():
                wire.send(piece)
                await wire.writer.drain()
        await wire.ended()

    await asyncio.gather(
        flood(b"0\r\n", b"x-1: y\r\n" * 1000),
        flood(b"0\r\nlong: ", b"y" * 10_000),
        flood(b"0\r\n", b"y" * 10_000),
        flood(b"", b"1\r\nx\r\n" * 1000),
        flood(b"5;", b"y" * 10_000),
    )
    assert resident_bytes() - before < 60_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\nhello\r\n",
        b"-1\r\nhello\r\n",
        b"fffffffffffffffff\r\n",
        b"5\r\nhello, world\r\n",
        b"5 \x00\r\nhello\r\n",
        b"\r\n\r\n",
    ],
)
async def test_malformed_chunks_are_a_bad_request(platform: Platform, body: bytes) -> None:
    wire = await Wire.open(platform.node.port)
    wire.send(b"POST /v2/rpc/echo%b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % KEY.encode() + body)
    answer = await wire.answer()
    assert answer.status == 400
    await wire.ended()


async def test_two_lengths_are_no_length(platform: Platform) -> None:
    """What could be read as one request or as two is neither."""
    for lengths in (
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"content-length: +5\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: 99999999999999999999999\r\n",
        b"transfer-encoding: gzip\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"content-length : 5\r\n",
    ):
        wire = await Wire.open(platform.node.port)
        wire.send(b"POST /v2/rpc/echo%b HTTP/1.1\r\nhost: x\r\n%b\r\nhello" % (KEY.encode(), lengths))
        assert (await wire.answer()).status == 400, lengths
        await wire.ended()


async def test_who_waits_to_be_told_to_continue_is_told(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    head = request("POST", "/v2/rpc/echo" + KEY, b'"hi"', ("expect", "100-continue"))
    wire.send(head[:-4])
    assert (await wire.answer()).status == 100
    wire.send(b'"hi"')
    assert (await wire.answer()).json == {"payload": "hi"}
    # Who may not call at all is told at once.
    refused = request("POST", "/v2/rpc/echo", b'"hi"', ("expect", "100-continue"))
    wire.send(refused[:-4])
    assert (await wire.answer()).status == 401
    await wire.hang_up()


# -- hostile


@pytest.mark.parametrize(
    ("target", "header", "status"),
    [
        ("/" + "x" * 100_000, b"", 431),
        ("/healthcheck?" + "x" * 100_000, b"", 431),
        ("/healthcheck", b"".join(b"x-%d: y\r\n" % number for number in range(10_000)), 431),
        ("/healthcheck", b"x: " + b"y" * 100_000 + b"\r\n", 431),
        ("/healthcheck", b"x" * 100_000 + b": y\r\n", 431),
        ("/healthcheck", b"x: \x00\r\n", 400),
        ("/healthcheck", b"no colon\r\n", 400),
        ("/healthcheck", b": no name\r\n", 400),
        ("/\xff\xfe", b"", 400),
        ("no-slash", b"", 400),
        ("*", b"", 404),
        ("/%zz", b"", 404),
        ("http://other.example/healthcheck", b"", 200),
        ("http://[::1", b"", 400),
    ],
)
async def test_a_start_that_is_too_large_or_malformed_is_refused(
    platform: Platform, target: str, header: bytes, status: int
) -> None:
    wire = await Wire.open(platform.node.port)
    wire.send(b"GET %b HTTP/1.1\r\nhost: x\r\n%b\r\n" % (target.encode("latin-1"), header))
    assert (await wire.answer()).status == status
    await wire.hang_up()


async def test_large_headers_in_small_pieces_are_refused_too(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    said = asyncio.create_task(wire.ended())
    wire.send(b"GET /healthcheck HTTP/1.1\r\n")
    for number in range(97):
        wire.send(b"x-%02d: %b\r\n" % (number, b"y" * 89))
        await asyncio.sleep(0)
    assert (await said).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "start",
    [
        b"CONNECT x:443 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
async def test_another_protocol_is_a_bad_request(platform: Platform, start: bytes) -> None:
    wire = await Wire.open(platform.node.port)
    wire.send(start)
    assert (await wire.answer()).status == 400
    await wire.ended()


async def test_an_upgrade_that_is_not_offered_is_an_ordinary_request_and_the_last(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    upgrade = (("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk"))
    answer = await wire.fetch("GET", "/healthcheck", b"", *upgrade)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await wire.ended() == b""


async def test_the_body_of_a_request_for_an_upgrade_is_read(platform: Platform) -> None:
    """Some clients ask for another version of HTTP with their first request, whatever it is."""
    upgrade = (("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk"))
    whole = request("POST", "/v2/rpc/echo" + KEY, b'"hello"', *upgrade)
    chunked = whole.replace(b"content-length: 7", b"transfer-encoding: chunked")[:-7] + b'7\r\n"hello"\r\n0\r\n\r\n'
    for data in (whole, chunked):
        for cut in (len(data), data.index(b"\r\n\r\n") + 4, len(data) - 4):
            wire = await Wire.open(platform.node.port)
            wire.send(data[:cut])
            await fetch(platform.node.port, "GET", "/healthcheck")
            wire.send(data[cut:] + request("POST", "/v2/rpc/echo" + KEY, b'"more"'))
            assert (await wire.answer()).json == {"payload": "hello"}
            assert await wire.ended() == b""
    wire = await Wire.open(platform.node.port)
    wire.send(whole[:-3])
    assert await wire.ended() == b""
    assert (await fetch(platform.node.port, "POST", "/nothing", b"x", *upgrade)).status == 404


async def test_a_hundred_connections_of_noise_harm_nobody(platform: Platform) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    noise = random.Random(seed)

    async def shout() -> None:
        wire = await Wire.open(platform.node.port)
        if noise.random() < 0.5:
            wire.send(request("GET", "/healthcheck"))
        for _ in range(noise.randrange(1, 6)):
            wire.send(noise.randbytes(noise.choice((1, 20, 5_000, 60_000))))
            await asyncio.sleep(0)
        await wire.ended()

    await asyncio.gather(*(shout() for _ in range(100)))


async def test_connections_beyond_the_limit_are_told_to_come_back(platform: Platform) -> None:
    listener = listening(platform)
    bots = [await platform.bot() for _ in range(3)]
    for bot in bots:
        await bot.connect()
    wires: list[Wire] = []
    while listener.connections < CONNECTIONS_MAX:
        wires.append(await Wire.open(platform.node.port))
        wires[-1].send(HEALTH)
        assert (await wires[-1].answer()).status == 200
    extra = await Wire.open(platform.node.port)
    answer = await extra.answer()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert await extra.ended() == b""
    for bot in bots:
        assert await bot.ask(ping={}) == {"pong": {}}
        await bot.leave()
    for wire in wires:
        await wire.ended()
    assert (await fetch(platform.node.port, "GET", "/healthcheck")).status == 200


async def test_sockets_that_come_and_go_leave_the_count_as_it_was(platform: Platform) -> None:
    listener = listening(platform)
    bot = await platform.bot()
    for _ in range(20):
        await bot.connect()
        assert await bot.ask(ping={}) == {"pong": {}}
        await bot.leave()
    assert listener.connections < 10


def listening(platform: Platform) -> Listener:
    """The node's door."""
    listener = platform.node._listener
    assert listener is not None
    return listener
