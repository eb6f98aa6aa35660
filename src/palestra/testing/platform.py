"""A whole node in the test's own process: real port, real PostgreSQL, bots as players."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from palestra.app.lifecycle import Node
from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.core.ids import new_id
from palestra.sdk.game import Game
from palestra.testing.bot import Bot


class Platform:
    """A running node and a way to make players for it.

    ::

        async with Platform.start(game) as platform:
            bot = await platform.bot()
            assert (await bot.rpc("claim_daily", {"day": 1}))["coins"] == 10
    """

    def __init__(self, node: Node, http: aiohttp.ClientSession) -> None:
        self.node = node
        self.http = http
        self.url = f"http://127.0.0.1:{node.port}"
        self.console_url = f"http://127.0.0.1:{node.console_port}"
        self._bots: list[Bot] = []

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        *games: Game,
        modules: list[Path] | None = None,
        settings: Settings | None = None,
        database_url: str = "",
        clock: Clock | None = None,
    ) -> AsyncIterator[Platform]:
        """Start a node with these games on free ports, with a throw-away data directory; stop it at the end.

        Without `database_url` an embedded PostgreSQL is made, which takes about a second. `modules` are loaded from
        their files instead of `games`. With a ManualClock, periods expire and matches tick at the test's word.
        """
        folder = tempfile.mkdtemp(prefix="palestra-test-")
        chosen = msgspec.structs.replace(
            settings or Settings(), port=0, console_port=0, data_dir=folder, database_url=database_url
        )
        node = Node(chosen, modules or [], None if modules else list(games), clock)
        try:
            await node.start()
            async with aiohttp.ClientSession() as http:
                platform = cls(node, http)
                try:
                    yield platform
                finally:
                    await platform.leave_all()
        finally:
            await node.stop()
            shutil.rmtree(folder, ignore_errors=True)

    async def leave_all(self) -> None:
        """Take all bots off their sockets."""
        for bot in self._bots:
            await bot.leave()

    async def tell_ends(self) -> None:
        """Run the hooks for all periods and windows that have ended by the clock; for tests that move the clock.

        A node does so by itself as time goes by, but it cannot see a ManualClock move.
        """
        parts = self.node.parts
        assert parts is not None, "start it first"
        await parts.services.boards.announcer.announce()

    def relax(self) -> None:
        """Let the matchmaker look at the time; for tests that move a ManualClock past a relaxation."""
        parts = self.node.parts
        assert parts is not None, "start it first"
        parts.services.live.matchmaker.work()

    async def ticks(self, count: int = 1) -> None:
        """Tick every match `count` times; for a platform whose clock is a ManualClock, where matches tick only so.

        What bots have sent before is there at the first tick, and what ticks send has reached the bots afterwards.
        """
        parts = self.node.parts
        assert parts is not None, "start it first"
        running = parts.services.live.running
        await self.settle()
        for _ in range(count):
            running.scheduler.step()
            await running.at_rest()
        await self.settle()

    async def settle(self) -> None:
        """Wait until all that bots have sent has been dealt with, and all that was sent to them has arrived."""
        await asyncio.gather(*[bot.settle() for bot in self._bots if bot.connected])

    async def bot(self, username: str = "", **vars: str) -> Bot:
        """A new player, logged in by a device id of its own; `vars` go into the session."""
        bot = Bot(self.http, self.url, self.node.settings.socket.server_key, f"device-{new_id()}")
        await bot.log_in(username, vars)
        self._bots.append(bot)
        return bot
