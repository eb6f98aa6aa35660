"""A node whose database is behind PgBouncer in transaction mode: all works, and a wrong set-up is told."""

from __future__ import annotations

import asyncio
import configparser
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from palestra import Game
from palestra.core.config import DatabaseSettings, Settings
from palestra.core.errors import SetupError
from palestra.database.pool import Database
from palestra.testing import Bot, Platform
from palestra.testing.bot import BotError
from tests.architecture.sources import ROOT
from tests.cluster.postgres import Server, until_said
from tests.cluster.servers import free_port, running
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
POOL_CONNECTIONS = 6
"""Far fewer than a node holds."""
GUIDE = ROOT / "docs/guide/high-availability.md"


class Pooler:
    """A PgBouncer in front of a server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.port = free_port()
        self.url = f"postgresql://palestra@127.0.0.1:{self.port}/postgres"
        self._file = folder / "pgbouncer.ini"
        with self._file.open("w") as file:
            self._configuration().write(file)
        self._file.chmod(0o644)
        self._life = AsyncExitStack()

    def _configuration(self) -> configparser.ConfigParser:
        """What the guide says, in this place, for few connections and without passwords."""
        found = configparser.ConfigParser()
        found.read_string(GUIDE.read_text(encoding="utf-8").partition("```ini\n")[2].partition("```")[0])
        found.read_dict(
            {
                "databases": {"postgres": f"host={self.server.host} dbname=postgres user=palestra"},
                "pgbouncer": {
                    "listen_port": str(self.port),
                    "unix_socket_dir": "",
                    "auth_type": "any",
                    "admin_users": "palestra",
                    "default_pool_size": str(POOL_CONNECTIONS),
                },
            }
        )
        found.remove_option("pgbouncer", "auth_file")
        return found

    async def start(self) -> None:
        binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert binary, "PgBouncer is needed: install the package pgbouncer"
        command = [binary, "--quiet", str(self._file)]
        if os.geteuid() == 0:
            # It does not run as root, and the server's socket is open to its own account only.
            command += ["--user", pwd.getpwuid((self.server.folder / "pg").stat().st_uid).pw_name]
        await self._life.enter_async_context(running(command, self.port))

    async def stop(self) -> None:
        await self._life.aclose()

    async def say(self, command: str) -> None:
        """A command to its console."""
        connection = await asyncpg.connect(self.url.replace("/postgres", "/pgbouncer"), statement_cache_size=0)
        await connection.execute(command)
        connection.terminate()


def made_game() -> Game:
    """A game with a job and a purse."""
    game = Game("pooled")

    @game.job
    async def prize(ctx: Any, payload: str) -> None:
        await ctx.wallet.change(payload, {"coins": 7}, key="prize")

    @game.rpc
    async def win(ctx: Any, payload: str) -> str:
        await ctx.jobs.enqueue("prize", ctx.player.id)
        return payload

    @game.on_start
    async def start(ctx: Any) -> None:
        await ctx.leaderboards.create("weekly", sort="descending", operator="best")

    return game


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A directory into which other accounts are let, as they are not into those of tests run by root."""
    folder = Path(tempfile.mkdtemp(prefix="palestra-pooler-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pooler(open_folder: Path) -> AsyncIterator[Pooler]:
    server = Server(open_folder, "server")
    await server.start()
    try:
        pooler = Pooler(server, server.folder)
        await pooler.start()
        yield pooler
        await pooler.stop()
    finally:
        await server.postgres.stop()


@asynccontextmanager
async def node(pooler: Pooler) -> AsyncIterator[Platform]:
    limits = DatabaseSettings(direct_url=pooler.server.url, key_ring_file=str(pooler.server.folder / "keyring.json"))
    async with Platform.start(made_game(), settings=Settings(database=limits), database_url=pooler.url) as platform:
        yield platform


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(pooler: Pooler) -> AsyncIterator[Platform]:
    """A node behind it, whose role is set as the node asked for."""
    with pytest.raises(SetupError) as refusal:
        async with node(pooler):
            pass
    (line,) = [line for line in str(refusal.value).splitlines() if line.startswith("ALTER ROLE")]
    statements = line.replace("; ", ";\n")
    assert f"```sql\n{statements}\n```" in GUIDE.read_text(encoding="utf-8")
    for statement in statements.splitlines():
        await pooler.server.ask(statement)
    await pooler.say("RECONNECT")
    async with node(pooler) as platform:
        yield platform


async def coins(bot: Bot) -> int:
    return json.loads((await bot.call("GET", "/v2/account"))["wallet"]).get("coins", 0)


async def has_prize(bot: Bot) -> bool:
    return await coins(bot) == 7


async def play(platform: Platform) -> Bot:
    """A little of everything that a player does."""
    bot, friend = await platform.bot(), await platform.bot()
    objects = [{"collection": "saves", "key": str(number), "value": "{}"} for number in range(3)]
    await bot.call("PUT", "/v2/storage", {"objects": objects})
    await bot.call("PUT", "/v2/storage/delete", {"object_ids": [{"collection": "saves", "key": "0"}]})
    found = await bot.call("GET", f"/v2/storage/saves/{bot.id}", query={"limit": 10})
    assert [one["key"] for one in found["objects"]] == ["1", "2"]
    await bot.call("POST", "/v2/friend", query={"ids": friend.id})
    await friend.call("POST", "/v2/friend", query={"ids": bot.id})
    assert (await bot.call("GET", "/v2/friend"))["friends"][0]["user"]["id"] == friend.id
    group = await bot.call("POST", "/v2/group", {"name": f"group of {bot.id}", "open": True})
    await friend.call("POST", f"/v2/group/{group['id']}/join")
    assert len((await bot.call("GET", f"/v2/group/{group['id']}/user"))["group_users"]) == 2
    await bot.call("POST", "/v2/leaderboard/weekly", {"score": "5"})
    around = await bot.call("GET", f"/v2/leaderboard/weekly/owner/{bot.id}")
    assert bot.id in {one["owner_id"] for one in around["records"]}
    await bot.connect()
    channel = (await bot.ask(channel_join={"target": group["id"], "type": 3}))["channel"]
    await bot.ask(channel_message_send={"channel_id": channel["id"], "content": "{}"})
    messages = await bot.call("GET", f"/v2/channel/{channel['id']}")
    assert [one["content"] for one in messages["messages"]][-1:] == ["{}"]
    return bot


async def test_all_that_players_do_works_over_few_connections(platform: Platform, pooler: Pooler) -> None:
    await asyncio.gather(*[play(platform) for _ in range(12)])
    lent = await pooler.server.ask(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND client_port IS NOT NULL"
        " AND application_name = 'palestra'"
    )
    # Beside those that are lent there is the one that listens for jobs.
    assert 1 <= lent <= POOL_CONNECTIONS + 1


async def test_jobs_are_heard_of_at_once(platform: Platform) -> None:
    bot = await platform.bot()
    await bot.rpc("win", "x")
    # Far sooner than the worker looks by itself.
    await until_said(lambda: has_prize(bot), seconds=3)


async def test_statements_are_planned_as_on_connections_of_our_own(platform: Platform) -> None:
    parts = platform.node.parts
    assert parts is not None
    connection = await parts.database.connect()
    assert await connection.fetchval("SHOW enable_seqscan") == "off"
    assert await connection.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
    await connection.close()


async def test_a_pooler_that_was_away_is_used_again(platform: Platform, pooler: Pooler) -> None:
    bot = await play(platform)
    await pooler.stop()
    with pytest.raises(BotError, match="503"):
        await bot.call("GET", "/v2/account")
    assert not platform.node.ready
    await pooler.start()
    await until(lambda: platform.node.ready)
    await play(platform)


async def test_a_server_that_was_away_behind_it_is_used_again(platform: Platform, pooler: Pooler) -> None:
    bot = await play(platform)
    pooler.server.kill()
    await until(lambda: not platform.node.ready)
    with pytest.raises(BotError, match="503"):
        await bot.call("GET", "/v2/account")
    await pooler.server.postgres.stop()
    await pooler.server.start()
    await until(lambda: platform.node.ready)
    await play(platform)


async def test_a_node_that_is_not_told_of_a_pooler_says_what_is_missing(pooler: Pooler) -> None:
    database = Database(pooler.url)
    with pytest.raises(SetupError, match=r"database\.direct_url"):
        await database.connect()
