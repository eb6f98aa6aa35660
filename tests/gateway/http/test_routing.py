"""Paths and verbs: what is found, what is not, and what is elsewhere."""

from __future__ import annotations

import pytest

from palestra.testing import Platform
from tests.gateway.http.wire import Answer, fetch

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_FOUND = (404, 5, "Not Found")
WRONG_VERB = (501, 12, "Method Not Allowed")


async def get(platform: Platform, target: str, method: str = "GET") -> Answer:
    bot = await platform.bot()
    return await fetch(platform.node.port, method, target, b"", ("authorization", f"Bearer {bot.token}"))


async def test_the_root_and_the_health_check_need_nothing(platform: Platform) -> None:
    answer = await fetch(platform.node.port, "GET", "/")
    assert (answer.status, answer.body) == (200, b"")
    answer = await fetch(platform.node.port, "GET", "/healthcheck")
    assert (answer.status, answer.body) == (200, b"{}")
    assert (await fetch(platform.node.port, "GET", "/ready")).status == 200


@pytest.mark.parametrize(
    "target",
    [
        "/v2",
        "/v2/",
        "/v2/nothing",
        "/v2/friend/",
        "/v2/account/",
        "/v2/account%2Fauthenticate%2Fdevice/x",
        "/v2/storage/a%2Fb/c",
        "/V2/account",
        "/v2/Account",
        "/favicon.ico",
        "/v2/%E2%82%AC",
        "/v2/%00",
        "/v2/%ff",
    ],
)
async def test_an_unknown_path_is_not_found(platform: Platform, target: str) -> None:
    assert (await get(platform, target)).error == NOT_FOUND


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH"])
async def test_the_root_knows_one_verb(platform: Platform, method: str) -> None:
    answer = await get(platform, "/", method)
    assert answer.status == 404
    if method != "HEAD":
        assert answer.error == NOT_FOUND


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v2/account"),
        ("PATCH", "/v2/account"),
        ("GET", "/v2/account/authenticate/device"),
        ("DELETE", "/v2/storage/collection"),
        ("POST", "/healthcheck"),
        ("PUT", "/v2/rpc/echo"),
        ("DELETE", "/v2/rpc/echo"),
        ("GET", "/v2/storage"),
    ],
)
async def test_a_known_path_with_another_verb_says_so(platform: Platform, method: str, target: str) -> None:
    assert (await get(platform, target, method)).error == WRONG_VERB


async def test_a_head_request_is_another_verb_and_its_answer_has_no_body(platform: Platform) -> None:
    answer = await get(platform, "/v2/account", "HEAD")
    assert (answer.status, answer.body) == (501, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/v2//account", "/v2/account"),
        ("//v2/account", "/v2/account"),
        ("/v2/friend/../account", "/v2/account"),
        ("/v2/./account", "/v2/account"),
        ("/v2/storage//owner", "/v2/storage/owner"),
        ("/v2/storage/..", "/v2"),
        ("/v2//friend/", "/v2/friend/"),
        ("/v2//user?ids=a&ids=b", "/v2/user?ids=a&ids=b"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("//", "/"),
        # What the address could be taken for elsewhere must not leave this host or this header.
        ("//evil.example/..//x", "/x"),
        ("//evil.example", "/evil.example"),
        ("///evil.example/", "/evil.example/"),
        ("//x%0d%0aset-cookie:%20a=b", "/x%0D%0Aset-cookie%3A%20a%3Db"),
        ("//x%E2%82%AC", "/x%E2%82%AC"),
        ("/./%5Cevil.example", "/%5Cevil.example"),
    ],
)
async def test_a_path_with_empty_or_dotted_segments_is_elsewhere(
    platform: Platform, target: str, location: str
) -> None:
    answer = await get(platform, target)
    assert (answer.status, answer.headers["location"], answer.body) == (301, location, b"")
    assert "set-cookie" not in answer.headers


async def test_an_empty_last_parameter_matches(platform: Platform) -> None:
    assert (await get(platform, "/v2/storage/")).status == 200
    answer = await get(platform, "/v2/channel/")
    assert (answer.status, answer.json["code"]) == (400, 3)


async def test_percent_escapes_in_a_parameter_are_decoded_and_a_slash_divides(platform: Platform) -> None:
    bot = await platform.bot()
    objects = [{"collection": "a b€+", "key": "k", "value": "{}", "permission_read": 2}]
    await bot.call("PUT", "/v2/storage", {"objects": objects})
    answer = await get(platform, "/v2/storage/a%20b%E2%82%AC+?limit=10")
    assert [one["collection"] for one in answer.json["objects"]] == ["a b€+"]
    answer = await get(platform, "/v2/leaderboard/a%2Fb")
    assert answer.error == NOT_FOUND


async def test_the_socket_path_without_an_upgrade_is_refused_in_plain_text(platform: Platform) -> None:
    bot = await platform.bot()
    port = platform.node.port
    answer = await fetch(port, "GET", "/ws")
    assert (answer.status, answer.body) == (401, b"Missing or invalid token\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await fetch(port, "GET", f"/ws?token={bot.token}")).status == 400
    assert (await fetch(port, "GET", f"/ws?token={bot.token}&format=yaml")).body == b"Invalid format parameter\n"
    assert (await fetch(port, "POST", f"/ws?token={bot.token}")).status == 405
    # Half an upgrade: the words are there, but not in the form that starts one.
    half = (
        ("connection", "Upgrade"),
        ("upgrade", "websocket, other"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )
    assert (await fetch(port, "GET", f"/ws?token={bot.token}", b"", *half)).status == 400
