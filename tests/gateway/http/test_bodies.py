"""Bodies in and out: headers, limits, compression both ways."""

from __future__ import annotations

import gzip
import json
import resource
import zlib

import pytest
import pytest_asyncio

from palestra.core.config import Settings, SocketSettings
from palestra.testing import Platform
from tests.gateway.http.wire import SERVER_KEY, Answer, Wire, fetch, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 262_144
KEY = "?http_key=defaulthttpkey"
TOO_LARGE = (400, 3, "http: request body too large")


@pytest.fixture(scope="module")
def node_settings() -> Settings:
    """With headers of its own."""
    extra = ("x-game=arena", "Cache-Control=public", "x-empty=")
    return Settings(socket=SocketSettings(response_headers=extra))


def raw_deflate(data: bytes, level: int = 9) -> bytes:
    squeeze = zlib.compressobj(level=level, wbits=-15)
    return squeeze.compress(data) + squeeze.flush()


async def event(platform: Platform, body: bytes, *headers: tuple[str, str]) -> Answer:
    """An operation that takes any body and answers `{}`."""
    bot = await platform.bot()
    bearer = ("authorization", f"Bearer {bot.token}")
    return await fetch(platform.node.port, "POST", "/v2/event", body, bearer, *headers)


async def echo(platform: Platform, body: bytes, *headers: tuple[str, str], unwrap: bool = True) -> Answer:
    target = "/v2/rpc/echo" + KEY + ("&unwrap" if unwrap else "")
    return await fetch(platform.node.port, "POST", target, body, *headers)


# -- headers of answers


async def test_answers_of_the_api_carry_the_documented_headers(platform: Platform) -> None:
    fine = await fetch(platform.node.port, "GET", "/healthcheck")
    failed = await fetch(platform.node.port, "GET", "/v2/account")
    for answer in (fine, failed):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store, no-cache, must-revalidate"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["x-game"] == "arena"
        assert answer.headers["x-empty"] == ""
    assert fine.headers["grpc-metadata-content-type"] == "application/grpc"
    assert "grpc-metadata-content-type" not in failed.headers
    assert "retry-after" not in failed.headers


async def test_an_error_has_a_code_and_a_message_and_nothing_else(platform: Platform) -> None:
    answer = await event(platform, b"[]")
    assert set(answer.json) == {"code", "message"}
    assert (answer.status, answer.json["code"]) == (400, 3)


# -- limits


async def test_a_body_may_be_as_large_as_the_limit_and_no_larger(platform: Platform) -> None:
    body = b'{"name":"' + b"x" * (LIMIT - 11) + b'"}'
    assert len(body) == LIMIT
    assert (await event(platform, body)).json == {}
    assert (await event(platform, body + b" ")).error == TOO_LARGE
    assert (await event(platform, b"\x00" * (3 * LIMIT))).error == TOO_LARGE


async def test_the_limit_of_functions_is_the_same_with_the_same_words(platform: Platform) -> None:
    assert len((await echo(platform, b"x" * LIMIT)).body) == LIMIT
    assert (await echo(platform, b"x" * (LIMIT + 1))).error == TOO_LARGE


async def test_a_connection_can_be_used_again_after_a_body_that_was_too_large(platform: Platform) -> None:
    wire = await Wire.open(platform.node.port)
    answer = await wire.fetch("POST", "/v2/rpc/echo" + KEY, b"x" * (2 * LIMIT))
    assert answer.error == TOO_LARGE
    assert (await wire.fetch("GET", "/healthcheck")).json == {}
    await wire.hang_up()


async def test_a_header_block_that_is_too_large_is_refused(platform: Platform) -> None:
    port = platform.node.port
    assert (await fetch(port, "GET", "/healthcheck", b"", ("x-long", "x" * 8000))).status == 200
    wire = await Wire.open(port)
    answer = await wire.fetch("GET", "/healthcheck", b"", ("x-long", "x" * 10_000))
    assert (answer.status, answer.body) == (431, b"431 Request Header Fields Too Large")
    assert answer.headers["content-type"].startswith("text/plain")
    assert await wire.ended() == b""


async def test_a_large_body_right_behind_small_headers_is_no_large_header(platform: Platform) -> None:
    """However the bytes are cut into packets, even within the blank line."""
    whole = request("POST", "/v2/rpc/echo" + KEY + "&unwrap", b"y" * 100_000)
    end = whole.index(b"\r\n\r\n")
    for cut in range(end - 1, end + 6):
        wire = await Wire.open(platform.node.port)
        wire.writer.transport.set_write_buffer_limits(0)
        wire.send(whole[:cut])
        # An answer on another connection shows that the first packet has been read on its own.
        assert (await fetch(platform.node.port, "GET", "/healthcheck")).status == 200
        wire.send(whole[cut:])
        assert len((await wire.answer()).body) == 100_000
        await wire.hang_up()


# -- compression of requests


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", raw_deflate)])
async def test_a_compressed_body_is_unpacked(platform: Platform, coding: str, pack: object) -> None:
    text = "payload é €" * 100
    packed = pack(text.encode())  # type: ignore[operator]
    assert (await echo(platform, packed, ("content-encoding", coding))).body.decode() == text
    bot = await platform.bot()
    body = pack(json.dumps({"display_name": "Packed"}).encode())  # type: ignore[operator]
    bearer = ("authorization", f"Bearer {bot.token}")
    answer = await fetch(platform.node.port, "PUT", "/v2/account", body, bearer, ("content-encoding", coding))
    assert answer.json == {}
    assert (await bot.call("GET", "/v2/account"))["user"]["display_name"] == "Packed"


