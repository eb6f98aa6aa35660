"""Who may call: server key, session and http key, and the refusal each mistake gets."""

from __future__ import annotations

import base64

import pytest

from palestra.testing import Platform
from tests.gateway.http.wire import SERVER_KEY, Answer, fetch

pytestmark = pytest.mark.asyncio(loop_scope="module")


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


async def log_in(platform: Platform, *authorization: str) -> Answer:
    headers = [("authorization", value) for value in authorization]
    body = b'{"id":"device-of-the-auth-tests"}'
    return await fetch(platform.node.port, "POST", "/v2/account/authenticate/device", body, *headers)


@pytest.mark.parametrize("value", [SERVER_KEY, basic("defaultkey:whatever:comes"), "Basic ZGVmYXVsdGtleTo="])
async def test_a_server_key_opens_whatever_follows_its_colon(platform: Platform, value: str) -> None:
    assert (await log_in(platform, value)).status == 200


@pytest.mark.parametrize(
    "value",
    [
        basic("otherkey:"),
        basic("defaultkey"),
        basic("DEFAULTKEY:"),
        "basic ZGVmYXVsdGtleTo=",
        "BASIC ZGVmYXVsdGtleTo=",
        "Basic ZGVmYXVsdGtleTo",
        "Basic ",
        "Basic",
        "Basic !!!!",
        "Basic  ZGVmYXVsdGtleTo=",
        "Bearer ZGVmYXVsdGtleTo=",
        "ZGVmYXVsdGtleTo=",
        "Basic \xff\xfe",
        "",
    ],
)
async def test_a_malformed_or_wrong_server_key_is_invalid(platform: Platform, value: str) -> None:
    answer = await log_in(platform, value)
    assert answer.error == (401, 16, "Server key invalid")
    assert answer.headers["www-authenticate"] == "Server key invalid"


async def test_a_server_key_that_is_missing_or_repeated_is_required(platform: Platform) -> None:
    assert (await log_in(platform)).error == (401, 16, "Server key required")
    answer = await log_in(platform, SERVER_KEY, SERVER_KEY)
    assert answer.error == (401, 16, "Server key required")
    assert answer.headers["www-authenticate"] == "Server key required"
    assert (await log_in(platform, SERVER_KEY, SERVER_KEY, SERVER_KEY)).status == 401


async def account(platform: Platform, *authorization: str) -> Answer:
    headers = [("authorization", value) for value in authorization]
    return await fetch(platform.node.port, "GET", "/v2/account", b"", *headers)


async def test_a_session_token_opens_and_nothing_like_it_does(platform: Platform) -> None:
    bot = await platform.bot()
    good = f"Bearer {bot.token}"
    head, payload, signature = bot.token.split(".")
    assert (await account(platform, good)).json["user"]["id"] == bot.id
    none_signed = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    for wrong in (
        f"bearer {bot.token}",
        f"BEARER {bot.token}",
        f"Bearer  {bot.token}",
        f"Bearer{bot.token}",
        bot.token,
        "Bearer",
        "Bearer ",
        "Bearer ...",
        f"Bearer {head}.{payload}",
        f"Bearer {head}.{payload}.",
        f"Bearer {head}.{payload}.{signature[:-2]}xx",
        f"Bearer {none_signed}.{payload}.{signature}",
        f"Bearer {none_signed}.{payload}.",
        f"Bearer {head}.{payload}=.{signature}",
        f"Bearer {head}..{signature}",
        f"Bearer {bot.token}\xff",
        f"Bearer {bot.refresh_token}",
        "Bearer \xe9\xff",
        SERVER_KEY,
        "",
    ):
        answer = await account(platform, wrong)
        assert answer.error == (401, 16, "Auth token invalid"), wrong
        assert answer.headers["www-authenticate"] == "Auth token invalid"
    assert (await account(platform, good, good)).error == (401, 16, "Auth token invalid")
    assert (await account(platform)).error == (401, 16, "Auth token required")


async def test_what_cannot_be_decoded_is_refused_before_who_calls_is_looked_at(platform: Platform) -> None:
    answer = await fetch(platform.node.port, "PUT", "/v2/account", b"[1]")
    assert (answer.status, answer.json["code"]) == (400, 3)
    answer = await fetch(platform.node.port, "GET", "/v2/friend?limit=x")
    assert (answer.status, answer.json["code"]) == (400, 3)


async def call(platform: Platform, target: str, *authorization: str, body: bytes = b'"hi"') -> Answer:
    headers = [("authorization", value) for value in authorization]
    return await fetch(platform.node.port, "POST", "/v2/rpc/" + target, body, *headers)


async def test_functions_take_an_http_key_or_a_session(platform: Platform) -> None:
    bot = await platform.bot()
    assert (await call(platform, "echo?http_key=defaulthttpkey")).json == {"payload": "hi"}
    assert (await call(platform, "echo?http%5Fkey=defaulthttp%6Bey")).json == {"payload": "hi"}
    assert (await call(platform, "echo", basic("defaulthttpkey:"))).json == {"payload": "hi"}
    assert (await call(platform, "ECHO", f"Bearer {bot.token}")).json == {"payload": "hi"}
    # A key in the query is looked at first, right or wrong.
    assert (await call(platform, "echo?http_key=defaulthttpkey", "Bearer junk")).status == 200
    assert (await call(platform, "echo?http_key=junk", f"Bearer {bot.token}")).status == 401
    assert (await call(platform, "echo?http_key=", f"Bearer {bot.token}")).status == 200


@pytest.mark.parametrize(
    ("target", "authorization", "message"),
    [
        ("echo", (), "Auth token or HTTP key required"),
        ("echo?http_key=junk", (), "HTTP key invalid"),
        ("echo?http_key=%FF%00", (), "HTTP key invalid"),
        ("echo", (SERVER_KEY,), "HTTP key invalid"),
        ("echo", ("Basic ??",), "HTTP key invalid"),
        ("echo", ("Bearer junk",), "Auth token invalid"),
        ("echo", ("junk",), "Auth token invalid"),
        ("unknown", (), "Auth token or HTTP key required"),
    ],
)
async def test_functions_say_what_is_wrong_with_a_key(
    platform: Platform, target: str, authorization: tuple[str, ...], message: str
) -> None:
    answer = await call(platform, target, *authorization, body=b"not json")
    assert answer.status == 401
    assert answer.json == {"error": message, "message": message, "code": 16}


async def test_a_message_of_game_code_cannot_add_headers(platform: Platform) -> None:
    answer = await call(platform, "refuse?http_key=defaulthttpkey", body=rb'"no\r\nset-cookie: a=b\u0000\u20ac"')
    assert (answer.status, answer.json["error"]) == (401, {})
    assert "set-cookie" not in answer.headers
    assert answer.headers["www-authenticate"] == "no??set-cookie: a=b??"
