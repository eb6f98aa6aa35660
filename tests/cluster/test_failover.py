"""The primary is lost under writes: a replica takes over, all that was answered is there, and play goes on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from palestra import Game
from palestra.core.config import DatabaseSettings, Settings
from palestra.database import watch
from palestra.testing import Bot, Platform
from palestra.testing.bot import BotError
from tests.cluster.postgres import Replication, Server, replication
from tests.waiting import until

RESUMED_SECONDS_MAX = 10.0
PLAYERS = 6


def bank() -> Game:
    """A game that pays a coin for each key once."""
    game = Game("bank")

    @game.rpc
    async def pay(ctx: Any, payload: str) -> str:
        await ctx.wallet.change(ctx.player, {"coins": 1}, key=payload)
        return payload

    return game


@dataclass
class Account:
    """What a player was told is done, and what it does not know the end of."""

    bot: Bot
    saved: set[str] = field(default_factory=set)
    paid: set[str] = field(default_factory=set)
    tried: int = 0
    unanswered: set[str] = field(default_factory=set)


@dataclass
class Play:
    """Players who write without end."""

    platform: Platform
    accounts: list[Account]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: list[BotError] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return sum(len(one.saved) + len(one.paid) for one in self.accounts)

    async def write(self, account: Account) -> None:
        while not self.stop.is_set():
            account.tried += 1
            key = str(account.tried)
            objects = [{"collection": "saves", "key": key, "value": "{}"}]
            try:
                await account.bot.call("PUT", "/v2/storage", {"objects": objects})
                account.saved.add(key)
                await account.bot.call("POST", "/v2/rpc/pay", key)
                account.paid.add(key)
            except BotError as error:
                self.refusals.append(error)
                account.unanswered.add(key)
                await asyncio.sleep(0.02)

    async def until_more(self, count: int) -> None:
        wanted = self.answered + count
        await until(lambda: self.answered >= wanted)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Replication]:
    """A primary whose commits wait for one of two replicas."""
    async with replication(tmp_path, synchronous_standby_names="ANY 1 (replica1, replica2)") as found:
        yield found


@pytest.fixture
async def play(servers: Replication) -> AsyncIterator[Play]:
    """Players on a node that knows all servers, writing."""
    limits = DatabaseSettings(replica_urls=tuple(one.url for one in servers.replicas))
    async with Platform.start(bank(), settings=Settings(database=limits), database_url=servers.url) as platform:
        play = Play(platform, [Account(await platform.bot()) for _ in range(PLAYERS)])
        writing = [asyncio.create_task(play.write(account)) for account in play.accounts]
        await play.until_more(200)
        yield play
        play.stop.set()
        await asyncio.gather(*writing)


async def resumed(play: Play, promoted: Server) -> None:
    """Promote a server, and wait until players write again."""
    await promoted.promote()
    began = time.monotonic()
    await play.until_more(200)
    assert time.monotonic() - began < RESUMED_SECONDS_MAX
    play.stop.set()
    assert {(error.status, error.code) for error in play.refusals} <= {(503, 14)}


async def coins(bot: Bot) -> int:
    return json.loads((await bot.call("GET", "/v2/account"))["wallet"])["coins"]


async def all_is_there(play: Play, server: Server) -> None:
    """Compare what players were told with what the server holds."""
    for account in play.accounts:
        saved = await server.ask("SELECT array_agg(key) FROM objects WHERE user_id = $1::text::uuid", account.bot.id)
        assert account.saved <= set(saved)
        maybe = account.paid | account.unanswered
        assert len(account.paid) <= await coins(account.bot) <= len(maybe)
        # A key that was answered, or was not, is worth one coin however often it is sent.
        for key in maybe:
            await account.bot.call("POST", "/v2/rpc/pay", key)
        assert await coins(account.bot) == len(maybe)


async def test_a_killed_primary_is_replaced_and_nothing_that_was_answered_is_lost(
    play: Play, servers: Replication
) -> None:
    servers.primary.kill()
    await until(lambda: not play.platform.node.ready)
    promoted = await servers.fullest()
    await resumed(play, promoted)
    await until(lambda: play.platform.node.ready)
    await all_is_there(play, promoted)


async def test_a_primary_that_takes_no_writes_any_more_is_left_for_the_one_that_does(
    play: Play, servers: Replication
) -> None:
    # Its sessions stay, as behind an address that moves, or a pooler.
    await servers.primary.ask("ALTER SYSTEM SET default_transaction_read_only = on")
    await servers.primary.ask("SELECT pg_reload_conf()")
    await until(lambda: bool(play.refusals))
    promoted = await servers.fullest()
    await resumed(play, promoted)
    await all_is_there(play, promoted)


async def test_a_primary_that_is_silent_is_left_for_the_one_that_answers(
    play: Play, servers: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ANSWER_SECONDS_MAX", 0.5)
    promoted = await servers.fullest()
    servers.primary.silence()
    try:
        await resumed(play, promoted)
        await all_is_there(play, promoted)
    finally:
        servers.primary.let_speak()


async def test_lists_are_read_from_the_replicas_of_the_new_primary(play: Play, servers: Replication) -> None:
    play.stop.set()
    servers.primary.kill()
    promoted = await servers.fullest()
    await promoted.promote()
    parts = play.platform.node.parts
    assert parts is not None
    replicas = parts.database.replicas
    assert replicas is not None
    # The one that was promoted is a source of lists still: of itself it lacks nothing.
    number = servers.replicas.index(promoted)
    fit = lambda at: replicas.fit(replicas.all[at], asyncio.get_running_loop().time())  # noqa: E731
    await until(lambda: fit(number))
    # The other follows the dead one, so it stays as it was while others write.
    bot = await play.platform.bot()
    await until(lambda: not fit(1 - number))
    assert (await bot.call("GET", f"/v2/storage/saves/{bot.id}")).get("objects", []) == []
