"""Players who call without pause, and what became of each of their calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from ssl import SSLContext
from uuid import uuid4

import aiohttp

SECONDS_MAX = 60
KEY = {"http_key": "defaulthttpkey"}


class Load:
    """Callers, each on connections of its own; half of the calls read, half are functions called by POST.

    The game's function `done` notes the text that it is given, and answers with the name of its node.
    """

    def __init__(self, url: str, *, callers: int = 8, tls: SSLContext | None = None, keep_alive: bool = True) -> None:
        self.failed: list[str] = []
        self.posted: list[str] = []
        """What was given to `done`, answered or not."""
        self.answered: set[str] = set()
        """What `done` has answered to."""
        self.nodes: Counter[str] = Counter()
        """Which node answered how often."""
        self._url = url
        self.callers = callers
        self._tls = tls
        self._keep_alive = keep_alive
        self._calls = 0
        self._called = asyncio.Event()
        self._stopping = False

    async def until(self, calls: int) -> None:
        """Wait until so many more calls have been made."""
        end = self._calls + calls
        await self._until(lambda: self._calls >= end)

    async def until_seen(self, node: str) -> None:
        """Wait until this node has answered a call that began after this one."""
        before = self.nodes[node]
        await self._until(lambda: self.nodes[node] > before + self.callers)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not condition():
                self._called.clear()
                await self._called.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Call all the time, until the end of the block."""
        calling = [asyncio.create_task(self._call()) for _ in range(self.callers)]
        try:
            await self.until(self.callers)
            yield self
        finally:
            self._stopping = True
            await asyncio.gather(*calling)

    async def _call(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._tls or False, force_close=not self._keep_alive)
        async with aiohttp.ClientSession(connector=connector) as http:
            while not self._stopping:
                await self._read(http)
                await self._post(http)

    async def _read(self, http: aiohttp.ClientSession) -> None:
        """A read: whoever carries it may try it twice."""
        await self._noting(http, "GET", "/healthcheck")

    async def _post(self, http: aiohttp.ClientSession) -> None:
        mark = uuid4().hex
        self.posted.append(mark)
        answer = await self._noting(http, "POST", "/v2/rpc/done?unwrap", mark)
        if answer is not None:
            self.answered.add(mark)
            self.nodes[answer] += 1

    async def _noting(self, http: aiohttp.ClientSession, method: str, path: str, mark: str = "") -> str | None:
        """The answer's text, None where it failed."""
        try:
            params, data = (KEY, mark) if mark else (None, None)
            async with http.request(method, self._url + path, params=params, data=data) as answer:
                text = await answer.text()
                if answer.status == 200:
                    return text
                self.failed.append(f"{method} {path}: {answer.status} {text}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.failed.append(f"{method} {path}: {error!r}")
        finally:
            self._calls += 1
            self._called.set()
        return None
