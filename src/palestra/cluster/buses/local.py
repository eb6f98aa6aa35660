"""Packets within one process, for one node and for tests with several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from palestra.cluster.bus import EVERYBODY


class LocalBroker:
    """Nodes of one process that reach each other."""

    def __init__(self) -> None:
        self.nodes: dict[str, Callable[[bytes], None]] = {}


class LocalTransport:
    """Implements `Transport` over a broker in memory."""

    gather_seconds = 0.0

    def __init__(self, broker: LocalBroker | None = None) -> None:
        self._broker = broker or LocalBroker()
        self._node = ""

    async def open(self, node: str, deliver: Callable[[bytes], None], changed: Callable[[bool], None]) -> None:
        """Begin to receive."""
        self._node = node
        self._broker.nodes[node] = deliver
        changed(True)

    def publish(self, to: str, packet: bytes) -> bool:
        """Hand a packet over at the loop's next turn."""
        call_soon = asyncio.get_running_loop().call_soon
        for node, deliver in self._broker.nodes.items():
            if to in (node, EVERYBODY):
                call_soon(deliver, packet)
        return True

    async def close(self) -> None:
        """Stop receiving."""
        self._broker.nodes.pop(self._node, None)
