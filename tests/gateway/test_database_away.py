"""PostgreSQL goes away while players play: they are told to come back, nobody is thrown out, and all is well again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from palestra.core.ids import new_id
from palestra.database.embedded import EmbeddedPostgres
from palestra.testing import Bot, Platform
from tests.gateway.http.game import made_game
from tests.gateway.http.wire import SECONDS_MAX, SERVER_KEY, Answer, Wire, fetch

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A server to be stopped and killed."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("away"), extra_settings={"fsync": "off"})
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(server: EmbeddedPostgres) -> AsyncIterator[Platform]:
    """A node on that server."""
    async with Platform.start(made_game(), database_url=await server.start()) as platform:
        yield platform


async def work(platform: Platform, bot: Bot, answers: list[Answer], stop: asyncio.Event) -> None:
    """Ask for everything that takes a database, again and again."""
    bearer = ("authorization", f"Bearer {bot.token}")
    save = json.dumps({"objects": [{"collection": "saves", "key": bot.id, "value": "{}"}]}).encode()
    wire = await Wire.open(platform.node.port)
    while not stop.is_set():
        device = json.dumps({"id": f"device-{new_id()}"}).encode()
        for method, target, body, key in (
            ("GET", "/v2/account", b"", bearer),
            ("PUT", "/v2/storage", save, bearer),
            ("GET", f"/v2/storage/saves/{bot.id}", b"", bearer),
            ("POST", "/v2/account/authenticate/device", device, ("authorization", SERVER_KEY)),
            ("POST", "/v2/leaderboard/board", b'{"score":"5"}', bearer),
            ("GET", "/v2/friend", b"", bearer),
            ("PUT", "/v2/account", b'{"location":"here"}', bearer),
        ):
            answers.append(await wire.fetch(method, target, body, key))
    await wire.hang_up()


async def until_ready(platform: Platform, status: int) -> Answer:
    """Wait until `/ready` answers with this status."""
    async with asyncio.timeout(SECONDS_MAX):
        while (answer := await fetch(platform.node.port, "GET", "/ready")).status != status:
            assert (await fetch(platform.node.port, "GET", "/healthcheck")).status == 200
            await asyncio.sleep(0.01)
    return answer


async def stopped(server: EmbeddedPostgres) -> None:
    await server.stop()


async def killed(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


@pytest.mark.parametrize("away", [stopped, killed])
async def test_a_database_that_goes_away_comes_back(platform: Platform, server: EmbeddedPostgres, away: Any) -> None:
    bots = [await platform.bot() for _ in range(6)]
    watcher = bots[0]
    await watcher.connect()
    answers: list[Answer] = []
    stop = asyncio.Event()
    with capture_logs() as logs:
        workers = [asyncio.create_task(work(platform, bot, answers, stop)) for bot in bots]
        async with asyncio.timeout(SECONDS_MAX):
            while len(answers) < 100:  # noqa: ASYNC110 - what matters is how much was tried
                await asyncio.sleep(0.01)
        await away(server)

        refused = await until_ready(platform, 503)
        assert refused.json["code"] == 14
        assert int(refused.headers["retry-after"]) >= 1
        assert (await fetch(platform.node.port, "GET", "/healthcheck")).json == {}
        account = await fetch(
            platform.node.port, "GET", "/v2/account", b"", ("authorization", f"Bearer {watcher.token}")
        )
        assert (account.status, account.json["code"], account.headers["retry-after"]) == (503, 14, "1")
        assert await watcher.ask(ping={}) == {"pong": {}}
        assert (await watcher.ask(match_create={}))["match"]["match_id"]
        assert await watcher.rpc("echo", "still here") == "still here"

        await server.start()
        await until_ready(platform, 200)
        before = len(answers)
        async with asyncio.timeout(SECONDS_MAX):
            while len(answers) < before + 200:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*workers)

    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert answer.json["code"] == 14
            assert int(answer.headers["retry-after"]) >= 1
    assert {answer.status for answer in answers[-50:]} == {200}
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
    assert watcher.close_code is None
    assert await watcher.ask(ping={}) == {"pong": {}}
    assert (await watcher.call("GET", "/v2/account"))["user"]["location"] == "here"
