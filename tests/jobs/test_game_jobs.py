"""Jobs and schedules of game modules, as their authors write and test them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from palestra import Context, Game, GameError
from palestra.core.clock import ManualClock
from palestra.core.config import JobSettings, RuntimeSettings, Settings
from palestra.core.errors import SetupError
from palestra.database.pool import Database
from palestra.sdk.bounds import Bounds
from palestra.sdk.runtime import Runtime
from palestra.testing import BotError, Platform
from tests.jobs.world import SECONDS_MAX, until


class Mail(msgspec.Struct):
    to: str
    text: str


async def test_a_function_enqueues_and_the_job_has_the_platform_in_its_hands(database_url: str) -> None:
    game, sent = Game("post"), asyncio.Queue[str]()

    @game.rpc
    async def send(ctx: Context, mail: Mail) -> bool:
        return await ctx.jobs.enqueue("mail", Mail(ctx.player.id, mail.text), dedupe_key=ctx.player.id)

    @game.job("mail", attempts_max=3)
    async def deliver(ctx: Context, payload: Mail) -> None:
        assert ctx.caller is None
        await ctx.wallet.change(payload.to, {"mails": 1}, key=payload.text)
        sent.put_nowait(payload.text)

    async with Platform.start(game, database_url=database_url) as platform:
        bot = await platform.bot()
        assert await bot.rpc("send", {"to": "", "text": "hello"}) is True
        async with asyncio.timeout(SECONDS_MAX):
            assert await sent.get() == "hello"
        figures = platform.node.parts.jobs.figures["game.mail"]  # type: ignore[union-attr]
        await until(lambda: figures.done == 1)
        async with platform.http.get(f"{platform.console_url}/metrics") as answer:
            assert 'palestra_jobs_done_total{job="game.mail"} 1.0' in await answer.text()


async def test_cron_fires_by_the_clock_of_the_test(database_url: str) -> None:
    game, clock, ran = Game("nightly"), ManualClock(), asyncio.Event()

    @game.cron("0 3 * * *")
    async def count(ctx: Context) -> None:
        ran.set()

    async with Platform.start(game, database_url=database_url, clock=clock) as platform:
        assert platform.node.parts is not None
        figures = platform.node.parts.jobs.figures["game.count"]
        clock.advance(24 * 3_600)
        async with asyncio.timeout(SECONDS_MAX):
            while not ran.is_set():
                clock.advance(24 * 3_600)
                await asyncio.wait([asyncio.ensure_future(ran.wait())], timeout=1.1)
        assert figures.enqueued >= 1


async def test_mistakes_of_game_code_are_told_as_bugs_and_too_much_is_refused(database_url: str) -> None:
    game = Game("wrong")

    @game.rpc
    async def misspelt(ctx: Context) -> None:
        await ctx.jobs.enqueue("mial", Mail("", ""))

    @game.rpc
    async def mistaken(ctx: Context) -> None:
        await ctx.jobs.enqueue("mail", {"to": 5})

    @game.rpc
    async def boundless(ctx: Context) -> None:
        await ctx.jobs.enqueue("mail", Mail("", "x" * 70_000))

    @game.job
    async def mail(ctx: Context, payload: Mail) -> None: ...

    async with Platform.start(game, database_url=database_url) as platform:
        bot = await platform.bot()
        for function, status in (("misspelt", 500), ("mistaken", 500), ("boundless", 400)):
            with pytest.raises(BotError) as refused:
                await bot.rpc(function)
            assert refused.value.status == status, function


async def test_a_job_that_blocks_or_waits_too_long_is_cut_off_and_bugs_are_counted(database_url: str) -> None:
    game, ends = Game("slow"), asyncio.Queue[str]()

    @game.job(attempts_max=1)
    async def blocking(ctx: Context) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            pass

    @game.job(attempts_max=1, seconds_max=1.0)
    async def patient(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.put_nowait("cut off")

    @game.job(attempts_max=1)
    async def longer(ctx: Context) -> None:
        waiting = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.6, waiting.set_result, None)
        await waiting
        ends.put_nowait("done")

    @game.job(attempts_max=1)
    async def broken(ctx: Context) -> None:
        raise ZeroDivisionError

    @game.job(attempts_max=1)
    async def refusing(ctx: Context) -> None:
        raise GameError("not today")

    settings = Settings(runtime=RuntimeSettings(hook_seconds_max=0.4))
    async with Platform.start(game, settings=settings, database_url=database_url) as platform:
        parts = platform.node.parts
        assert parts is not None
        for name in ("longer", "patient", "broken", "refusing"):
            await parts.jobs.enqueue(None, f"game.{name}")
        async with asyncio.timeout(SECONDS_MAX):
            assert [await ends.get(), await ends.get()] == ["done", "cut off"]
        await parts.jobs.enqueue(None, "game.blocking")
        await until(lambda: sum(figures.failed for figures in parts.jobs.figures.values()) == 4)
        assert parts.jobs.figures["game.longer"].done == 1
        assert parts.runtime.failures == 1


async def test_a_node_that_runs_no_jobs_still_takes_them_for_workers(database: Database, database_url: str) -> None:
    game = Game("two")

    @game.rpc
    async def ask(ctx: Context) -> None:
        await ctx.jobs.enqueue("work")

    @game.job
    async def work(ctx: Context) -> None: ...

    idle = Settings(jobs=JobSettings(worker=False))
    async with Platform.start(game, settings=idle, database_url=database_url) as platform:
        await (await platform.bot()).rpc("ask")
        listening = await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        assert listening == 0, "no worker is there"
    assert await database.fetchval("SELECT entrypoint || status FROM pgqueuer") == "game.workqueued"


RELOADED = """
from pathlib import Path
from palestra import Game
game = Game("live")

