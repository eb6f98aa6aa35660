"""How a node that goes leaves its players to the others."""

from __future__ import annotations

import asyncio
import time

from palestra.app.build import Parts
from palestra.gateway.websocket.parting import part_all

SPREAD_PART = 0.6
"""Over this part of the time sockets are told to connect again, so that they do not all come at once. In what is left
those that were told last may come to another node by themselves."""
LEAST_PART = 0.2
"""So much of `drain_seconds` they get if matches have taken all of it."""
PARTIES_PART = 0.25
"""Over this part of `drain_seconds` parties are handed over; that takes milliseconds where all is well."""
LATE_SECONDS = 0.5
"""So long those that were made while the node stopped."""
SETTLE_SECONDS = 1.5
"""How long it may take at most until all nodes know where the last sessions went."""


async def move_parties(parts: Parts, seconds: float) -> None:
    """Give this node's parties to others; those that nobody takes end with it."""
    parties = parts.services.live.other_parties
    if parties is not None:
        await parties.mover.hand_over(seconds)


async def move_sessions(parts: Parts, seconds: float) -> None:
    """Tell all sockets to connect again, and give what has not come to another node by then to one of them.

    Nothing happens without another node that serves on: then sessions end with the node.
    """
    moving, members = parts.services.live.moving, parts.cluster.members

    def goes_on() -> bool:
        return any(info.serves and not info.draining for info in members)

    if moving is None or not goes_on():
        return
    seconds = max(seconds, parts.settings.drain_seconds * LEAST_PART)
    until = time.monotonic() + seconds
    await part_all(parts.sockets, seconds * SPREAD_PART)
    while parts.sockets.sessions and goes_on() and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)
    await moving.hand_over_all(SETTLE_SECONDS)