async def test_a_body_that_is_not_what_its_coding_says_is_taken_as_plain_or_refused(platform: Platform) -> None:
    fine = b'{"name":"x"}'
    for coding in ("gzip", "identity", "br", "GZIP", "gzip, gzip", ""):
        assert (await event(platform, fine, ("content-encoding", coding))).json == {}, coding
    packed = gzip.compress(fine)
    for body, coding in (
        (packed[:-1], "gzip"),
        (packed[:12], "gzip"),
        (b"\x1f\x8b", "gzip"),
        (b"\x1f\x8b" + b"junk" * 10, "gzip"),
        (packed[:-8] + b"12345678", "gzip"),
        (zlib.compress(fine), "deflate"),
        (raw_deflate(fine)[:-1], "deflate"),
        (b"\xff" * 20, "deflate"),
    ):
        answer = await event(platform, body, ("content-encoding", coding))
        assert (answer.status, answer.json["code"]) == (400, 3), (body, coding)
    for coding in ("gzip", "deflate"):
        assert (await event(platform, b"", ("content-encoding", coding))).json == {}, coding


async def test_a_body_that_grows_beyond_the_limit_is_refused_without_growing_it(platform: Platform) -> None:
    """Each of these would be 200 MB large: twenty of them never were."""
    zeros = bytes(200_000_000)
    bombs = (("gzip", gzip.compress(zeros, 9)), ("deflate", raw_deflate(zeros)))
    del zeros
    exact = gzip.compress(b'{"name":"' + b"x" * (LIMIT - 11) + b'"}')
    assert (await event(platform, exact, ("content-encoding", "gzip"))).json == {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for coding, bomb in bombs:
        assert len(bomb) < LIMIT
        for _ in range(10):
            answer = await event(platform, bomb, ("content-encoding", coding))
            assert answer.status == 429
            assert answer.json["code"] == 8
            assert answer.json["message"].startswith("trying to send message larger than max (")
        answer = await echo(platform, bomb, ("content-encoding", coding))
        assert (answer.status, answer.json["code"]) == (429, 8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


# -- compression of answers


@pytest_asyncio.fixture(loop_scope="module")
async def long_answer(platform: Platform) -> tuple[str, tuple[str, str]]:
    """A path whose answer is worth compressing, and the header to ask with."""
    bot = await platform.bot()
    objects = [{"collection": "long", "key": f"k{n}", "value": json.dumps({"v": "x" * 200})} for n in range(20)]
    await bot.call("PUT", "/v2/storage", {"objects": objects})
    return f"/v2/storage/long/{bot.id}?limit=100", ("authorization", f"Bearer {bot.token}")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("br , deflate,gzip", "deflate"),
        ("gzip;q=1.0", ""),
        ("gzip;q=1.0, deflate", "deflate"),
        ("GZIP", ""),
        ("identity", ""),
        ("*", ""),
        ("", ""),
    ],
)
async def test_an_answer_is_packed_as_the_first_plain_word_says(
    platform: Platform, long_answer: tuple[str, tuple[str, str]], accepted: str, coding: str
) -> None:
    target, bearer = long_answer
    answer = await fetch(platform.node.port, "GET", target, b"", bearer, ("accept-encoding", accepted))
    assert answer.headers.get("content-encoding", "") == coding
    body = answer.body
    if coding:
        body = zlib.decompress(body, wbits=31 if coding == "gzip" else -15)
        assert len(answer.body) < len(body) / 2
    assert len(json.loads(body)["objects"]) == 20


async def test_a_short_answer_is_not_packed(platform: Platform) -> None:
    answer = await fetch(platform.node.port, "GET", "/healthcheck", b"", ("accept-encoding", "gzip"))
    assert (answer.body, answer.headers.get("content-encoding")) == (b"{}", None)


# -- forms, and what kind of content was announced


async def test_the_announced_kind_of_content_is_ignored_but_for_forms_without_a_body(platform: Platform) -> None:
    xml = ("content-type", "application/xml")
    assert (await event(platform, b'{"name":"x"}', xml)).json == {}
    assert (await event(platform, b"<x/>", xml)).status == 400
    bot, friend = await platform.bot(), await platform.bot()
    bearer = ("authorization", f"Bearer {bot.token}")
    form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    answer = await fetch(platform.node.port, "POST", "/v2/friend", f"ids={friend.id}".encode(), bearer, form)
    assert answer.json == {}
    assert (await bot.call("GET", "/v2/friend"))["friends"][0]["user"]["id"] == friend.id


async def test_the_password_of_a_login_may_hold_any_text(platform: Platform) -> None:
    body = json.dumps({"email": "a+b@game.example", "password": '"\\\u0001\u2028€😀pass'}).encode()
    for created in (True, False):
        answer = await fetch(
            platform.node.port, "POST", "/v2/account/authenticate/email", body, ("authorization", SERVER_KEY)
        )
        assert (answer.status, answer.json.get("created", False)) == (200, created)
