"""What browsers of other origins may do."""

from __future__ import annotations

import pytest

from palestra.testing import Platform
from tests.gateway.http.wire import Answer, fetch

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = ("origin", "https://game.example")


async def preflight(platform: Platform, *headers: tuple[str, str], target: str = "/v2/account") -> Answer:
    return await fetch(platform.node.port, "OPTIONS", target, b"", *headers)


def cors_headers(answer: Answer) -> dict[str, str]:
    prefix = "access-control-"
    return {name.removeprefix(prefix): value for name, value in answer.headers.items() if name.startswith(prefix)}


@pytest.mark.parametrize("origin", ["https://game.example", "null"])
@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/healthcheck", 200),
        ("/", 200),
        ("/v2/account", 401),
        ("/nothing", 404),
        ("/v2//account", 301),
        ("/v2/rpc/echo?http_key=defaulthttpkey", 200),
        ("/v2/rpc/echo", 401),
        ("/ws", 401),
    ],
)
async def test_any_origin_may_read_any_answer(platform: Platform, origin: str, target: str, status: int) -> None:
    answer = await fetch(platform.node.port, "GET", target, b"", ("origin", origin))
    assert (answer.status, cors_headers(answer)) == (status, {"allow-origin": "*"})


async def test_without_an_origin_nothing_is_said_of_origins(platform: Platform) -> None:
    assert cors_headers(await fetch(platform.node.port, "GET", "/v2/account")) == {}
    answer = await preflight(platform)
    assert (answer.status, answer.body, cors_headers(answer)) == (200, b"", {})


@pytest.mark.parametrize("target", ["/v2/account", "/nothing", "/", "/ws", "/v2/rpc/x"])
async def test_a_preflight_is_granted_on_any_path(platform: Platform, target: str) -> None:
    answer = await preflight(
        platform,
        ORIGIN,
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization,CONTENT-type, Accept"),
        target=target,
    )
    assert (answer.status, answer.body) == (200, b"")
    assert cors_headers(answer) == {
        "allow-origin": "*",
        "allow-methods": "PUT",
        "allow-headers": "Authorization,Content-Type",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_simple_methods_and_headers_need_not_be_named(platform: Platform, method: str) -> None:
    answer = await preflight(
        platform,
        ORIGIN,
        ("access-control-request-method", method),
        ("access-control-request-headers", "accept, accept-language, content-language, origin"),
    )
    assert (answer.status, cors_headers(answer)) == (200, {"allow-origin": "*"})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 400),
        ((("access-control-request-method", ""),), 400),
        ((("access-control-request-method", "PATCH"),), 405),
        ((("access-control-request-method", "get"),), 405),
        ((("access-control-request-method", "GET"), ("access-control-request-headers", "x-evil")), 403),
        ((("access-control-request-method", "GET"), ("access-control-request-headers", "accept, cookie")), 403),
    ],
)
async def test_other_preflights_are_refused_without_a_word(
    platform: Platform, headers: tuple[tuple[str, str], ...], status: int
) -> None:
    answer = await preflight(platform, ORIGIN, *headers)
    assert (answer.status, answer.body, cors_headers(answer)) == (status, b"", {})
