"""Players who never give up, and a schedule of faults: what each was told, to be compared with what is true."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from palestra.core.ids import new_id
from palestra.testing import Bot, BotError
from tests.cluster.nodes import NodeProcess
from tests.cluster.proxy import FaultProxy

GAME = '''
from palestra import Game
from palestra.features.streams.contract import ROOM, Stream

game = Game("chaos")


@game.rpc
async def hall(ctx) -> list[str]:
    """Whom this node knows to be in the hall."""
    return sorted(one.session_id for one in await ctx.streams.users(Stream(ROOM, label="hall"), hidden=True))
'''
TROUBLE = (BotError, aiohttp.ClientError, ConnectionError, TimeoutError, OSError)
PAUSE_SECONDS = 0.05


@dataclass
class Told:
    """What players were told."""

    written: dict[tuple[str, str], str] = field(default_factory=dict)
    """Acknowledged values of objects by player and key."""
    matched: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How often each ticket was matched."""
    asked: set[str] = field(default_factory=set)
    """Tickets that were given."""


class Player:
    """Connects to any node that takes it, stays in the hall, saves, looks for matches; when anything fails, anew."""

    def __init__(
        self, http: aiohttp.ClientSession, urls: Callable[[], list[str]], told: Told, dice: random.Random
    ) -> None:
        self._http = http
        self._urls = urls
        self._told = told
        self._dice = dice
        self._device = f"device-{new_id()}"
        self.session_id = ""
        """Of the socket that is in the hall; empty while there is none."""
        self.calm = False
        """Set when there are to be no more changes: who is connected stays, and does nothing else."""

    async def play(self) -> None:
        """Play until cancelled."""
        while True:
            bot = Bot(self._http, self._dice.choice(self._urls()), "defaultkey", self._device)
            try:
                await self._be_there(bot)
            except TROUBLE:
                await asyncio.sleep(PAUSE_SECONDS)
            finally:
                self.session_id = ""
                self._count(bot)
                with contextlib.suppress(*TROUBLE):
                    await bot.leave()

    async def _be_there(self, bot: Bot) -> None:
        await bot.log_in()
        await bot.connect()
        joined = await bot.ask(channel_join={"target": "hall", "type": 1})
        self.session_id = joined["channel"]["self"]["session_id"]
        number = 0
        while bot.connected:
            number += 1
            if not self.calm:
                await self._save(bot, f"slot{number % 8}")
                if number % 5 == 0:
                    ticket = await bot.ask(matchmaker_add={"min_count": 2, "max_count": 2, "query": "*"})
                    self._told.asked.add(ticket["matchmaker_ticket"]["ticket"])
            self._count(bot)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _save(self, bot: Bot, key: str) -> None:
        value = f'{{"n": "{new_id()}"}}'
        # Until it is answered it may or may not be there.
        self._told.written.pop((bot.id, key), None)
        body = {"objects": [{"collection": "saves", "key": key, "value": value, "permission_read": 2}]}
        await bot.call("PUT", "/v2/storage", body)
        self._told.written[bot.id, key] = value

    def _count(self, bot: Bot) -> None:
        for envelope in list(bot.pushes):
            if "matchmaker_matched" in envelope:
                self._told.matched[envelope["matchmaker_matched"]["ticket"]] += 1
        bot.pushes.clear()


class Faults:
    """What happens to nodes and their ways to the bus, one after the other; each is mended before the next begins."""

    def __init__(self, nodes: list[NodeProcess], ways: list[FaultProxy], dice: random.Random) -> None:
        self._nodes = nodes
        self._ways = ways
        self._dice = dice
        self.down: set[int] = set()
        """Nodes that cannot be reached."""
        self.happened: list[str] = []

    def urls(self) -> list[str]:
        """Where a load balancer would send somebody."""
        up = [node.url for number, node in enumerate(self._nodes) if number not in self.down]
        return up or [self._nodes[0].url]

    async def happen(self) -> None:
        """One fault, from its beginning to its end."""
        kinds: list[Callable[[int], Awaitable[Any]]] = [self._kill, self._stop, self._cut, self._freeze, self._restart]
        kind, number = self._dice.choice(kinds), self._dice.randrange(len(self._nodes))
        self.happened.append(f"{kind.__name__.strip('_')} {self._nodes[number].name}")
        await kind(number)

    def _some_seconds(self) -> float:
        return self._dice.uniform(0.3, 4.0)

    async def _kill(self, number: int) -> None:
        self.down.add(number)
        await self._nodes[number].kill()
        await asyncio.sleep(self._some_seconds() / 2)
        await self._nodes[number].start()
        self.down.discard(number)

    async def _restart(self, number: int) -> None:
        self.down.add(number)
        await self._nodes[number].stop()
        await self._nodes[number].start()
        self.down.discard(number)

    async def _stop(self, number: int) -> None:
        self.down.add(number)
        self._nodes[number].signal(signal.SIGSTOP)
        await asyncio.sleep(self._some_seconds())
        self._nodes[number].signal(signal.SIGCONT)
        self.down.discard(number)

    async def _cut(self, number: int) -> None:
        self._ways[number].cut(refuse=True)
        await asyncio.sleep(self._some_seconds())
        self._ways[number].heal()

    async def _freeze(self, number: int) -> None:
        self._ways[number].freeze()
        await asyncio.sleep(self._some_seconds())
        self._ways[number].cut()
        self._ways[number].heal()
