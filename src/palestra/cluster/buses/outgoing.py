"""Packets that wait for a broker: bounded, in order, gone when the connection is."""

from __future__ import annotations

import asyncio
from collections import deque

WAITING_BYTES_MAX = 33_554_432


class Outgoing:
    """A queue between `publish`, which must not wait, and the task that writes to a broker."""

    def __init__(self, bytes_max: int = WAITING_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    def put(self, to: str, packet: bytes) -> bool:
        """Queue a packet; False when too much waits already."""
        if self._bytes + len(packet) > self._bytes_max:
            return False
        self._waiting.append((to, packet))
        self._bytes += len(packet)
        self._arrived.set()
        return True

    async def take(self) -> list[tuple[str, bytes]]:
        """All that waits, once something does."""
        await self._arrived.wait()
        taken = list(self._waiting)
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._bytes = 0
        self._arrived.clear()

    def __len__(self) -> int:
        return len(self._waiting)
