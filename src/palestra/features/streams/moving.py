"""Sessions that go on on another node: asked for, handed over, and all that was on its way brought after them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from palestra.cluster.bus import LONG_BYTES_MAX, MESSAGE_BYTES_MAX
from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.features.streams.copying import Opened, Placed, opened_of
from palestra.features.streams.deliveries import Delivery, push_of
from palestra.features.streams.engine import PresenceEngine
from palestra.features.streams.replication import Replication
from palestra.gateway.operation import Session
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.handed import Handed, Wanted
from palestra.gateway.websocket.socket import Socket

FETCH_SECONDS = 2.0
"""How long a handshake waits for other nodes."""
SETTLE_SECONDS = 1.0
"""How long a session that has come waits for what was on its way to its former node."""
LINGER_SECONDS = 0.25
"""How long after that a move is remembered: events wait for replies."""
HANDED_AT_ONCE_MAX = 100
"""Sessions that are given away in one turn of the loop."""
PARTS_BYTES_MAX = MESSAGE_BYTES_MAX // 2
"""What may wait for a session that moves."""
PLACED_BYTES_MAX = LONG_BYTES_MAX // 2
"""How long the list of streams may be that a session is on."""

log = get_logger(__name__)

_encode = msgspec.msgpack.Encoder().encode


class Carrier(Protocol):
    """A feature that keeps something for sessions on their own node."""

    def pack(self, session_id: str) -> bytes:
        """What goes with a session, b"" for nothing. It is kept until `drop`."""
        ...

    def unpack(self, session: Session, packed: bytes) -> None:
        """Keep it here."""
        ...

    def drop(self, session_id: str) -> None:
        """Nothing is to be told to the session from here any more."""
        ...


class Taken(msgspec.Struct, array_like=True, frozen=True):
    """What has been handed over, "" for nothing; `others`: there is one of another log-in. `nodes` may know more."""

    session_id: str
    others: bool = False
    nodes: list[str] = []


class Parcel(msgspec.Struct, array_like=True, frozen=True):
    """A session with all that belongs to it."""

    handed: Handed
    moves: int
    placed: list[Placed]
    carried: dict[str, bytes]


class Gave(msgspec.Struct, array_like=True, frozen=True):
    """A session was given away: what its former node says of it from now on is nothing."""

    session_id: str
    moves: int


class Moved(msgspec.Struct, array_like=True, frozen=True):
    """A session has come from a node."""

    opened: Opened
    source: str


class Knows(msgspec.Struct, array_like=True, frozen=True):
    """A node knows of a move: the sender, or the one that is named."""

    session_id: str
    moves: int
    node: str = ""


class _Arrival:
    """A session that has come, and the nodes of which something may still be on its way by its former node."""

    __slots__ = ("awaited", "moves", "source")

    def __init__(self, moves: int, source: str, awaited: set[str]) -> None:
        self.moves = moves
        self.source = source
        self.awaited = awaited


class Moving:
    """Implements `Elsewhere`. See decision 0023 for who says what to whom."""

    def __init__(self, cluster: Cluster, others: Replication, engine: PresenceEngine, sockets: SocketGateway) -> None:
        self._bus = cluster.bus
        self._calls = cluster.calls
        self._members = cluster.members
        self._others = others
        self._engine = engine
        self._sockets = sockets
        self._arrivals: dict[str, _Arrival] = {}
        self._carriers: dict[str, Carrier] = {}
        cluster.calls.serve("session.take", Wanted, self._take)
        topics: tuple[tuple[str, Any, Callable[[str, Any], None]], ...] = (
            ("session.handed", Parcel, self._handed),
            ("session.gave", Gave, self._gave),
            ("session.moved", Moved, self._moved),
            ("session.knows", Knows, self._knows),
            ("session.through", Knows, self._through),
            ("session.early", Delivery, self._early),
        )
        for topic, kind, handler in topics:
            self._bus.on(topic, partial(self._decoded, msgspec.msgpack.Decoder(kind).decode, handler))
        self._members.on_leave(self._node_gone)

    def _decoded(
        self, decode: Callable[[bytes], Any], handler: Callable[[str, Any], None], sender: str, data: bytes
    ) -> None:
        if sender in self._members:
            handler(sender, decode(data))

    def carry(self, name: str, carrier: Carrier) -> None:
        """Have what a feature keeps for sessions go with them."""
        self._carriers[name] = carrier

    # -- the node that a client has come to

    def may_have(self, user_id: str) -> bool:
        """Whether a player has sessions on other nodes."""
        return self._bus.up and any(True for _ in self._others.of_user(user_id))

    async def fetch(self, wanted: Wanted) -> None:
        """Have the session come here, if another node has one."""
        exact = msgspec.structs.replace(wanted, others=False)
        nodes = list(dict.fromkeys(session.node for session in self._others.of_user(wanted.user_id)))
        found: set[str] = set()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                for node in nodes:
                    taken = await self._ask(node, exact)
                    if await self._came(taken):
                        return
                    nodes += [one for one in taken.nodes if one not in nodes and one != self._bus.node]
                    if taken.others:
                        found.add(node)
                for node in found if wanted.others else ():
                    if await self._came(await self._ask(node, wanted)):
                        return
        except TimeoutError:
            log.warning(
                "not all nodes were asked for the earlier session of a player in time, it may begin anew",
                user_id=wanted.user_id,
            )

    async def _ask(self, node: str, wanted: Wanted) -> Taken:
        try:
            return await self._calls.call(node, "session.take", wanted, Taken, FETCH_SECONDS)
        except PalestraError as error:
            log.warning(
                "a node was not asked for the earlier session of a player, it may begin anew",
                other=node,
                reason=error.message,
            )
            return Taken("")

    async def _came(self, taken: Taken) -> bool:
        # What was handed over came before the answer.
        socket = self._sockets.sessions.get(taken.session_id)
        if socket is None:
            return False
        await socket.rest(SETTLE_SECONDS)
        return True

    def _handed(self, sender: str, parcel: Parcel) -> None:
        session_id = parcel.handed.id
        if session_id in self._sockets.sessions:
            return
        self._engine.settle(session_id)
        remote = self._others.remote.get(session_id)
        socket = self._sockets.adopt(parcel.handed, None if remote is None else remote.socket)
        self._others.takes(socket, parcel.moves)
        told = {placed.stream for placed in parcel.placed}
        for stream, member in self._engine.of_session(session_id).items():
            if stream not in told:
                # We have put it there, and the former node has not had the time to say so.
                self._others.joined(stream, member.presence, "")
        for placed in parcel.placed:
            self._engine.place(socket, placed.stream, placed.presence)
        self._engine.moves.begin(session_id, parcel.moves, out=False, knowing=("", sender))
        awaited = {self._bus.node, *(info.name for info in self._members if info.name != sender)}
        self._arrivals[session_id] = _Arrival(parcel.moves, sender, awaited)
        self._bus.loop.call_later(SETTLE_SECONDS, self._settle, session_id, parcel.moves)
        for name, packed in parcel.carried.items():
            if name in self._carriers:
                self._carriers[name].unpack(socket, packed)
        self._bus.broadcast("session.moved", _encode(Moved(opened_of(socket), sender)))

    def _through(self, sender: str, through: Knows) -> None:
        arrival = self._arrivals.get(through.session_id)
        if arrival is not None and (arrival.moves, arrival.source) == (through.moves, sender):
            arrival.awaited.discard(through.node)
            if not arrival.awaited:
                self._settle(through.session_id, through.moves)

    def _settle(self, session_id: str, moves: int) -> None:
        arrival = self._arrivals.get(session_id)
        if arrival is None or arrival.moves != moves:
            return
        del self._arrivals[session_id]
        socket = self._sockets.sessions.get(session_id)
        if socket is not None:
            socket.settle()
        self._bus.loop.call_later(LINGER_SECONDS, self._engine.moves.end, session_id, moves)

    def _early(self, sender: str, delivery: Delivery) -> None:
        push = push_of(delivery)
        for session_id in delivery.sessions:
            socket = self._sockets.sessions.get(session_id)
            if socket is not None:
                socket.send_early(push)
            else:
                self._others.pass_on(session_id, push, sender)

    # -- the node that it leaves

    async def _take(self, sender: str, wanted: Wanted) -> Taken:
        socket = await self._sockets.give(wanted)
        if socket is not None and self.hand_over(socket, sender):
            return Taken(socket.id)
        nodes = {session.node for session in self._others.of_user(wanted.user_id)}
        return Taken("", self._sockets.has_other(wanted), sorted(nodes - {sender}))

    def hand_over(self, socket: Socket, node: str) -> bool:
        """Give a session that is away to another node; False if that cannot be, and it stays."""
        if node not in self._members or not self._bus.up or not self._sockets.may_release(socket):
            return False
        self._engine.settle(socket.id)
        placed = [Placed(stream, one.presence) for stream, one in self._engine.of_session(socket.id).items()]
        # What is packed has gone from here, so this comes before.
        if socket.kept_bytes > PARTS_BYTES_MAX or len(_encode(placed)) > PLACED_BYTES_MAX:
            return False
        carried = {name: carrier.pack(socket.id) for name, carrier in self._carriers.items()}
        handed = self._sockets.release(socket)
        self._others.gives(socket, node)
        moves = socket.moves
        self._engine.moves.begin(socket.id, moves, out=True, knowing=("",))
        parcel = Parcel(handed, moves, placed, {name: packed for name, packed in carried.items() if packed})
        self._bus.send(node, "session.handed", _encode(parcel))
        self._bus.broadcast("session.gave", _encode(Gave(socket.id, moves)))
        self._bus.loop.call_later(SETTLE_SECONDS + LINGER_SECONDS, self._forget, socket.id, moves)
        return True

    async def hand_over_all(self, seconds: float) -> None:
        """Give all sessions that are away to nodes that serve on, and bring them what is on its way to here."""
        nodes = [info for info in self._members if info.serves and not info.draining]
        counts = {info.name: info.state.get("sessions", 0) for info in nodes}
        for number, socket in enumerate(self._sockets.away):
            if counts:
                node = min(counts, key=lambda name: counts[name])
                counts[node] += self.hand_over(socket, node)
            if number % HANDED_AT_ONCE_MAX == 0:
                await asyncio.sleep(0)
        until = self._bus.loop.time() + seconds
        while self._engine.moves and self._bus.loop.time() < until:  # noqa: ASYNC110 - whoever is left tells nobody
            await asyncio.sleep(0.02)

    def _forget(self, session_id: str, moves: int) -> None:
        self._engine.moves.end(session_id, moves)
        if session_id not in self._sockets.sessions:
            for carrier in self._carriers.values():
                carrier.drop(session_id)

    # -- the others, and the former node as one that hears of the arrival

    def _moved(self, sender: str, moved: Moved) -> None:
        opened, source = moved.opened, moved.source
        if source == self._bus.node:
            self._passed_on(sender, opened.id, opened.moves, sender)
            return
        self._others.opened(sender, opened)
        for node in (source, sender):
            if node in self._members:
                self._bus.send(node, "session.knows", _encode(Knows(opened.id, opened.moves)))

    def _knows(self, sender: str, knows: Knows) -> None:
        session = self._others.remote.get(knows.session_id)
        if session is None:
            self._engine.moves.knows(knows.session_id, knows.moves, sender)
        else:
            self._passed_on(session.node, knows.session_id, knows.moves, sender)

    def _passed_on(self, to: str, session_id: str, moves: int, node: str) -> None:
        """All that a node sent without knowing of the move has been passed on."""
        self._engine.moves.knows(session_id, moves, node)
        self._bus.send(to, "session.through", _encode(Knows(session_id, moves, node)))

    def _gave(self, sender: str, gave: Gave) -> None:
        session = self._others.remote.get(gave.session_id)
        if session is None:
            return
        if session.former == sender:
            session.former = ""
        elif session.node == sender and session.moves < gave.moves:
            session.given = True

    def _node_gone(self, info: NodeInfo) -> None:
        for session_id, arrival in list(self._arrivals.items()):
            arrival.awaited.discard(info.name)
            if arrival.source == info.name or not arrival.awaited:
                self._settle(session_id, arrival.moves)
