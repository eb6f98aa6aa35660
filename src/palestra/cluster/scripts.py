"""Scripts that run inside Valkey or Redis, a single server or a cluster, many in one go; and whether it is there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from palestra.cluster.line import place_of
from palestra.cluster.script_servers import Call, Refused, ScriptServers, ScriptUnknown, open_servers
from palestra.core.errors import Unavailable
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks, set_within

ANSWER_SECONDS = 1.0
"""A server that takes longer is as good as gone."""
LOOK_SECONDS = 1.0
"""How often the servers are asked who they are."""
BACK_OFF_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)

log = get_logger(__name__)


class Scripts:
    """One Lua script on the server at `url`, "" for none, which is never there.

    `up` says whether the server answered when last asked. Nothing is tried while it does not; it is looked for in the
    background, and `on_up` is called when it is found. Each life of a server has a name of its own (its run id), which
    is another after a restart and after a fail-over: what was written may be gone then.
    """

    def __init__(self, url: str, script: str, tasks: Tasks) -> None:
        self.up = False
        self.on_up: Callable[[], None] = lambda: None
        self._url = url
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._tasks = tasks
        self._servers: ScriptServers | None = None
        self._lost = asyncio.Event()
        self._lives: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._stopped = False
        if url:
            # What is wrong with it is told at once.
            place_of(url)

    async def start(self) -> None:
        """Look for the server, and keep looking in the background. Raises nothing: it may come later."""
        if self._url:
            await self._look()
            self._keeping = self._tasks.spawn(self._keep_looking(), "scripts in Valkey")

    async def stop(self) -> None:
        """Disconnect, for good."""
        self.up, self._stopped = False, True
        if self._keeping is not None:
            self._keeping.cancel()
        async with self._looking:
            await self._disconnect()

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """The answer to each call, or its exception: a refusal of the server's. One round trip to each server.

        Raises Unavailable when the server cannot be reached, and is not `up` then: the calls were carried out or not.
        """
        replies = await self._sent(calls)
        if any(isinstance(reply, ScriptUnknown) for reply in replies):
            # A script answers only for itself: those that ran do no harm when they run again.
            await self._load()
            replies = await self._sent(calls)
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, Refused):
                self._lose(reply)
                raise Unavailable("Valkey cannot be reached, try again.") from reply
        return replies

    def life_of(self, key: str) -> str:
        """The name of the life of the server that holds a key, as it was when last asked."""
        servers = self._servers
        return "" if servers is None else self._lives.get(servers.server_of(key), "")

    async def look(self) -> None:
        """Ask the servers who they are now. Raises Unavailable."""
        await self._look()
        if not self.up:
            raise Unavailable("Valkey cannot be reached, try again.")

    async def _sent(self, calls: Sequence[Call]) -> list[Any]:
        servers = self._servers
        if servers is None or not self.up:
            raise Unavailable("Valkey cannot be reached, try again.")
        try:
            return await servers.run(self._sha, calls)
        except OSError as error:
            self._lose(error)
            raise Unavailable("Valkey cannot be reached, try again.") from error

    async def _load(self) -> None:
        servers = self._servers
        try:
            if servers is not None:
                await servers.load(self._script)
        except OSError as error:
            self._lose(error)
            raise Unavailable("Valkey cannot be reached, try again.") from error

    # -- the connection

    async def _keep_looking(self) -> None:
        failures = 0
        while True:
            seconds = LOOK_SECONDS if self.up else BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)]
            self._lost.clear()
            if self.up:
                await set_within(self._lost, seconds)
            else:
                await asyncio.sleep(seconds)
            try:
                await self._look()
            except Exception as error:
                # Whatever it is, who does not look any more never finds the server again.
                log.error("looking for Valkey failed", exc_info=error)
                self._lose(error)
            failures = 0 if self.up else failures + 1

    async def _look(self) -> None:
        """Connect if need be, and learn the names of all lives; whether that went well is told by `up`."""
        async with self._looking:
            if not self._stopped:
                await self._look_once()

    async def _look_once(self) -> None:
        if self._servers is not None and self._servers.lost:
            # Told before anything is awaited: who sees that it is up asks, and would ask again and again without end.
            self._lose(ConnectionError("the connection has ended"))
            await self._disconnect()
        try:
            async with asyncio.timeout(ANSWER_SECONDS * 2):
                if self._servers is None:
                    self._servers = await open_servers(self._url, ANSWER_SECONDS)
                lives = await self._servers.lives()
                if lives != self._lives or not self.up:
                    await self._servers.load(self._script)
        except OSError as error:
            self._lose(error)
            await self._disconnect()
            return
        self._lives = lives
        if not self.up:
            log.info("Valkey is there", cluster=self._servers.clustered)
            self.up = True
            self.on_up()

    def _lose(self, error: BaseException) -> None:
        if self.up:
            log.warning("Valkey is away", reason=str(error) or type(error).__name__)
        self.up = False
        self._lost.set()

    async def _disconnect(self) -> None:
        servers, self._servers = self._servers, None
        if servers is not None:
            await servers.close()
