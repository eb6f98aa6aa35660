"""The presence engine: which sessions are on which stream, and telling those of this node."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from palestra.features.streams.contract import (
    MODE_MAX,
    OWN_MODE_MIN,
    Audience,
    Hearers,
    Member,
    Presence,
    SessionClosing,
    Shape,
    Stream,
    Watcher,
)
from palestra.features.streams.crowds import Crowds, Later
from palestra.features.streams.moves import Moves
from palestra.features.streams.remote import Link
from palestra.features.streams.wire import stream_presence_event
from palestra.gateway.operation import Session
from palestra.gateway.push import Push

EVENT_PRESENCES_MAX = 256
"""Most presences that share an event."""

_NOBODY: Audience = MappingProxyType({})
_NO_STREAMS: Mapping[Stream, Audience] = MappingProxyType({})
_NOWHERE: Mapping[Stream, Member] = MappingProxyType({})
_NO_LOSS: Mapping[str, int] = MappingProxyType({})

Soon = Callable[[Callable[[], None]], object]


def _when_the_loop_is_free(callback: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_soon(callback)


def _later(seconds: float, callback: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, callback)


class _Gathered:
    """What is still to be told of a stream. No session is in it twice, so its order does not matter."""

    __slots__ = ("joins", "leaves", "sessions")

    def __init__(self) -> None:
        self.joins: list[Presence] = []
        self.leaves: list[Presence] = []
        self.sessions: set[str] = set()


class PresenceEngine:
    """Implements `Presences`. Owns the presences of this node's sessions, and has a copy of those of other nodes.

    With a `link` to other nodes, what features do here is passed on; `place`, `take`, `alter` and `clear` are how that
    arrives, and pass nothing on.

    A stream exists while somebody is on it. Nothing here waits, so every call sees and leaves a whole state. `soon`
    calls back when the loop has worked through what it has in hand, `later` after some seconds.
    """

    def __init__(self, soon: Soon = _when_the_loop_is_free, later: Later = _later) -> None:
        self.link: Link | None = None
        self.moves = Moves()
        self._elsewhere: dict[Stream, dict[str, int]] = {}
        self.counts: Counter[str] = Counter()
        """How many presences there are by node, "" being this one."""
        self._soon = soon
        self._modes: dict[int, dict[Stream, dict[str, Member]]] = {}
        self._streams_of: dict[str, dict[Stream, Member]] = {}
        self._watchers: dict[int, Watcher] = {}
        self._hearers: dict[int, Hearers] = {}
        own = range(OWN_MODE_MIN, MODE_MAX + 1)
        self._shapes: dict[int, Shape] = dict.fromkeys(own, stream_presence_event)
        self._gathering: set[int] = set(own)
        self._gathered: dict[Stream, _Gathered] = {}
        self._crowds = Crowds(self._deliver, later)

    def announce(self, mode: int, shape: Shape, *, gathers: bool = False, hearers: Hearers | None = None) -> None:
        """Make presence events of a mode look so."""
        self._shapes[mode] = shape
        if gathers:
            self._gathering.add(mode)
        if hearers is not None:
            self._hearers[mode] = hearers

    def watch(self, mode: int, watcher: Watcher) -> None:
        """Tell `watcher` of joins and leaves on streams of a mode at once."""
        self._watchers[mode] = watcher

    # -- coming and going

    def join(
        self,
        session: Session,
        stream: Stream,
        *,
        hidden: bool = False,
        persistence: bool = True,
        status: str = "",
    ) -> tuple[Presence, bool]:
        """The session's presence and whether it is new."""
        own = self._streams_of.get(session.id)
        if own is not None and (member := own.get(stream)) is not None:
            return member.presence, False
        if session.closing:
            raise SessionClosing
        caller = session.caller
        presence = Presence(caller.user_id, session.id, caller.username, hidden, persistence, status)
        node = session.node
        if self.link is not None:
            self.link.joined(stream, presence, node)
        self._add(stream, Member(session, presence, node))
        return presence, True

    def place(self, session: Session, stream: Stream, presence: Presence) -> None:
        """Another node's session is on a stream."""
        member = self._streams_of.get(session.id, _NOWHERE).get(stream)
        if member is None:
            self._add(stream, Member(session, presence, session.node))
        elif member.presence != presence:
            self.alter(stream, presence)

    def _add(self, stream: Stream, member: Member) -> None:
        session = member.session
        if (gathered := self._gathered.get(stream)) is not None and session.id in gathered.sessions:
            # Its leave is still to be told, to those who stayed and not to itself.
            self._tell_gathered(stream)
        self._crowds.returns(stream, session.id)
        self._streams_of.setdefault(session.id, {})[stream] = member
        self._modes.setdefault(stream.mode, {}).setdefault(stream, {})[session.id] = member
        self._count(stream, member.node, 1)
        if (watcher := self._watchers.get(stream.mode)) is not None:
            watcher(stream, (member,), ())
        self._tell_later(member, stream, _visible(member.presence), ())

    def leave(self, session_id: str, stream: Stream) -> bool:
        """Whether the session was there."""
        member = self.take(session_id, stream)
        if member is not None and self.link is not None:
            self.link.left(stream, session_id, member.node)
        return member is not None

    def take(self, session_id: str, stream: Stream) -> Member | None:
        """A session is on a stream no more; what it was there."""
        own = self._streams_of.get(session_id)
        if own is None or (member := own.pop(stream, None)) is None:
            return None
        if not own:
            del self._streams_of[session_id]
        self._remove(stream, member)
        return member

    def leave_mode(self, session_id: str, mode: int, *, but: Stream | None = None) -> None:
        """Leave all streams of a mode except `but`."""
        for stream in list(self._streams_of.get(session_id, ())):
            if stream.mode == mode and stream != but:
                self.leave(session_id, stream)

    def leave_all(self, session_id: str) -> None:
        """Take a session that has ended off all its streams."""
        for stream, member in self._streams_of.pop(session_id, {}).items():
            self._remove(stream, member)

    def update(
        self,
        session_id: str,
        stream: Stream,
        status: str | None = None,
        *,
        hidden: bool | None = None,
        persistence: bool | None = None,
    ) -> bool:
        """Change what a presence shows."""
        member = self._streams_of.get(session_id, _NOWHERE).get(stream)
        if member is None:
            return False
        given = {"status": status, "hidden": hidden, "persistence": persistence}
        shown = replace(member.presence, **{name: value for name, value in given.items() if value is not None})
        if self.link is not None:
            self.link.updated(stream, shown, member.node)
        self.alter(stream, shown)
        return True

    def alter(self, stream: Stream, presence: Presence) -> None:
        """A presence shows something else."""
        member = self._streams_of.get(presence.session_id, _NOWHERE).get(stream)
        if member is None:
            return
        former, member.presence, member.encoded = member.presence, presence, None
        self._tell_later(member, stream, _visible(presence), _visible(former))

    def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        if self.link is not None:
            self.link.closed(stream)
        self.clear(stream)

    def clear(self, stream: Stream) -> None:
        """Everybody is off a stream, and nobody is told."""
        self._elsewhere.pop(stream, None)
        self._gathered.pop(stream, None)
        self._crowds.flush(stream)
        audiences = self._modes.get(stream.mode)
        if audiences is None:
            return
        for session_id, member in audiences.pop(stream, {}).items():
            member.silent = True
            self.counts[member.node] -= 1
            own = self._streams_of[session_id]
            del own[stream]
            if not own:
                del self._streams_of[session_id]
        if not audiences:
            del self._modes[stream.mode]

    def _remove(self, stream: Stream, member: Member) -> None:
        audiences = self._modes[stream.mode]
        audience = audiences[stream]
        del audience[member.presence.session_id]
        self._count(stream, member.node, -1)
        if not audience:
            del audiences[stream]
            if not audiences:
                del self._modes[stream.mode]
        if (watcher := self._watchers.get(stream.mode)) is not None:
            watcher(stream, (), (member,))
        self._tell_later(member, stream, (), _visible(member.presence))

    def _count(self, stream: Stream, node: str, change: int) -> None:
        """There are more or fewer presences of a node on a stream."""
        self.counts[node] += change
        if not node:
            return
        nodes = self._elsewhere.setdefault(stream, {})
        nodes[node] = nodes.get(node, 0) + change
        if not nodes[node]:
            del nodes[node]
            if not nodes:
                del self._elsewhere[stream]

    # -- sessions that move

    def settle(self, session_id: str) -> None:
        """Deliver what waits for others to share the write: a session is about to come or go."""
        for stream in self.of_session(session_id):
            if stream in self._gathered:
                self._tell_gathered(stream)
            self._crowds.flush(stream)

    def moved(self, session: Session) -> None:
        """A session is on another node from now on, which is nobody's coming or going."""
        for stream, member in self.of_session(session.id).items():
            self._count(stream, member.node, -1)
            member.session, member.node = session, session.node
            self._count(stream, member.node, 1)

    def _deliver_moving(self, stream: Stream, push: Push, origin: str, at: int) -> None:
        """Send while sessions move: some have this from their other node, some have it only from here."""
        if stream in self._gathered:
            self._tell_gathered(stream)
        self._crowds.flush(stream)
        self._deliver(stream, (push,), self.moves.missed(origin, at))
        audience = self.audience(stream)
        for session_id in self.moves.owed(origin, at):
            if session_id in audience and self.link is not None:
                self.link.pass_on(session_id, push)

    # -- looking

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

    def of_session(self, session_id: str) -> Mapping[Stream, Member]:
        """The streams that a session is on."""
        return self._streams_of.get(session_id, _NOWHERE)

    # -- telling

    def send(self, stream: Stream, push: Push) -> int:
        """Send one envelope to everybody on a stream."""
        if self.link is not None and (nodes := self._elsewhere.get(stream)):
            self.link.deliver_stream(stream, push, nodes)
        return self.send_here(stream, push)

    def send_here(self, stream: Stream, push: Push, origin: str = "") -> int:
        """The same to those of this node; returns how many are on the stream. `origin` is the node that sends."""
        if self.moves and self.moves.concern(origin, self.moves.now):
            self._deliver_moving(stream, push, origin, self.moves.now)
            return len(self.audience(stream))
        if stream in self._gathered:
            self._tell_gathered(stream)
        members = len(self.audience(stream))
        if stream.mode in self._gathering:
            self._crowds.send(stream, push, members)
        else:
            self._deliver(stream, (push,), _NO_LOSS)
        return members

    def _deliver(self, stream: Stream, pushes: Sequence[Push], missed: Mapping[str, int]) -> None:
        for session_id, member in self.audience(stream).items():
            if member.node:
                continue
            send = member.session.send
            for push in pushes[missed[session_id] :] if session_id in missed else pushes:
                send(push)

    def _tell_later(
        self, member: Member, stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]
    ) -> None:
        """Announce after the reply that the session is owed.

        All events about one session go through that session, so a join is always told before the leave that follows.
        """
        if stream.mode in self._shapes and (joins or leaves):
            origin, at = member.node, self.moves.now
            member.session.after_reply(lambda: self._tell(member, stream, joins, leaves, origin, at))

    def _tell(
        self,
        member: Member,
        stream: Stream,
        joins: Sequence[Presence],
        leaves: Sequence[Presence],
        origin: str,
        at: int,
    ) -> None:
        if member.silent:
            return
        if self.moves and self.moves.concern(origin, at) and stream.mode not in self._hearers:
            self._deliver_moving(stream, self._shapes[stream.mode](stream, joins, leaves), origin, at)
            return
        if stream.mode not in self._gathering:
            self._announce(stream, joins, leaves, origin, at)
            return
        session_id = member.presence.session_id
        gathered = self._gathered.get(stream)
        if gathered is not None and (session_id in gathered.sessions or len(gathered.sessions) >= EVENT_PRESENCES_MAX):
            self._tell_gathered(stream)
            gathered = None
        idle = not self._gathered
        if gathered is None:
            gathered = self._gathered[stream] = _Gathered()
        gathered.sessions.add(session_id)
        gathered.joins += joins
        gathered.leaves += leaves
        if idle:
            self._soon(self._tell_all_gathered)

    def _tell_all_gathered(self) -> None:
        for stream in list(self._gathered):
            self._tell_gathered(stream)

    def _tell_gathered(self, stream: Stream) -> None:
        gathered = self._gathered.pop(stream)
        if members := len(self.audience(stream)):
            push = self._shapes[stream.mode](stream, gathered.joins, gathered.leaves)
            self._crowds.send(stream, push, members, [one.session_id for one in gathered.leaves])

    def _announce(
        self, stream: Stream, joins: Sequence[Presence], leaves: Sequence[Presence], origin: str, at: int
    ) -> None:
        shape, hearers = self._shapes[stream.mode], self._hearers.get(stream.mode)
        if hearers is not None:
            push = shape(stream, joins, leaves)
            for session in hearers(stream):
                if not self.moves or self.moves.hears(session, origin, at):
                    session.send(push)
                elif session.node and self.link is not None and session.id in self.moves.owed(origin, at):
                    self.link.pass_on(session.id, push)
        elif self.audience(stream):
            self._deliver(stream, (shape(stream, joins, leaves),), _NO_LOSS)


def _visible(presence: Presence) -> tuple[Presence, ...]:
    return () if presence.hidden else (presence,)
