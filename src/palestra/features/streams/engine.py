"""The presence engine: who of this node's sessions is on which stream, and telling the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from palestra.features.streams.contract import (
    MODE_MAX,
    OWN_MODE_MIN,
    Audience,
    Member,
    Presence,
    SessionClosing,
    Shape,
    Stream,
    Watcher,
)
from palestra.features.streams.wire import stream_presence_event
from palestra.gateway.operation import Session
from palestra.gateway.push import Push

_NOBODY: Audience = MappingProxyType({})
_NO_STREAMS: Mapping[Stream, Audience] = MappingProxyType({})


class PresenceEngine:
    """Implements `Presences`. Owns the presences of the sessions connected to this node, and only those.

    A stream exists while somebody is on it. Nothing here waits, so every call sees and leaves a whole state.
    """

    def __init__(self) -> None:
        self._modes: dict[int, dict[Stream, dict[str, Member]]] = {}
        self._streams_of: dict[str, dict[Stream, Member]] = {}
        self._watchers: dict[int, Watcher] = {}
        self._shapes: dict[int, Shape] = dict.fromkeys(range(OWN_MODE_MIN, MODE_MAX + 1), stream_presence_event)

    def announce(self, mode: int, shape: Shape) -> None:
        """Make presence events of a mode look so."""
        self._shapes[mode] = shape

    def watch(self, mode: int, watcher: Watcher) -> None:
        """Tell `watcher` of joins and leaves on streams of a mode at once."""
        self._watchers[mode] = watcher

    def join(
        self, session: Session, stream: Stream, *, hidden: bool = False, persistence: bool = True, status: str = ""
    ) -> tuple[Presence, bool]:
        """The session's presence and whether it is new."""
        own = self._streams_of.get(session.id)
        if own is not None and (member := own.get(stream)) is not None:
            return member.presence, False
        if session.closing:
            raise SessionClosing
        caller = session.caller
        presence = Presence(caller.user_id, session.id, caller.username, hidden, persistence, status)
        member = Member(session, presence)
        if own is None:
            own = self._streams_of[session.id] = {}
        own[stream] = member
        self._modes.setdefault(stream.mode, {}).setdefault(stream, {})[session.id] = member
        if (watcher := self._watchers.get(stream.mode)) is not None:
            watcher(stream, (member,), ())
        self._tell_later(session, stream, (presence,), ())
        return presence, True

    def leave(self, session_id: str, stream: Stream) -> bool:
        """Whether the session was there."""
        own = self._streams_of.get(session_id)
        if own is None or (member := own.pop(stream, None)) is None:
            return False
        if not own:
            del self._streams_of[session_id]
        self._remove(stream, member)
        return True

    def leave_mode(self, session_id: str, mode: int, *, but: Stream | None = None) -> None:
        """Leave all streams of a mode except `but`."""
        for stream in list(self._streams_of.get(session_id, ())):
            if stream.mode == mode and stream != but:
                self.leave(session_id, stream)

    def leave_all(self, session_id: str) -> None:
        """Take a session that has ended off all its streams."""
        for stream, member in self._streams_of.pop(session_id, {}).items():
            self._remove(stream, member)

    def update(self, session_id: str, stream: Stream, status: str) -> bool:
        """Change what a presence shows."""
        member = self._streams_of.get(session_id, {}).get(stream)
        if member is None:
            return False
        former = member.presence
        member.presence = replace(former, status=status)
        member.encoded = None
        self._tell_later(member.session, stream, (member.presence,), (former,))
        return True

    def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        audiences = self._modes.get(stream.mode)
        if audiences is None:
            return
        for session_id in audiences.pop(stream, ()):
            own = self._streams_of[session_id]
            del own[stream]
            if not own:
                del self._streams_of[session_id]
        if not audiences:
            del self._modes[stream.mode]

    def audience(self, stream: Stream) -> Audience:
        """Everybody on a stream, the hidden included."""
        audiences = self._modes.get(stream.mode)
        return _NOBODY if audiences is None else audiences.get(stream, _NOBODY)

    def visible(self, stream: Stream) -> list[Presence]:
        """Everybody to be seen on a stream."""
        return [member.presence for member in self.audience(stream).values() if not member.presence.hidden]

    def of_mode(self, mode: int) -> Mapping[Stream, Audience]:
        """All streams of a mode that have anybody on them."""
        return self._modes.get(mode, _NO_STREAMS)

    def send(self, stream: Stream, push: Push) -> int:
        """Send one envelope to everybody on a stream."""
        audience = self.audience(stream)
        for member in audience.values():
            member.session.send(push)
        return len(audience)

    def _remove(self, stream: Stream, member: Member) -> None:
        audiences = self._modes[stream.mode]
        audience = audiences[stream]
        del audience[member.presence.session_id]
        if not audience:
            del audiences[stream]
            if not audiences:
                del self._modes[stream.mode]
        if (watcher := self._watchers.get(stream.mode)) is not None:
            watcher(stream, (), (member,))
        self._tell_later(member.session, stream, (), (member.presence,))

    def _tell_later(
        self, session: Session, stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]
    ) -> None:
        """Announce after the reply that the session is owed.

        All events about one session go through that session, so a join is always told before the leave that follows.
        """
        shape = self._shapes.get(stream.mode)
        if shape is None or (joins or leaves)[0].hidden:
            return

        def tell() -> None:
            if self.audience(stream):
                self.send(stream, shape(stream, joins, leaves))

        session.after_reply(tell)
