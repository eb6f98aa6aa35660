"""Garbage at every operation: each answer is a documented one, nothing breaks, nothing grows.

`PALESTRA_FUZZ_EXAMPLES` sets how many bundles of requests are tried; a failure prints how to repeat it.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import os
import zlib
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from palestra.app.build import table
from palestra.gateway.operation import Auth, Operation
from palestra.testing import Bot, Platform
from tests.gateway.garbage import ME, UUID, bodies, paths, queries, texts
from tests.gateway.http.wire import SERVER_KEY, Answer, Wire, request, resident_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = int(os.environ.get("PALESTRA_FUZZ_EXAMPLES", "240"))
OPERATIONS = [entry for entry in table() if isinstance(entry, Operation)]
STATUSES = {1: 499, 3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 16: 401}
PARTS = 8
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
BEARER = "a session"
KEPT_MAX = 2_000

fuzz = settings(
    max_examples=max(1, EXAMPLES // PARTS),
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class Attempt(NamedTuple):
    """One generated request. `authorization` may be BEARER, for a token that is fresh when it is sent."""

    method: str
    target: str
    body: bytes
    authorization: str
    headers: tuple[tuple[str, str], ...]


HEADERS = (
    (),
    (),
    (),
    (("origin", "null"),),
    (("content-encoding", "gzip"),),
    (("content-encoding", "deflate"),),
    (("content-type", "application/x-www-form-urlencoded"),),
    (("accept-encoding", "deflate, gzip"),),
    (("x-forwarded-for", ", ,\xff"), ("cookie", "a=b")),
    (("connection", "Upgrade"), ("upgrade", "h2c")),
)


@st.composite
def attempts(draw: st.DrawFn, operations: list[Operation]) -> Attempt:
    """A request for one of these operations, seldom with another verb, key or path."""
    operation = draw(st.sampled_from(operations))
    odd = draw(st.integers(0, 19))
    method = draw(st.sampled_from(METHODS)) if odd == 0 else operation.method
    path = "/" + draw(texts.map(lambda text: _printable(text[:80]))) if odd == 1 else draw(paths(operation))
    query = draw(queries(operation))
    own = {Auth.SERVER_KEY: SERVER_KEY, Auth.NONE: ""}.get(operation.auth, BEARER)
    if operation.raw and draw(st.booleans()):
        own, query = "", query + "&http_key=defaulthttpkey&unwrap"
    any_key = st.sampled_from(("", BEARER, SERVER_KEY, "Bearer x", "Basic \xff", "Bearer a.b.c", "Bearer \xe9.\xff."))
    authorization = draw(any_key) if odd == 2 else own
    return Attempt(
        method,
        path + "?" + query if query else path,
        draw(bodies(operation)) if method in ("POST", "PUT", "DELETE") else b"",
        authorization,
        draw(st.sampled_from(HEADERS)),
    )


def _printable(text: str) -> str:
    return "".join(letter for letter in text if "!" <= letter <= "~" and letter not in "?#")


class Client:
    """Sends attempts, one connection and one player at a time, with new ones where the last have ended."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._bot: Bot | None = None
        self._wire: Wire | None = None
        self._group = ""

    async def send(self, attempt: Attempt) -> Answer:
        if self._bot is None:
            self._bot = await self._platform.bot()
            group = await self._bot.call("POST", "/v2/group", {"name": f"group of {self._bot.id}"})
            self._group = group["id"]
        if self._wire is None:
            self._wire = await Wire.open(self._platform.node.port)
        value = f"Bearer {self._bot.token}" if attempt.authorization == BEARER else attempt.authorization
        headers = (("authorization", value), *attempt.headers) if value else attempt.headers
        whole = request(attempt.method, attempt.target, attempt.body, *headers)
        self._wire.send(whole.replace(UUID.encode(), self._group.encode()).replace(ME.encode(), self._bot.id.encode()))
        answer = await self._wire.answer(attempt.method)
        if answer.headers.get("connection") == "close":
            await self.leave()
        if answer.status == 401 and attempt.authorization == BEARER:
            self._bot = None
        return answer

    async def leave(self) -> None:
        """Hang up."""
        if self._wire is not None:
            await self._wire.hang_up()
            self._wire = None


