"""Packets that wait for a broker: bounded, in order, gone when the connection is."""

from __future__ import annotations

import asyncio
from collections import deque

from palestra.core.tasks import set_within

WAITING_BYTES_MAX = 33_554_432


class Outgoing:
    """A queue between `publish`, which must not wait, and the task that writes to a broker."""

    def __init__(self, bytes_max: int = WAITING_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()

    def put(self, to: str, packet: bytes) -> bool:
        """Queue a packet; False when too much waits already."""
        if self._bytes + len(packet) > self._bytes_max:
            return False
        self._waiting.append((to, packet))
        self._bytes += len(packet)
        self._arrived.set()
        self._idle.clear()
        return True

    async def take(self) -> list[tuple[str, bytes]]:
        """All that waits, once something does. Whoever asks for more has sent what it took before."""
        if not self._waiting:
            self._idle.set()
        await self._arrived.wait()
        taken = list(self._waiting)
        self._forget()
        return taken

    async def sent(self, seconds: float) -> None:
        """Wait until all has been sent, or is forgotten, or the time is over."""
        await set_within(self._idle, seconds)

    def clear(self) -> None:
        """Forget what waits: the connection is gone."""
        self._forget()
        self._idle.set()

    def _forget(self) -> None:
        self._waiting.clear()
        self._bytes = 0
        self._arrived.clear()
