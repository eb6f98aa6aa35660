"""Where scripts run: one server, on a line of our own; or a cluster, whose client knows which of its servers to ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from palestra.cluster.line import Questions, client_url, command, connect, place_of

AWAY = ("LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS")
"""Refusals of a server that is as good as gone."""


class Call(NamedTuple):
    """One run of the script. All keys carry the same hash tag; the first says where in a cluster they live."""

    keys: Sequence[str]
    arguments: Sequence[Any]


class Refused(Exception):
    """What a server says that is there and will not do it."""


class ScriptUnknown(Refused):
    """The server has not heard of the script, or has forgotten it."""


class ScriptServers(Protocol):
    """Whatever is asked of them raises OSError when they cannot be reached."""

    clustered: bool

    @property
    def lost(self) -> bool:
        """Whether it is of no use to ask any more."""
        ...

    async def run(self, sha: str, calls: Sequence[Call]) -> list[Any]:
        """The answer to each call, or its exception: `Refused`, or that of a server that is away."""
        ...

    async def load(self, script: str) -> None:
        """Have all servers know the script."""
        ...

    async def lives(self) -> dict[str, str]:
        """The run ids of all servers, by name."""
        ...

    def server_of(self, key: str) -> str:
        """The name of the server that holds a key."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


async def open_servers(url: str, seconds: float) -> ScriptServers:
    """Connect; servers that keep silent for so long are gone. Raises OSError."""
    place = place_of(url)
    line = await connect(place, lambda: Questions(seconds), seconds)
    try:
        if place.credentials:
            await line.tell("AUTH", *place.credentials)
        if place.database:
            await line.tell("SELECT", place.database)
        clustered = _figure(await line.tell("INFO", "cluster"), b"cluster_enabled") == "1"
    except BaseException:
        line.fail(ConnectionError("it is not needed any more"))
        raise
    if not clustered:
        return SingleServer(line)
    line.fail(ConnectionError("it is not needed any more"))
    return await ServerCluster.open(url, seconds)


class SingleServer:
    """Implements `ScriptServers`."""

    clustered = False

    def __init__(self, line: Questions) -> None:
        self._line = line

    @property
    def lost(self) -> bool:
        """See ScriptServers.lost."""
        return self._line.lost.done()

    async def run(self, sha: str, calls: Sequence[Call]) -> list[Any]:
        """See ScriptServers.run."""
        commands = [command("EVALSHA", sha, len(keys), *keys, *arguments) for keys, arguments in calls]
        replies = await self._line.ask(b"".join(commands), len(commands))
        return [_told(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def load(self, script: str) -> None:
        """See ScriptServers.load."""
        await self._line.tell("SCRIPT", "LOAD", script)

    async def lives(self) -> dict[str, str]:
        """See ScriptServers.lives."""
        return {"": _figure(await self._line.tell("INFO", "server"), b"run_id")}

    def server_of(self, key: str) -> str:
        """See ScriptServers.server_of."""
        return ""

    async def close(self) -> None:
        """See ScriptServers.close."""
        self._line.fail(ConnectionError("it is not needed any more"))


def _told(error: Exception) -> Exception:
    words = str(error)
    if words.startswith("NOSCRIPT"):
        return ScriptUnknown(words)
    return ConnectionError(words) if words.startswith(AWAY) else Refused(words)


def _figure(info: bytes, name: bytes) -> str:
    """What `INFO` says under a name, "" if nothing."""
    return next((line[len(name) + 1 :].decode() for line in info.splitlines() if line.startswith(name + b":")), "")


class ServerCluster:
    """Implements `ScriptServers`."""

    clustered = True
    lost = False

    def __init__(self, client: Any, seconds: float) -> None:
        import redis.exceptions

        self._client = client
        self._seconds = seconds
        self._errors = redis.exceptions
        # A cluster that cannot be reached at all is told by an error of no other's kind.
        self._away = (redis.exceptions.RedisError, redis.exceptions.RedisClusterException)

    @classmethod
    async def open(cls, url: str, seconds: float) -> ServerCluster:
        """Connect, and learn who holds what."""
        import redis.asyncio

        limits: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "protocol": 2}
        client: Any = redis.asyncio.RedisCluster.from_url(client_url(url), **limits)
        servers = cls(client, seconds)
        try:
            await servers._asked(client.initialize())
        except BaseException:
            await servers.close()
            raise
        return servers

    async def run(self, sha: str, calls: Sequence[Call]) -> list[Any]:
        """See ScriptServers.run."""
        pipeline = self._client.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.execute_command("EVALSHA", sha, len(keys), *keys, *arguments)
        replies = await self._asked(pipeline.execute(raise_on_error=False))
        return [self._told(reply) if isinstance(reply, Exception) else reply for reply in replies]

    def _told(self, error: Exception) -> Exception:
        if isinstance(error, self._errors.NoScriptError):
            return ScriptUnknown(str(error))
        return Refused(str(error)) if isinstance(error, self._errors.ResponseError) else error

    async def load(self, script: str) -> None:
        """See ScriptServers.load."""
        await self._asked(self._client.script_load(script))

    async def lives(self) -> dict[str, str]:
        """See ScriptServers.lives."""

        async def all_lives() -> tuple[list[Any], list[Any]]:
            primaries = self._client.get_primaries()
            asked = (self._client.info("server", target_nodes=node) for node in primaries)
            return primaries, await asyncio.gather(*asked)

        primaries, answers = await self._asked(all_lives())
        return {node.name: answer["run_id"] for node, answer in zip(primaries, answers, strict=True)}

    async def _asked(self, answer: Any) -> Any:
        try:
            async with asyncio.timeout(self._seconds * 2):
                return await answer
        except self._away as error:
            raise ConnectionError(str(error)) from error

    def server_of(self, key: str) -> str:
        """See ScriptServers.server_of."""
        try:
            node = self._client.get_node_from_key(key)
        except self._away:
            node = None
        return "" if node is None else node.name

    async def close(self) -> None:
        """See ScriptServers.close."""
        with contextlib.suppress(*self._away, OSError):
            await self._client.aclose()
