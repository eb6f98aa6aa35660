"""Ten thousand tickets reach the matchmaker in ten seconds: how soon they are matched, and how long the loop pauses.

The real service on a loop of its own, with sessions that only note when they are told. A match could be made from the
arrival of the last ticket in it, so the time from there until its players are told is the matchmaker's own.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from palestra.core.clock import SystemClock
from palestra.core.config import MatchmakerSettings
from palestra.core.ids import new_id
from palestra.core.tasks import Tasks
from palestra.features.matches.contract import Matches
from palestra.features.matchmaker.contract import TicketRequest
from palestra.features.matchmaker.service import MatchmakerService
from palestra.gateway.operation import Caller
from palestra.gateway.push import Push
from palestra.sdk.bounds import Bounds
from palestra.sdk.runtime import Runtime

TICKETS = 10_000
SECONDS = 10.0
SETTLE_SECONDS = 1.0
GLANCE_SECONDS = 0.001
REGIONS = ("eu", "us", "asia", "sa")


@dataclass(frozen=True)
class Tickets:
    """What was seen; the pause is the longest time that the loop did not come back from whatever it was doing."""

    tickets: int
    matched: int
    wait_p99_ms: float
    pause_max_ms: float
    cpu_seconds: float

    def told(self) -> str:
        """In a line."""
        waits = (
            f"matched {self.wait_p99_ms:.0f} ms (p99) after it could be, loop paused {self.pause_max_ms:.0f} ms at most"
        )
        return f"{self.matched:,}/{self.tickets:,} {waits}, {self.cpu_seconds:.1f} s CPU"


class _Waiting:
    """A session with a ticket; implements `Session` as far as the matchmaker goes."""

    def __init__(self, number: int) -> None:
        self.id = new_id()
        self.caller = Caller(new_id(), f"player{number}", {}, "", 0, 0)
        self.closing = False
        self.came_at = self.told_at = 0.0
        self.match = b""

    def send(self, push: Push) -> None:
        self.told_at = time.perf_counter()
        envelope = push.envelope()
        start = envelope.index(b'"token":"') + 9
        self.match = envelope[start : envelope.index(b'"', start)]

    def after_reply(self, callback: Callable[[], None]) -> None:
        callback()


def _request(chance: random.Random) -> TicketRequest:
    """Duels, small matches and larger ones in even numbers; by region and mode, half of them near the own skill."""
    region, skill = chance.choice(REGIONS), chance.gauss(1_500, 300)
    low, high, multiple = chance.choice(((2, 2, 1), (2, 4, 1), (4, 10, 2)))
    query = f"+properties.region:{region} +properties.mode:{high}"
    if chance.random() < 0.5:
        query += f" +properties.skill:>={skill - 250:.0f} +properties.skill:<={skill + 250:.0f}"
    return TicketRequest(low, high, query, {"region": region, "mode": str(high)}, {"skill": skill}, multiple)


async def arriving(tickets: int = TICKETS, seconds: float = SECONDS) -> Tickets:
    """Let so many come in so long."""
    tasks = Tasks()
    matches = cast(Matches, SimpleNamespace(token=lambda match_id: match_id))
    service = MatchmakerService(MatchmakerSettings(), matches, Runtime(Bounds(1)), tasks, SystemClock())
    service.start()
    chance = random.Random(5)
    coming = [(_Waiting(number), _request(chance)) for number in range(tickets)]
    # As a node does when it has started.
    gc.collect()
    gc.freeze()
    pauses: list[float] = []
    watching = asyncio.create_task(_watch(pauses))
    cpu, started = time.process_time(), time.perf_counter()
    for number, (session, request) in enumerate(coming):
        await asyncio.sleep(max(0.0, started + seconds * number / tickets - time.perf_counter()))
        session.came_at = time.perf_counter()
        service.add_one(cast(Any, session), request)
    await asyncio.sleep(SETTLE_SECONDS)
    cpu = time.process_time() - cpu
    watching.cancel()
    service.stop()
    await tasks.stop()
    gc.unfreeze()
    return _seen([session for session, _ in coming], pauses, cpu)


async def _watch(pauses: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(GLANCE_SECONDS)
        pauses.append(time.perf_counter() - before - GLANCE_SECONDS)


def _seen(sessions: list[_Waiting], pauses: list[float], cpu_seconds: float) -> Tickets:
    possible_at: dict[bytes, float] = {}
    told = [one for one in sessions if one.told_at]
    for one in told:
        possible_at[one.match] = max(possible_at.get(one.match, 0.0), one.came_at)
    waits = sorted(one.told_at - possible_at[one.match] for one in told)
    return Tickets(len(sessions), len(told), 1e3 * waits[int(len(waits) * 0.99)], 1e3 * max(pauses), cpu_seconds)
