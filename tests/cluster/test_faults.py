"""Real nodes that are killed, stopped, cut off or without a broker: what their players and the others see."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from palestra.testing import Bot
from tests.cluster.nodes import NodeProcess, player, running_nodes
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, running, valkey_command
from tests.waiting import until

DEAD_SECONDS = 1.5
QUICK = {"cluster.beat_seconds": 0.2, "cluster.dead_seconds": DEAD_SECONDS, "resume.seconds": 0}


@dataclass
class Guest:
    """A player in the hall, and who was there before."""

    bot: Bot
    found: set[str]

    @property
    def id(self) -> str:
        """The player's id."""
        return self.bot.id

    def seen(self) -> set[str]:
        """The users whom it sees in the hall, by what it was told."""
        users = self.found | {self.id}
        for envelope in self.bot.pushes:
            event = envelope.get("channel_presence_event", {})
            users -= {one["user_id"] for one in event.get("leaves", ())}
            users |= {one["user_id"] for one in event.get("joins", ())}
        return users


@dataclass
class Town:
    """Three nodes with a player on each, who all know of each other, and each node's way to Valkey if it is a proxy."""

    nodes: list[NodeProcess]
    stack: AsyncExitStack
    ways: list[FaultProxy] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)

    async def newcomer(self, number: int) -> Guest:
        """One more player on a node, in the hall as the others are."""
        bot = await self.stack.enter_async_context(player(self.nodes[number].url))
        await bot.connect()
        channel = (await bot.ask(channel_join={"target": "hall", "type": 1}))["channel"]
        return Guest(bot, {one["user_id"] for one in channel.get("presences", ())})


@asynccontextmanager
async def town(folder: Path, database_url: str) -> AsyncIterator[Town]:
    """A town on three nodes."""
    port = free_port()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(valkey_command(port), port))
        ways = [await stack.enter_async_context(FaultProxy(port)) for _ in range(3)]
        urls = [f"redis://127.0.0.1:{way.port}" for way in ways]
        nodes = await stack.enter_async_context(running_nodes(folder, database_url, redis_urls=urls, settings=QUICK))
        yield await inhabited(Town(nodes, await stack.enter_async_context(AsyncExitStack()), ways))


async def inhabited(town: Town) -> Town:
    """It, once its players are there."""
    for number in range(3):
        town.guests.append(await town.newcomer(number))
    await until(lambda: all(len(guest.seen()) == 3 for guest in town.guests))
    return town


async def test_a_killed_node_takes_its_players_with_it(tmp_path: Path, database_url: str) -> None:
    async with town(tmp_path, database_url) as here:
        ada, bob, eve = here.guests
        await here.nodes[2].kill()
        killed_at = time.monotonic()
        await until(lambda: ada.seen() == bob.seen() == {ada.id, bob.id})
        assert time.monotonic() - killed_at < DEAD_SECONDS, "a process that is gone is noticed before it is silent"
        # Under its old name it comes back at once, and is a new node.
        await here.nodes[2].start()
        back = await here.newcomer(2)
        await until(lambda: ada.seen() == bob.seen() == back.seen() == {ada.id, bob.id, back.id})
        assert eve.id not in ada.seen()


async def test_a_stopped_node_that_wakes_has_nothing_and_joins_anew(tmp_path: Path, database_url: str) -> None:
    async with town(tmp_path, database_url) as here:
        ada, bob, eve = here.guests
        here.nodes[2].signal(signal.SIGSTOP)
        await until(lambda: ada.seen() == bob.seen() == {ada.id, bob.id})
        here.nodes[2].signal(signal.SIGCONT)
        await until(lambda: not eve.bot.connected)
        back = await here.newcomer(2)
        await until(lambda: ada.seen() == bob.seen() == back.seen() == {ada.id, bob.id, back.id})


async def test_a_node_cut_off_from_the_bus_is_given_up_and_comes_back(tmp_path: Path, database_url: str) -> None:
    async with town(tmp_path, database_url) as here:
        ada, bob, eve = here.guests
        here.ways[2].cut(refuse=True)
        await until(lambda: ada.seen() == bob.seen() == {ada.id, bob.id})
        # Alone it serves on.
        assert (await eve.bot.call("GET", "/v2/account"))["user"]["id"] == eve.id
        here.ways[2].heal()
        await until(lambda: not eve.bot.connected)
        back = await here.newcomer(2)
        await until(lambda: ada.seen() == bob.seen() == back.seen() == {ada.id, bob.id, back.id})


async def test_without_the_broker_nobody_is_given_up(tmp_path: Path, database_url: str) -> None:
    async with town(tmp_path, database_url) as here:
        ada, bob, _ = here.guests
        everybody = {guest.id for guest in here.guests}
        for way in here.ways:
            way.freeze()
        # Who comes meanwhile is known to the others when the bus is back.
        late = await here.newcomer(0)
        start = time.monotonic()
        await until(lambda: time.monotonic() - start > 2 * DEAD_SECONDS)
        assert bob.seen() == everybody
        for way in here.ways:
            way.cut()
            way.heal()
        await until(lambda: bob.seen() == everybody | {late.id})
        assert all(guest.bot.connected for guest in here.guests)
        await ada.bot.leave()
        await until(lambda: ada.id not in bob.seen())