@game.rpc
async def ask(ctx, names: list[str]) -> bool:
    return await ctx.jobs.enqueue(names[0])

@game.job
async def NAME(ctx):
    (Path(__file__).parent / "NAME.done").touch()
"""


async def test_a_reload_brings_new_jobs(database_url: str, tmp_path: Path) -> None:
    module = tmp_path / "live.py"
    module.write_text(RELOADED.replace("NAME", "first"))
    async with Platform.start(modules=[module], settings=Settings(reload=True), database_url=database_url) as platform:
        bot = await platform.bot()
        await bot.rpc("ask", ["first"])
        await until((tmp_path / "first.done").exists)
        module.write_text(RELOADED.replace("NAME", "second"))
        await until(lambda: "game.second" in platform.node.parts.jobs.table)  # type: ignore[union-attr]
        await bot.rpc("ask", ["second"])
        await until((tmp_path / "second.done").exists)


def test_mistakes_in_declarations_are_told_with_their_place() -> None:
    game = Game("declared")
    runtime = Runtime(Bounds(1.0))

    async def untyped(ctx, payload): ...  # type: ignore[no-untyped-def]
    async def three(ctx: Context, payload: Mail, more: int) -> None: ...
    async def plain(ctx: Context) -> None: ...
    def blocking(ctx: Context) -> None: ...

    for declare, told in (
        (lambda: game.job(untyped), "give 'payload' a type"),
        (lambda: game.job(three), r"it takes \(ctx\) or \(ctx, payload\)"),
        (lambda: game.job(blocking), "async def"),  # type: ignore[type-var]
        (lambda: game.cron("* * * * *")(untyped), r"it takes \(ctx\), not"),
    ):
        with pytest.raises(SetupError, match=told) as refused:
            declare()
        assert "test_game_jobs.py" in str(refused.value)
    for declare, told in (
        (lambda other: other.cron("61 * * * *")(plain), "minute"),
        (lambda other: other.job(attempts_max=0)(plain), "above zero"),
        (lambda other: (other.job(plain), other.job(plain)), "already the name of"),
    ):
        other = Game("other")
        declare(other)
        with pytest.raises(SetupError, match=told) as refused:
            runtime.check([other])
        assert "test_game_jobs.py" in str(refused.value)
