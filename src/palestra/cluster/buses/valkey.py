"""Packets through the publish and subscribe of Valkey or Redis, a single server or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from palestra.cluster.bus import EVERYBODY
from palestra.cluster.buses.outgoing import Outgoing
from palestra.core.errors import SetupError, Unavailable
from palestra.core.log import get_logger

LIVELY_SECONDS = 1.0
"""How often the connection is tried when nothing comes."""
DEAD_SECONDS = 3.0
"""How long it may be silent: a broker that hangs is as good as gone."""
BACK_OFF_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)

log = get_logger(__name__)


class ValkeyTransport:
    """Implements `Transport`. One connection subscribes, one publishes; both are made anew whenever one fails."""

    def __init__(self, url: str, prefix: str = "palestra") -> None:
        try:
            import redis.asyncio
        except ImportError:
            raise SetupError('a Valkey or Redis URL needs its client: pip install "palestra[valkey]"') from None
        self._client_of: Callable[[], Any] = lambda: redis.asyncio.Redis.from_url(
            url, socket_timeout=DEAD_SECONDS, socket_connect_timeout=DEAD_SECONDS, protocol=3, retry=None
        )
        self._errors: tuple[type[Exception], ...] = (redis.asyncio.RedisError, OSError, TimeoutError)
        self._prefix = prefix
        self._outgoing = Outgoing()
        self._up = self._closing = False
        self._running: asyncio.Task[None] | None = None
        self._deliver: Callable[[bytes], None]
        self._changed: Callable[[bool], None]
        self._node = ""

    async def open(self, node: str, deliver: Callable[[bytes], None], changed: Callable[[bool], None]) -> None:
        """Begin to receive. Raises Unavailable."""
        self._node, self._deliver, self._changed = node, deliver, changed
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._stay_connected(first), name="valkey bus")
        try:
            await first
        except self._errors as error:
            await self.close()
            raise Unavailable(f"Valkey cannot be reached: {error}") from error

    def publish(self, to: str, packet: bytes) -> bool:
        """Queue a packet."""
        return self._up and self._outgoing.put(to, packet)

    async def close(self) -> None:
        """Send what waits, then disconnect."""
        if self._running is None:
            return
        if self._up:
            await self._outgoing.sent(DEAD_SECONDS)
        self._closing = True
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._running = None

    def _channel(self, to: str) -> str:
        return f"{self._prefix}:bus:{to or '*'}"

    async def _stay_connected(self, first: asyncio.Future[None]) -> None:
        failures = 0
        # The client's time-outs may swallow a cancellation: the flag is not lost.
        while not self._closing:
            try:
                await self._connected(first)
            except self._errors as error:
                if not first.done():
                    first.set_exception(error)
                    return
                if self._up:
                    failures = 0
                    log.warning("connection to Valkey lost", reason=str(error) or type(error).__name__)
            finally:
                self._up = False
                self._outgoing.clear()
                self._changed(False)
            if self._closing:
                return
            await asyncio.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
            failures += 1

    async def _connected(self, first: asyncio.Future[None]) -> None:
        """Connect, and carry packets until one of the two connections fails."""
        client = self._client_of()
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(self._channel(self._node), self._channel(EVERYBODY))
                self._up = True
                self._changed(True)
                if not first.done():
                    first.set_result(None)
                writing = asyncio.create_task(self._write(client), name="valkey bus, writing")
                try:
                    await self._read(subscription, writing)
                finally:
                    writing.cancel()
                    await asyncio.wait([writing])
                if not writing.cancelled():
                    writing.result()
        finally:
            await client.aclose()

    async def _read(self, subscription: Any, writing: asyncio.Task[None]) -> None:
        """Deliver what comes until there is an end of this, or of writing."""
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while not self._closing and not writing.done():
            message = await subscription.get_message(timeout=LIVELY_SECONDS)
            if message is not None:
                heard_at = loop.time()
                if message["type"] == "message":
                    self._deliver(message["data"])
            elif loop.time() - heard_at > DEAD_SECONDS:
                raise TimeoutError("it does not answer")
            else:
                await subscription.ping()

    async def _write(self, client: Any) -> None:
        while not self._closing:
            packets = await self._outgoing.take()
            async with client.pipeline(transaction=False) as pipeline:
                for to, packet in packets:
                    pipeline.publish(self._channel(to), packet)
                await pipeline.execute()
