"""Sessions and presences of all nodes, known on each: every node tells the others of its own, and corrects its copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from palestra.cluster.bus import Bus
from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.features.streams.contract import Presence, Stream
from palestra.features.streams.copying import Copying, Opened, Part, Placed, opened_of
from palestra.features.streams.deliveries import Deliveries, Delivery, push_of
from palestra.features.streams.engine import PresenceEngine
from palestra.features.streams.remote import RemoteSession
from palestra.gateway.operation import Caller, Session
from palestra.gateway.push import Push
from palestra.gateway.websocket.socket import Socket

ENDED_AT_ONCE_MAX = 200
"""Sessions of a dead node that end in one turn of the loop."""
ASK_SECONDS = 2.0
"""After what time a copy that has not come is asked for again."""
DISAGREEMENTS_MAX = 3
"""Heartbeats in a row at which counts may differ: what a feature does to a session of another node is here first."""

log = get_logger(__name__)

_encode = msgspec.msgpack.Encoder().encode


class Left(msgspec.Struct, array_like=True, frozen=True):
    """A session that is on a stream no more."""

    session_id: str
    stream: Stream


class Ending(msgspec.Struct, array_like=True, frozen=True):
    """A session that is to be closed."""

    session_id: str
    reason: str


class _Copy:
    """What has come so far of all that a node has: so many pieces, and the sessions that it has said it has."""

    __slots__ = ("parts", "seen")

    def __init__(self) -> None:
        self.parts = 0
        self.seen: set[str] = set()


class Replication:
    """Implements `Link` and `Copies`: keeps the copies of other nodes' sessions and presences, carries what is sent.

    A change is told to all once, by the node of its session, and in order. What was lost on the way is noticed by the
    bus, or by counts that differ at heartbeats; then the whole is asked for and compared. Memory: about a kilobyte for
    each session of the cluster, on each node.
    """

    def __init__(self, cluster: Cluster, engine: PresenceEngine, sessions: Callable[[], Mapping[str, Session]]) -> None:
        self._bus: Bus = cluster.bus
        self._members = cluster.members
        self._engine = engine
        self._own = sessions
        self.remote: dict[str, RemoteSession] = {}
        self._by_node: dict[str, dict[str, RemoteSession]] = {}
        self._by_user: dict[str, dict[str, RemoteSession]] = {}
        self._copying = Copying(cluster, engine, sessions, "presence.part")
        self._copies: dict[str, _Copy] = {}
        self._wanted: set[str] = set()
        """The nodes of which a whole copy is still to come."""
        self._asked_at: dict[str, float] = {}
        self._disagreements: dict[str, int] = {}
        deliveries = Deliveries(cluster.bus)
        self.deliver, self.deliver_stream = deliveries.deliver, deliveries.deliver_stream
        self._on_open: list[Callable[[RemoteSession], None]] = []
        self._on_end: list[Callable[[RemoteSession], None]] = []
        self.forwarding: set[str] = set()
        """Own sessions that wait for another node's answer: what comes meanwhile follows it."""
        self.delivered = 0
        self.corrections = 0
        engine.link = self
        for topic, kind, handler in (
            ("session.opened", Opened, self.opened),
            ("session.ended", str, self._ended),
            ("session.close", Ending, self._close_own),
            ("presence.placed", Placed, self._placed),
            ("presence.left", Left, self._left),
            ("presence.closed", Stream, self._closed),
            ("presence.join", Placed, self._join_own),
            ("presence.leave", Left, self._leave_own),
            ("presence.update", Placed, self._update_own),
            ("deliver", list[Delivery], self._delivered),
            ("presence.ask", None, self._copying.asked),
            ("presence.part", Part, self._part),
        ):
            self._bus.on(topic, partial(self._decoded, msgspec.msgpack.Decoder(kind).decode, handler))
        self._bus.on_gap(self._missed)
        members = self._members
        members.on_join(lambda info: self._ask(info.name))
        members.on_leave(lambda info: self._node_gone(info.name))
        members.on_beat(self._compare)
        members.state.append(lambda: {"sessions": len(self._own()), "presences": engine.counts[""]})

    def _decoded(
        self, decode: Callable[[bytes], Any], handler: Callable[[str, Any], None], sender: str, data: bytes
    ) -> None:
        # Of a node that is not known yet all will be asked when it is.
        if sender in self._members:
            handler(sender, decode(data))

    def _list(self, session: RemoteSession) -> None:
        self.remote[session.id] = session
        self._by_node.setdefault(session.node, {})[session.id] = session
        self._by_user.setdefault(session.caller.user_id, {})[session.id] = session

    def _unlist(self, session: RemoteSession) -> None:
        del self.remote[session.id]
        for index, key in ((self._by_node, session.node), (self._by_user, session.caller.user_id)):
            del index[key][session.id]
            if not index[key]:
                del index[key]

    # -- sessions that move; who is told of it is the affair of `Moving`

    def gives(self, socket: Socket, node: str) -> None:
        """A session of this node is on another from now on."""
        remote = socket.remote
        if not isinstance(remote, RemoteSession):
            remote = RemoteSession(node, socket.id, socket.caller, self)
        socket.moves += 1
        remote.node, remote.moves, remote.socket = node, socket.moves, socket
        remote.former, remote.given = "", False
        socket.remote, socket.node = remote, node
        self._list(remote)
        self._note(node, socket.id)
        self._engine.moved(remote)

    def takes(self, socket: Socket, moves: int) -> None:
        """A session of another node is on this one from now on."""
        remote = self.remote.get(socket.id)
        if remote is not None:
            self._unlist(remote)
            remote.node, remote.socket, socket.remote = "", socket, remote
        socket.node, socket.moves = "", moves
        self._engine.moved(socket)

    def moves_to(self, session: RemoteSession, node: str, moves: int) -> None:
        """A session of another node is on yet another."""
        self._unlist(session)
        session.former = "" if session.given else session.node
        session.node, session.moves, session.given = node, moves, False
        self._list(session)
        self._engine.moved(session)

    # -- what happens here, told to others

    def session_opened(self, session: Session) -> None:
        """A session of this node may be used."""
        self._bus.broadcast("session.opened", _encode(opened_of(session)))

    def session_ended(self, session: Session) -> None:
        """A session of this node has ended, and left all its streams."""
        self._bus.broadcast("session.ended", _encode(session.id))

    def on_open(self, callback: Callable[[RemoteSession], None]) -> None:
        """Call back for every session of another node that is heard of."""
        self._on_open.append(callback)

    def on_end(self, callback: Callable[[RemoteSession], None]) -> None:
        """Call back for every session of another node that has ended."""
        self._on_end.append(callback)

    def joined(self, stream: Stream, presence: Presence, node: str) -> None:
        """See Link.joined."""
        placed = _encode(Placed(stream, presence))
        if node:
            self._bus.send(node, "presence.join", placed)
        else:
            self._bus.broadcast("presence.placed", placed)

    def left(self, stream: Stream, session_id: str, node: str) -> None:
        """See Link.left."""
        left = _encode(Left(session_id, stream))
        if node:
            self._bus.send(node, "presence.leave", left)
        else:
            self._bus.broadcast("presence.left", left)

    def updated(self, stream: Stream, presence: Presence, node: str) -> None:
        """See Link.updated."""
        placed = _encode(Placed(stream, presence))
        if node:
            self._bus.send(node, "presence.update", placed)
        else:
            self._bus.broadcast("presence.placed", placed)

    def closed(self, stream: Stream) -> None:
        """See Link.closed."""
        self._bus.broadcast("presence.closed", _encode(stream))

    def end(self, session: RemoteSession, reason: str) -> None:
        """See Link.end."""
        self._bus.send(session.node, "session.close", _encode(Ending(session.id, reason)))

    # -- what is sent to sessions of others

    def _delivered(self, sender: str, deliveries: list[Delivery]) -> None:
        self.delivered += len(deliveries)
        own = self._own()
        for delivery in deliveries:
            try:
                self._deliver(sender, delivery, own)
            except Exception as error:
                log.error("an envelope of another node was not delivered", sender=sender, exc_info=error)

    def _deliver(self, sender: str, delivery: Delivery, own: Mapping[str, Session]) -> None:
        push = push_of(delivery)
        if delivery.stream is not None:
            self._engine.send_here(delivery.stream, push, sender)
            return
        for session_id in delivery.sessions:
            session = own.get(session_id)
            if session is None:
                self.pass_on(session_id, push)
            else:
                self.send(session, push)

    def send(self, session: Session, push: Push) -> None:
        """Send to a session, after the reply if it waits for another node's answer."""
        if session.id in self.forwarding:
            session.after_reply(partial(session.send, push))
        else:
            session.send(push)

    def pass_on(self, session_id: str, push: Push, sender: str = "") -> None:
        """See Link.pass_on. What `sender` has passed on to here does not go back."""
        session = self.remote.get(session_id)
        if session is not None and session.node != sender:
            delivery = Delivery(push.envelope(), push.droppable, push.topic, [session_id])
            self._bus.send(session.node, "session.early", _encode(delivery))

    # -- what other nodes want of sessions of this one

    def _join_own(self, sender: str, placed: Placed) -> None:
        presence = placed.presence
        session = self._own().get(presence.session_id) or self.remote.get(presence.session_id)
        if session is None or session.closing:
            self._bus.broadcast("presence.left", _encode(Left(presence.session_id, placed.stream)))
            return
        hidden, persistence = presence.hidden, presence.persistence
        self._engine.join(session, placed.stream, hidden=hidden, persistence=persistence, status=presence.status)

    def _leave_own(self, sender: str, left: Left) -> None:
        self._engine.leave(left.session_id, left.stream)

    def _update_own(self, sender: str, placed: Placed) -> None:
        shown = placed.presence
        if self._is_with(sender, shown.session_id):
            return
        self._engine.update(
            shown.session_id, placed.stream, shown.status, hidden=shown.hidden, persistence=shown.persistence
        )

    def _close_own(self, sender: str, ending: Ending) -> None:
        session = self._own().get(ending.session_id) or self.remote.get(ending.session_id)
        if session is not None and not self._is_with(sender, session.id):
            session.close(ending.reason)

    def _is_with(self, node: str, session_id: str) -> bool:
        """Whether we take a session to be on a node: if that says the same of us, each would ask the other for ever."""
        session = self.remote.get(session_id)
        return session is not None and session.node == node

    # -- what others say of theirs

    def of_user(self, user_id: str) -> Iterable[RemoteSession]:
        """A player's sessions on other nodes."""
        return self._by_user.get(user_id, _NOBODY).values()

    def opened(self, sender: str, opened: Opened) -> None:
        """A node has a session, new or come from elsewhere."""
        self._note(sender, opened.id)
        session = self.remote.get(opened.id)
        if session is None and opened.id not in self._own():
            caller = Caller(opened.user_id, opened.username, {}, "", 0, 0)
            session = RemoteSession(sender, opened.id, caller, self)
            session.moves = opened.moves
            self._list(session)
            for callback in self._on_open:
                callback(session)
        elif session is not None and session.moves < opened.moves:
            self.moves_to(session, sender, opened.moves)

    def _ended(self, sender: str, session_id: str) -> None:
        session = self.remote.get(session_id)
        if session is not None and session.node == sender:
            self._end(session)

    def _end(self, session: RemoteSession) -> None:
        self._unlist(session)
        session.closing = True
        if session.socket is not None:
            session.socket.closing = True
        self._engine.leave_all(session.id)
        for callback in self._on_end:
            callback(session)

    def _placed(self, sender: str, placed: Placed) -> None:
        session = self.remote.get(placed.presence.session_id)
        if session is not None and sender in (session.node, session.former):
            self._engine.place(session, placed.stream, placed.presence)

    def _left(self, sender: str, left: Left) -> None:
        session = self.remote.get(left.session_id)
        if session is not None and sender in (session.node, session.former):
            self._engine.take(left.session_id, left.stream)

    def _closed(self, sender: str, stream: Stream) -> None:
        self._engine.clear(stream)

    def _node_gone(self, node: str) -> None:
        for kept in (self._copies, self._asked_at, self._disagreements):
            kept.pop(node, None)
        self._wanted.discard(node)
        sessions = self._by_node.get(node, {}).values()
        for session in sessions:
            session.closing = True
        self._end_some(iter(list(sessions)))

    def _end_some(self, sessions: Iterator[RemoteSession]) -> None:
        """End those that are there still: some, then more when the loop has looked at the others."""
        for number, session in enumerate(sessions):
            if self.remote.get(session.id) is session:
                self._end(session)
            if number >= ENDED_AT_ONCE_MAX:
                self._bus.loop.call_soon(self._end_some, sessions)
                return

    # -- correcting a copy

    def whole(self, node: str) -> bool:
        """See Copies.whole."""
        return node in self._members and node not in self._wanted

    def _missed(self, node: str) -> None:
        """Something that a node said was lost, maybe a piece of the copy that is coming."""
        self._copies.pop(node, None)
        self._ask(node)

    def _ask(self, node: str) -> None:
        """Ask a node for all that it has, unless it was asked, or has told some of it, a moment ago."""
        now = self._bus.loop.time()
        if node not in self._members:
            return
        self._wanted.add(node)
        if now - self._asked_at.get(node, -ASK_SECONDS) >= ASK_SECONDS:
            self._asked_at[node] = now
            self._copies.pop(node, None)
            self._bus.send(node, "presence.ask", _encode(None))

    def _compare(self, info: NodeInfo) -> None:
        """After a heartbeat: do we know as much of the node as it has?"""
        if info.name in self._wanted:
            self._ask(info.name)
            return
        here = len(self._by_node.get(info.name, ())), self._engine.counts[info.name]
        if here == (info.state.get("sessions"), info.state.get("presences")):
            self._disagreements.pop(info.name, None)
            return
        count = self._disagreements[info.name] = self._disagreements.get(info.name, 0) + 1
        if count >= DISAGREEMENTS_MAX:
            self._ask(info.name)

    def _note(self, node: str, session_id: str) -> None:
        """A node has a session, which may not be in the rest of the copy that is coming."""
        if (copy := self._copies.get(node)) is not None:
            copy.seen.add(session_id)

    def _part(self, sender: str, part: Part) -> None:
        if not part.number:
            self._copies[sender] = _Copy()
        copy = self._copies.get(sender)
        if copy is None or copy.parts != part.number:
            # One before it was lost.
            return
        copy.parts += 1
        self._asked_at[sender] = self._bus.loop.time()
        for opened, placed in part.sessions:
            self._correct(sender, opened, placed)
        if part.last:
            self._copied(sender, copy.seen)

    def _correct(self, node: str, opened: Opened, placed: list[Placed]) -> None:
        """Make our copy of a session what its node has said."""
        self.opened(node, opened)
        session = self.remote.get(opened.id)
        if session is None or session.node != node:
            # It has moved meanwhile.
            return
        streams = {one.stream for one in placed}
        for stream in [one for one in self._engine.of_session(session.id) if one not in streams]:
            self._engine.take(session.id, stream)
        for one in placed:
            self._engine.place(session, one.stream, one.presence)

    def _copied(self, node: str, seen: set[str]) -> None:
        """A copy is whole: what it does not have is not there."""
        self.corrections += 1
        for kept in (self._copies, self._asked_at, self._disagreements):
            kept.pop(node, None)
        self._wanted.discard(node)
        for session in list(self._by_node.get(node, {}).values()):
            if session.id not in seen and not session.given:
                self._end(session)
            session.given = False

    # -- metrics

    def measure(self, metrics: Metrics) -> None:
        """Show what is known of other nodes."""
        metrics.gauge("palestra_remote_sessions", "Sessions of other nodes", (), lambda: [((), len(self.remote))])
        counts = self._engine.counts
        metrics.gauge(
            "palestra_remote_presences",
            "Presences of other nodes",
            (),
            lambda: [((), counts.total() - counts[""])],
        )
        metrics.counter(
            "palestra_remote_deliveries", "Envelopes that came from other nodes", (), lambda: [((), self.delivered)]
        )
        metrics.counter(
            "palestra_presence_corrections",
            "Copies of another node's presences that were asked for as a whole",
            (),
            lambda: [((), self.corrections)],
        )


_NOBODY: Mapping[str, RemoteSession] = {}
