"""What a node does about the others: what it reads again when it missed something, what it drops when given up."""

from __future__ import annotations

import asyncio

from palestra.cluster.cluster import Cluster
from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.sessions.service import SessionService
from palestra.gateway.websocket.gateway import SocketGateway

CUT_OFF = "this server was cut off from the others, connect again"
READ_SECONDS = 1.0
"""How often revocations are read while nobody can tell us of them."""

log = get_logger(__name__)


def follow_cluster(cluster: Cluster, sockets: SocketGateway, sessions: SessionService, tasks: Tasks) -> None:
    """Keep revocations whole, and end the sockets of a node that was declared dead."""
    if cluster.alone:
        return
    missed = asyncio.Event()

    async def keep_read() -> None:
        while True:
            await missed.wait()
            if cluster.bus.up and not cluster.members.mute:
                missed.clear()
            try:
                await sessions.load()
            except PalestraError as error:
                log.warning("revocations are not read this time", reason=error.message)
                missed.set()
            await asyncio.sleep(READ_SECONDS)

    def changed(up: bool) -> None:
        missed.set()

    def drop_all() -> None:
        for socket in list(sockets.sessions.values()):
            socket.close(CUT_OFF)

    cluster.bus.on_gap(lambda node: missed.set())
    cluster.bus.on_change(changed)
    cluster.members.on_join(lambda node: missed.set())
    cluster.members.on_mute(missed.set)
    cluster.members.on_fenced(drop_all)
    cluster.on_start.append(lambda: tasks.spawn(keep_read(), "missed revocations"))
