"""Scripts that run inside Valkey or Redis, a single server or a cluster, many in one go; and whether it is there."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from palestra.core.errors import SetupError, Unavailable
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks, set_within

ANSWER_SECONDS = 1.0
"""A server that takes longer is as good as gone."""
LOOK_SECONDS = 1.0
"""How often the servers are asked who they are."""
BACK_OFF_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)

log = get_logger(__name__)


class Call(NamedTuple):
    """One run of the script. All keys carry the same hash tag; the first says where in a cluster they live."""

    keys: Sequence[str]
    arguments: Sequence[Any]


class Scripts:
    """One Lua script on the server at `url`, "" for none, which is never there.

    `up` says whether the server answered when last asked. Nothing is tried while it does not; it is looked for in the
    background, and `on_up` is called when it is found. Each life of a server has a name of its own (its run id), which
    is another after a restart and after a fail-over: what was written may be gone then.
    """

    def __init__(self, url: str, script: str, tasks: Tasks) -> None:
        self.up = False
        self.on_up: Callable[[], None] = lambda: None
        self._url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._tasks = tasks
        self._client: Any = None
        self._clustered = False
        self._lost = asyncio.Event()
        self._lives: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._stopped = False
        self._errors: tuple[type[Exception], ...] = (OSError, TimeoutError)
        self._refusal: type[Exception] = Exception
        self._unknown_script: type[Exception] = Exception
        if url:
            try:
                import redis.asyncio
                import redis.exceptions
            except ImportError:
                raise SetupError('a Valkey or Redis URL needs its client: pip install "redis[hiredis]"') from None
            self._errors = (redis.asyncio.RedisError, OSError, TimeoutError)
            self._refusal = redis.exceptions.ResponseError
            self._unknown_script = redis.exceptions.NoScriptError

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

        Raises Unavailable when the server cannot be reached: the calls were carried out or not.
        """
        replies = await self._sent(calls)
        if any(isinstance(reply, self._unknown_script) for reply in replies):
            # A script answers only for itself: those that ran do no harm when they run again.
            await self._load()
            replies = await self._sent(calls)
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, self._refusal):
                self._lose(reply)
                raise Unavailable("Valkey cannot be reached, try again.") from reply
        return replies

    def life_of(self, key: str) -> str:
        """The name of the life of the server that holds a key, as it was when last asked."""
        if not self._clustered:
            return self._lives.get("", "")
        node = self._client.get_node_from_key(key) if self._client is not None else None
        return self._lives.get(node.name, "") if node is not None else ""

    async def look(self) -> None:
        """Ask the servers who they are now. Raises Unavailable."""
        await self._look()
        if not self.up:
            raise Unavailable("Valkey cannot be reached, try again.")

    async def _sent(self, calls: Sequence[Call]) -> list[Any]:
        client = self._client
        if client is None or not self.up:
            raise Unavailable("Valkey cannot be reached, try again.")
        try:
            async with asyncio.timeout(ANSWER_SECONDS * 2):
                pipeline = client.pipeline(transaction=False)
                for keys, arguments in calls:
                    pipeline.execute_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
                return await pipeline.execute(raise_on_error=False)
        except self._errors as error:
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
            await self._look()
            failures = 0 if self.up else failures + 1

    async def _look(self) -> None:
        """Connect if need be, and learn the names of all lives; whether that went well is told by `up`."""
        async with self._looking:
            if not self._stopped:
                await self._look_once()

    async def _look_once(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS * 2):
                if self._client is None:
                    await self._connect()
                lives = await self._ask_lives()
                if lives != self._lives or not self.up:
                    await self._load()
        except self._errors as error:
            self._lose(error)
            await self._disconnect()
            return
        self._lives = lives
        if not self.up:
            log.info("Valkey is there", cluster=self._clustered)
            self.up = True
            self.on_up()

    async def _connect(self) -> None:
        import redis.asyncio

        limits: dict[str, Any] = {
            "socket_timeout": ANSWER_SECONDS,
            "socket_connect_timeout": ANSWER_SECONDS,
            "protocol": 2,
        }
        client: Any = redis.asyncio.Redis.from_url(self._url, retry=None, **limits)
        try:
            self._clustered = bool((await client.info("cluster")).get("cluster_enabled"))
            if self._clustered:
                single, client = client, None
                await single.aclose()
                client = redis.asyncio.RedisCluster.from_url(self._url, **limits)
                await client.initialize()
        except BaseException:
            if client is not None:
                await client.aclose()
            raise
        self._client = client

    async def _ask_lives(self) -> dict[str, str]:
        client = self._client
        if not self._clustered:
            return {"": (await client.info("server"))["run_id"]}
        primaries = client.get_primaries()
        answers = await asyncio.gather(*(client.info("server", target_nodes=node) for node in primaries))
        return {node.name: answer["run_id"] for node, answer in zip(primaries, answers, strict=True)}

    async def _load(self) -> None:
        """Have all servers know the script."""
        try:
            await self._client.script_load(self._script)
        except self._errors as error:
            self._lose(error)
            raise Unavailable("Valkey cannot be reached, try again.") from error

    def _lose(self, error: BaseException) -> None:
        if self.up:
            log.warning("Valkey is away", reason=str(error) or type(error).__name__)
        self.up = False
        self._lost.set()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*self._errors):
                await client.aclose()
