"""Packets through a NATS server or cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from palestra.cluster.bus import EVERYBODY
from palestra.cluster.buses.outgoing import Outgoing
from palestra.core.errors import SetupError, Unavailable
from palestra.core.log import get_logger

PING_SECONDS = 1.0
PINGS_MAX = 3
"""Pings without an answer after which the server is as good as gone."""
DEAD_SECONDS = 3.0
RECONNECT_SECONDS = 0.2

log = get_logger(__name__)


class NatsTransport:
    """Implements `Transport` over core NATS. The client reconnects by itself; what it could not send is dropped."""

    gather_seconds = 0.002

    def __init__(self, url: str, prefix: str = "palestra") -> None:
        try:
            import nats.errors
            from nats.aio.client import Client
        except ImportError:
            raise SetupError("a NATS URL needs its client: pip install nats-py") from None
        self._client_of = Client
        self._error = nats.errors.Error
        self._url = url
        self._prefix = prefix
        self._outgoing = Outgoing()
        self._client: Any = None
        self._up = self._closing = False
        self._writing: asyncio.Task[None] | None = None
        self._changed: Callable[[bool], None]

    async def open(self, node: str, deliver: Callable[[bytes], None], changed: Callable[[bool], None]) -> None:
        """Begin to receive. Raises Unavailable."""
        self._changed = changed

        class InOrder(self._client_of):
            """Delivers as it reads. The client has a queue and a task for each subject, which mix their order."""

            def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Any:
                deliver(bytes(data))

        client: Any = InOrder()
        try:
            # The client would go on trying for ever, at the first time as well.
            async with asyncio.timeout(DEAD_SECONDS):
                await client.connect(
                    self._url,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_SECONDS,
                    connect_timeout=DEAD_SECONDS,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=PINGS_MAX,
                    pending_size=-1,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._back,
                    error_cb=self._failed,
                )
        except Exception as error:
            # The client raises errors of its own, of the socket and of asyncio.
            raise Unavailable(
                f"NATS at {self._url.rpartition('@')[2]} cannot be used: {str(error) or 'no answer'}.\n"
                "Start it, or correct cluster.bus_url."
            ) from error
        self._client = client
        await client.subscribe(self._subject(node))
        await client.subscribe(self._subject(EVERYBODY))
        await client.flush()
        self._writing = asyncio.create_task(self._write(), name="nats bus")
        self._switch(True)

    def publish(self, to: str, packet: bytes) -> bool:
        """Queue a packet."""
        return self._up and self._outgoing.put(to, packet)

    async def close(self) -> None:
        """Send what waits, then disconnect."""
        if self._client is None:
            return
        if self._up:
            await self._outgoing.sent(DEAD_SECONDS)
            with contextlib.suppress(self._error, OSError):
                await self._client.flush(timeout=int(DEAD_SECONDS) or 1)
        self._closing = True
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        self._up = False
        # The client waits for a broker that hangs, and nothing of ours is on its way any more.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEAD_SECONDS):
                await self._client.close()
        self._client = None

    def _subject(self, to: str) -> str:
        # A node's name may hold dots, which would make levels of the subject.
        return f"{self._prefix}.bus.{to.encode().hex() or 'all'}"

    def _switch(self, up: bool) -> None:
        self._up = up
        if not up:
            self._outgoing.clear()
        self._changed(up)

    async def _lost(self) -> None:
        if self._up:
            log.warning("connection to NATS lost")
        self._switch(False)

    async def _back(self) -> None:
        # The answer to a ping tells that the server has our subscriptions again. The client keeps a connection that is
        # silent for some seconds, and would not say once more that it has it.
        while self._client.is_connected and not self._closing:
            try:
                await self._client.flush(timeout=int(DEAD_SECONDS))
            except (self._error, OSError):
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                self._switch(True)
                return

    async def _failed(self, error: Exception) -> None:
        if self._up:
            log.warning("NATS reports an error", reason=str(error) or type(error).__name__)

    async def _write(self) -> None:
        while not self._closing:
            for to, packet in await self._outgoing.take():
                try:
                    await self._client.publish(self._subject(to), packet)
                except self._error as error:
                    # The packet is lost, which its receivers will notice; the next may go through.
                    log.warning("NATS did not take a packet", reason=str(error) or type(error).__name__)
