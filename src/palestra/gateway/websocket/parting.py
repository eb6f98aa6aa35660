"""Telling the clients of a node to connect again, because it is going."""

from __future__ import annotations

import asyncio
import random

from palestra.gateway.websocket.gateway import SocketGateway

RESTART = "service restart"


async def part_all(sockets: SocketGateway, seconds: float) -> None:
    """Tell all sockets to connect again, in random order over so many seconds; their sessions are away from then on.

    New sockets are refused meanwhile: they are to come to another node.
    """
    sockets.parting = True
    loop = asyncio.get_running_loop()
    open_ones = [socket for socket in sockets.sessions.values() if not socket.away]
    random.shuffle(open_ones)
    started = loop.time()
    for number, socket in enumerate(open_ones):
        delay = started + seconds * number / len(open_ones) - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        if not (socket.away or socket.closing or socket.node or socket.said_goodbye):
            socket.part(RESTART)
