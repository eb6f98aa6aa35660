"""Streams for game modules: sessions by id, and only where they may change who is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from palestra.features.streams.contract import (
    NAME_CHARS_MAX,
    OPEN_MODES,
    BadStream,
    ConnectedSockets,
    Presence,
    Presences,
    ReservedMode,
    Stream,
    UnknownSession,
)
from palestra.features.streams.wire import envelope_of, stream_data
from palestra.gateway.push import Push


class StreamsService:
    """Implements `Streams` over the engine. `sockets` are those connected to this node."""

    def __init__(self, presences: Presences, sockets: ConnectedSockets) -> None:
        self._presences = presences
        self._sockets = sockets

    async def join(
        self, session_id: str, stream: Stream, *, hidden: bool = False, persistence: bool = True, status: str = ""
    ) -> bool:
        """Put a session on a stream; whether it was not there before."""
        _check_mode(stream)
        _check_name(stream)
        session = self._sockets.sessions.get(session_id)
        if session is None:
            raise UnknownSession
        _, new = self._presences.join(session, stream, hidden=hidden, persistence=persistence, status=status)
        return new

    async def update(
        self,
        session_id: str,
        stream: Stream,
        *,
        hidden: bool | None = None,
        persistence: bool | None = None,
        status: str | None = None,
    ) -> bool:
        """Change what is given of a session's presence; whether there is one."""
        _check_mode(stream)
        return self._presences.update(session_id, stream, status, hidden=hidden, persistence=persistence)

    async def leave(self, session_id: str, stream: Stream) -> None:
        """Take a session off a stream."""
        _check_mode(stream)
        self._presences.leave(session_id, stream)

    async def kick(self, presence: Presence, stream: Stream) -> None:
        """Take somebody off a stream."""
        await self.leave(presence.session_id, stream)

    async def send(self, stream: Stream, data: str, to: Iterable[str] | None = None, *, reliable: bool = True) -> None:
        """Send text to everybody on a stream, or to some sessions."""
        self._send(stream, stream_data(stream, data, reliable=reliable), to)

    async def send_raw(
        self,
        stream: Stream,
        envelope: Mapping[str, Any],
        to: Iterable[str] | None = None,
        *,
        reliable: bool = True,
    ) -> None:
        """Send any envelope of the protocol."""
        self._send(stream, envelope_of(envelope, reliable=reliable), to)

    def _send(self, stream: Stream, push: Push, to: Iterable[str] | None) -> None:
        if to is None:
            self._presences.send(stream, push)
        else:
            send_to(self._sockets, to, push)

    async def get(self, session_id: str, stream: Stream) -> Presence | None:
        """A session's presence on a stream."""
        member = self._presences.audience(stream).get(session_id)
        return None if member is None else member.presence

    async def users(self, stream: Stream, *, hidden: bool = False, visible: bool = True) -> list[Presence]:
        """Who is on a stream."""
        everybody = [member.presence for member in self._presences.audience(stream).values()]
        return [one for one in everybody if (hidden if one.hidden else visible)]

    async def count(self, stream: Stream) -> int:
        """How many sessions are on a stream, the hidden included."""
        return len(self._presences.audience(stream))

    async def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        _check_mode(stream)
        self._presences.close(stream)


class SocketsService:
    """Implements `Sockets`."""

    def __init__(self, sockets: ConnectedSockets) -> None:
        self._sockets = sockets

    async def of_player(self, user_id: str) -> list[str]:
        """The session ids of a player's sockets."""
        return [session.id for session in self._sockets.of_user(user_id)]

    async def send(self, session_ids: Iterable[str], envelope: Mapping[str, Any], *, reliable: bool = True) -> int:
        """Send an envelope of the protocol to sessions."""
        return send_to(self._sockets, session_ids, envelope_of(envelope, reliable=reliable))

    async def send_to_player(self, user_id: str, envelope: Mapping[str, Any], *, reliable: bool = True) -> int:
        """The same to all sockets of a player."""
        return await self.send(await self.of_player(user_id), envelope, reliable=reliable)

    async def disconnect(self, session_id: str, reason: str = "server-side session disconnect") -> bool:
        """Close a socket normally."""
        session = self._sockets.sessions.get(session_id)
        if session is None:
            return False
        session.close(reason)
        return True


def send_to(sockets: ConnectedSockets, session_ids: Iterable[str], push: Push) -> int:
    """Send an envelope once to each of these sessions that is here; returns to how many."""
    found = [session for one in dict.fromkeys(session_ids) if (session := sockets.sessions.get(one)) is not None]
    for session in found:
        session.send(push)
    return len(found)


def _check_mode(stream: Stream) -> None:
    if stream.mode not in OPEN_MODES:
        raise ReservedMode(stream.mode)


def _check_name(stream: Stream) -> None:
    """A name is written to everybody on the stream, so it has to be text that can be written."""
    for part in (stream.subject, stream.subcontext, stream.label):
        if len(part) > NAME_CHARS_MAX or not _is_text(part):
            raise BadStream


def _is_text(part: str) -> bool:
    try:
        part.encode()
    except UnicodeEncodeError:
        return False
    return True
