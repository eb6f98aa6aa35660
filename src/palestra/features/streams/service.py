"""Streams for game modules: their own modes only, sessions by id."""

from __future__ import annotations

from collections.abc import Mapping

from palestra.features.streams.contract import (
    MODE_MAX,
    OWN_MODE_MIN,
    Presence,
    Presences,
    ReservedMode,
    Stream,
    UnknownSession,
)
from palestra.features.streams.wire import stream_data
from palestra.gateway.operation import Session


class StreamsService:
    """Implements `Streams` over the engine. `sessions` are those connected to this node, by id."""

    def __init__(self, presences: Presences, sessions: Mapping[str, Session]) -> None:
        self._presences = presences
        self._sessions = sessions

    async def join(
        self, session_id: str, stream: Stream, *, hidden: bool = False, persistence: bool = True, status: str = ""
    ) -> bool:
        """Put a session on a stream; whether it was not there before."""
        _check_mode(stream)
        session = self._sessions.get(session_id)
        if session is None:
            raise UnknownSession
        _, new = self._presences.join(session, stream, hidden=hidden, persistence=persistence, status=status)
        return new

    async def leave(self, session_id: str, stream: Stream) -> None:
        """Take a session off a stream."""
        _check_mode(stream)
        self._presences.leave(session_id, stream)

    async def send(self, stream: Stream, data: str) -> None:
        """Send text to everybody on a stream."""
        self._presences.send(stream, stream_data(stream, data))

    async def users(self, stream: Stream) -> list[Presence]:
        """Everybody to be seen on a stream."""
        return self._presences.visible(stream)

    async def count(self, stream: Stream) -> int:
        """How many sessions are on a stream, the hidden included."""
        return len(self._presences.audience(stream))

    async def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        _check_mode(stream)
        self._presences.close(stream)


def _check_mode(stream: Stream) -> None:
    if not OWN_MODE_MIN <= stream.mode <= MODE_MAX:
        raise ReservedMode(stream.mode)