def plain(answer: Answer) -> bytes:
    """The body without the coding it was sent in."""
    coding = answer.headers.get("content-encoding")
    if coding is None:
        return answer.body
    return gzip.decompress(answer.body) if coding == "gzip" else zlib.decompress(answer.body, -zlib.MAX_WBITS)


def check(attempt: Attempt, answer: Answer) -> None:
    """The answer is one the protocol knows."""
    if attempt.method == "HEAD":
        assert answer.status in (200, 301, 400, 401, 404, 405, 501), (attempt, answer)
    elif attempt.method == "OPTIONS":
        assert answer.status == 400 or (answer.status, answer.body) == (200, b""), (attempt, answer)
    elif answer.status == 200:
        if answer.headers.get("content-type") == "application/json" and "unwrap" not in attempt.target:
            assert isinstance(json.loads(plain(answer)), dict), (attempt, answer)
    elif answer.status == 301:
        assert answer.headers["location"].startswith("/"), (attempt, answer)
        assert not answer.headers["location"].startswith("//"), (attempt, answer)
    elif answer.headers["content-type"].startswith("text/plain"):
        assert answer.status in (400, 405, 431), (attempt, answer)
    else:
        body = answer.json
        assert set(body) in ({"code", "message"}, {"code", "message", "error"}), (attempt, answer)
        assert type(body["message"]) is str, (attempt, answer)
        assert body["message"], (attempt, answer)
        assert STATUSES.get(body["code"]) == answer.status, (attempt, answer)
        assert ("www-authenticate" in answer.headers) == (answer.status == 401), (attempt, answer)


tried: list[Attempt] = []


@pytest.mark.parametrize("part", range(PARTS))
@fuzz
@given(data=st.data())
async def test_garbage_gets_documented_answers_and_breaks_nothing(
    platform: Platform, part: int, data: st.DataObject
) -> None:
    bundle = data.draw(st.lists(attempts(OPERATIONS[part::PARTS]), min_size=1, max_size=6))
    trouble: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: trouble.append(context))
    client = Client(platform)
    with capture_logs() as logs:
        for attempt in bundle:
            check(attempt, await client.send(attempt))
    await client.leave()
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
    assert trouble == []
    tried.extend(bundle[: KEPT_MAX - len(tried)])


async def test_every_operation_was_tried(platform: Platform) -> None:
    """The table that was tried is the one that is served."""
    assert platform.node.parts is not None
    served = [entry for entry in platform.node.parts.table if isinstance(entry, Operation)]
    assert [(entry.method, entry.path) for entry in served] == [(entry.method, entry.path) for entry in OPERATIONS]
    called = {entry.name for entry in served if sum(entry.stats.by_code)}
    assert len(called) > 0.5 * len({entry.name for entry in served}), "most garbage was stopped at the door"


async def test_the_same_garbage_again_and_again_does_not_make_the_node_grow(platform: Platform) -> None:
    client = Client(platform)

    async def again() -> tuple[int, int]:
        for attempt in tried:
            await client.send(attempt)
        # Garbage logs its players out, and the next one is a new bot: not the node's memory.
        platform._bots.clear()
        gc.collect()
        return resident_bytes(), len(gc.get_objects())

    rounds = [await again() for _ in range(6)]
    await client.leave()
    # The first rounds fill what is kept up to a limit; a leak would show in every round after.
    assert rounds[-1][0] - rounds[1][0] < 16_000_000, rounds
    # What else a node does now and then, such as a job by the clock, shows in one of them.
    grown = [later[1] - earlier[1] for earlier, later in pairwise(rounds[1:])]
    assert min(grown) < len(tried) / 4, rounds
