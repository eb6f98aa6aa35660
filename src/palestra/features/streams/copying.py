"""All that a node has, told to those who ask: to one after the other and a piece at a time, as the bus can carry it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.features.streams.contract import Presence, Stream
from palestra.features.streams.engine import PresenceEngine
from palestra.gateway.operation import Session

PART_SESSIONS = 500
PART_PRESENCES = 2_000
"""A piece ends where it has so many; a session is in one piece whatever it has."""
PAUSE_SECONDS = 0.02
"""Between two pieces: a large copy goes at some 20 MB/s, and leaves room for what happens meanwhile."""

_encode = msgspec.msgpack.Encoder().encode


class Opened(msgspec.Struct, array_like=True, frozen=True):
    """A session and who it belongs to."""

    id: str
    user_id: str
    username: str
    moves: int = 0


class Placed(msgspec.Struct, array_like=True, frozen=True):
    """A presence on a stream."""

    stream: Stream
    presence: Presence


class Part(msgspec.Struct, array_like=True, frozen=True):
    """A piece of all that a node has: sessions with their presences. Pieces are numbered from 0."""

    last: bool
    sessions: list[tuple[Opened, list[Placed]]]
    number: int


def opened_of(session: Session) -> Opened:
    """What other nodes are told of a session."""
    return Opened(session.id, session.caller.user_id, session.caller.username, session.moves)


class Copying:
    """Tells a copy as it is when each piece is sent. What changes is told to all anyway, in order with the pieces."""

    def __init__(
        self, cluster: Cluster, engine: PresenceEngine, sessions: Callable[[], Mapping[str, Session]], topic: str
    ) -> None:
        self._bus = cluster.bus
        self._members = cluster.members
        self._tasks = cluster.tasks
        self._engine = engine
        self._own = sessions
        self._topic = topic
        self._askers: dict[str, None] = {}
        self._telling: asyncio.Task[None] | None = None

    def asked(self, sender: str, _: None) -> None:
        """A node wants a copy, or wants it from the beginning."""
        self._askers[sender] = None
        if self._telling is None or self._telling.done():
            self._telling = self._tasks.spawn(self._tell_all(), "copies for other nodes")

    async def _tell_all(self) -> None:
        while self._askers:
            asker = next(iter(self._askers))
            del self._askers[asker]
            await self._tell(asker)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _tell(self, asker: str) -> None:
        waiting = deque(self._own())
        number = 0
        while asker in self._members and asker not in self._askers:
            sessions = self._next_part(waiting)
            self._bus.send(asker, self._topic, _encode(Part(not waiting, sessions, number)))
            if not waiting:
                return
            number += 1
            await asyncio.sleep(PAUSE_SECONDS)

    def _next_part(self, waiting: deque[str]) -> list[tuple[Opened, list[Placed]]]:
        own = self._own()
        part: list[tuple[Opened, list[Placed]]] = []
        presences = 0
        while waiting and len(part) < PART_SESSIONS and presences < PART_PRESENCES:
            session = own.get(waiting.popleft())
            if session is not None:
                placed = [Placed(stream, m.presence) for stream, m in self._engine.of_session(session.id).items()]
                part.append((opened_of(session), placed))
                presences += len(placed)
        return part
