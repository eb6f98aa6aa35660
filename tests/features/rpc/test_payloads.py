"""Payloads of functions on the wire: wrapped and bare, by POST and GET, with a session or the http key."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from palestra import Context, Game
from palestra.testing import Bot, Platform

KEY = "?http_key=defaulthttpkey"


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    game = Game("echo")

    @game.rpc
    async def echo(ctx: Context, payload: str) -> str:
        return payload

    async with Platform.start(game, database_url=database_url) as platform:
        yield platform


async def ask(
    platform: Platform, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, str]:
    async with platform.http.request(method, platform.url + path, data=body, headers=headers) as answer:
        return answer.status, answer.headers["content-type"], await answer.text()


def error(code: int, message: str) -> str:
    return f'{{"error":"{message}","message":"{message}","code":{code}}}'


async def test_a_payload_travels_as_a_json_string_or_bare(platform: Platform) -> None:
    echo = "/v2/rpc/ECHO" + KEY
    text = '<a href="x">é & 王\u2028</a>'
    status, kind, body = await ask(platform, "POST", echo, b'"<a href=\\"x\\">\xc3\xa9 & \xe7\x8e\x8b\\u2028</a>"')
    assert (status, kind) == (200, "application/json")
    assert body == '{"payload":"\\u003ca href=\\"x\\"\\u003eé \\u0026 王\\u2028\\u003c/a\\u003e"}'
    for nothing in (b"", b"null", b"  ", b'""'):
        assert (await ask(platform, "POST", echo, nothing))[2] == '{"payload":""}'
    for wrong in (b"{}", b"5", b'"open', b"\xff", b"[1]", b'"a" "b"'):
        status, _, body = await ask(platform, "POST", echo, wrong)
        assert (status, '"code":3' in body) == (400, True), wrong

    for unwrap in ("&unwrap", "&unwrap=false"):
        bare = await ask(platform, "POST", echo + unwrap, text.encode(), **{"Content-Type": "text/html"})
        assert bare == (200, "text/html", text)
    assert (await ask(platform, "POST", echo + "&unwrap", b"\xff"))[0] == 400
    assert (await ask(platform, "POST", echo + "&unwrapped=1", text.encode()))[0] == 400
    assert (await ask(platform, "GET", echo + "&payload=ignored"))[2] == '{"payload":""}'


async def test_whoever_calls_needs_a_session_or_the_key(platform: Platform) -> None:
    ann: Bot = await platform.bot()
    basic = "Basic " + base64.b64encode(b"defaulthttpkey:").decode()
    bearer = f"Bearer {ann.token}"
    for path, headers in (("", {"Authorization": basic}), ("", {"Authorization": bearer}), (KEY, {})):
        assert (await ask(platform, "GET", "/v2/rpc/echo" + path, **headers))[0] == 200
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("", {}, "Auth token or HTTP key required"),
        ("?http_key=", {}, "Auth token or HTTP key required"),
        ("?http_key=wrong", {"Authorization": bearer}, "HTTP key invalid"),
        ("", {"Authorization": "Basic " + base64.b64encode(b":").decode()}, "HTTP key invalid"),
        ("", {"Authorization": "Bearer nonsense"}, "Auth token invalid"),
        ("", {"Authorization": "Basic " + base64.b64encode(b"defaultkey:").decode()}, "HTTP key invalid"),
    ]
    for path, headers, told in wrong:
        status, _, body = await ask(platform, "GET", "/v2/rpc/echo" + path, **headers)
        assert (status, body) == (401, error(16, told)), (path, headers)


async def test_a_call_without_an_id_or_of_an_unknown_function_is_told(platform: Platform) -> None:
    assert (await ask(platform, "POST", "/v2/rpc/" + KEY))[::2] == (400, error(3, "RPC ID must be set"))
    assert (await ask(platform, "POST", "/v2/rpc/a/b" + KEY))[::2] == (404, error(5, "RPC function not found"))
    assert (await ask(platform, "PUT", "/v2/rpc/echo" + KEY))[0] == 501
