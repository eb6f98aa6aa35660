"""Several whole nodes in the test's process, on one database and one bus, with players on each."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from msgspec.structs import replace

from palestra import Game
from palestra.app.lifecycle import Node
from palestra.cluster.bus import EVERYBODY
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.core.config import ClusterSettings, Settings
from palestra.testing import Platform
from tests.waiting import until

QUICK = ClusterSettings(beat_seconds=0.05, dead_seconds=1.0)


class Town(LocalBroker):
    """The bus and the key ring of nodes that are started one after the other.

    `seconds` draws how long each packet takes, in order for each pair of nodes; else it is a turn of the loop.
    """

    def __init__(self, seconds: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.folder = Path(tempfile.mkdtemp(prefix="palestra-test-"))
        self.mute: set[str] = set()

    def deafen(self, name: str) -> Callable[[], None]:
        """Let nothing reach a node any more, until what this returns is called."""
        deliver = self.nodes.pop(name)
        return lambda: self.nodes.update({name: deliver})

    def cut_off(self, name: str) -> None:
        """Let nothing reach a node any more, and nothing come from it."""
        self.mute.add(name)
        self.deafen(name)


class Line(LocalTransport):
    """A node's end of a town's bus."""

    def __init__(self, town: Town) -> None:
        super().__init__(town)
        self._town = town
        self._last: dict[str, float] = {}

    def publish(self, to: str, packet: bytes) -> bool:
        """Hand a packet over, if the node is not cut off."""
        if self._node in self._town.mute:
            return True
        if self._town.seconds is None:
            return super().publish(to, packet)
        loop = asyncio.get_running_loop()
        for node in self._town.nodes:
            if to in (node, EVERYBODY):
                at = max(self._last.get(node, 0.0) + 1e-6, loop.time() + self._town.seconds())
                self._last[node] = at
                loop.call_at(at, self._arrive, node, packet)
        return True

    def _arrive(self, node: str, packet: bytes) -> None:
        if (deliver := self._town.nodes.get(node)) is not None:
            deliver(packet)


@asynccontextmanager
async def several(
    database_url: str, *games: Game, names: str = "ab", settings: Settings | None = None, town: Town | None = None
) -> AsyncIterator[list[Platform]]:
    """Nodes of these one-letter names that know each other, in a `town` perhaps with those that are there.

    With a redis_url in `settings` and no town the bus is there.
    """
    given = settings or Settings(cluster=QUICK)
    local = town is not None or not given.redis_url
    town = town or Town()
    ring = replace(given.database, key_ring_file=str(town.folder / "keyring.json"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, town.folder, ignore_errors=True)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        platforms: list[Platform] = []
        for name in names:
            own = replace(
                given,
                node=name,
                port=0,
                console_port=0,
                data_dir=str(town.folder / name),
                database_url=database_url,
                database=ring,
            )
            node = Node(own, [], list(games), transport=Line(town) if local else None)
            stack.push_async_callback(node.stop)
            await node.start()
            platforms.append(Platform(node, http))
        await until(lambda: all(len(others(one)) >= len(names) - 1 for one in platforms))
        yield platforms
        for platform in platforms:
            await platform.leave_all()


def others(platform: Platform) -> list[str]:
    """The names of the nodes that a node knows."""
    parts = platform.node.parts
    assert parts is not None
    return [info.name for info in parts.cluster.members]
