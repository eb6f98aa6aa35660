"""Live reload: changed game code answers within a second, sockets stay open, broken code changes nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from palestra.core.config import Settings
from palestra.testing import Bot, Platform

SOURCE = """
from palestra import Game
import beside_it
game = Game("live")

@game.rpc
async def answer(ctx, payload: str) -> str:
    return "VERSION " + beside_it.text
"""


def write(folder: Path, version: str, beside: str = "one") -> None:
    (folder / "beside_it.py").write_text(f"text = {beside!r}\n")
    (folder / "live.py").write_text(SOURCE.replace("VERSION", version))


async def answers(bot: Bot, wanted: str) -> float:
    """How many seconds it took until the function answered so."""
    started = time.perf_counter()
    async with asyncio.timeout(10):
        while (await bot.ask(rpc={"id": "answer"}))["rpc"]["payload"] != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.perf_counter() - started


async def reloads(platform: Platform, log: list[Any], count: int) -> None:
    async with asyncio.timeout(10):
        while len(log) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_changed_code_answers_within_a_second_on_the_same_socket_and_broken_code_does_not(
    database_url: str, tmp_path: Path
) -> None:
    write(tmp_path, "first")
    tries: list[Any] = []
    modules = [tmp_path / "live.py"]
    async with Platform.start(modules=modules, settings=Settings(reload=True), database_url=database_url) as platform:
        load = platform.node._load

        def counted() -> Any:
            tries.append(1)
            return load()

        platform.node._load = counted  # type: ignore[method-assign]
        ann = await platform.bot()
        await ann.connect()
        # The same second, the same length: only the content tells them apart.
        write(tmp_path, "secon")
        assert await answers(ann, "secon one") < 1.5
        write(tmp_path, "secon", "two")
        assert await answers(ann, "secon two") < 1.5

        done = len(tries)
        (tmp_path / "live.py").write_text("from palestra import Game\ngame = Game('live')\nnonsense(\n")
        await reloads(platform, tries, done + 1)
        (tmp_path / "live.py").write_text(
            SOURCE.replace("VERSION", "third") + "\n@game.before('storage.wirte')\nasync def f(ctx, request): ...\n"
        )
        await reloads(platform, tries, done + 2)
        (tmp_path / "live.py").write_text(
            SOURCE.replace("VERSION", "third") + "\n@game.on_start\nasync def f(ctx): raise OSError('not now')\n"
        )
        await reloads(platform, tries, done + 3)
        await answers(ann, "secon two")
        assert platform.node.games[0].start_hooks == []

        write(tmp_path, "fourth")
        await answers(ann, "fourth one")
        assert ann.close_code is None
