"""All sockets of this node: who is connected, what is to be written, who has gone quiet."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from palestra.core.clock import Clock
from palestra.core.config import ResumeSettings, SocketSettings
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks, set_within
from palestra.gateway.dispatch import Dispatcher
from palestra.gateway.operation import Authenticator, Message, Session
from palestra.gateway.push import Push
from palestra.gateway.websocket.away import AwaySessions, OnAway
from palestra.gateway.websocket.envelope import Envelopes
from palestra.gateway.websocket.frames import PING
from palestra.gateway.websocket.handed import Elsewhere, Handed, Wanted, wanted_by
from palestra.gateway.websocket.handshake import (
    PROTOBUF,
    UNAVAILABLE,
    Accepted,
    Headers,
    Refusal,
    check_handshake,
    client_address,
)
from palestra.gateway.websocket.outbox import Bounds, Holding, Outbox, Replay
from palestra.gateway.websocket.protobuf import Protobuf, tag_of
from palestra.gateway.websocket.protobuf_socket import ProtobufSocket
from palestra.gateway.websocket.protocol import SocketProtocol, upgrade_request
from palestra.gateway.websocket.sender import QUEUE_FULL
from palestra.gateway.websocket.socket import CONNECTION_LOST, Socket

log = get_logger(__name__)

SWEEP_SECONDS = 1.0
GATHER_MESSAGES_MAX = 64
"""Messages read before what they caused is written, however many more are waiting."""
EXPIRED_AT_ONCE_MAX = 200
"""Sessions that end in one turn of the loop because nobody came back: a network that fails takes thousands at once."""
REST_SECONDS = 1.0
"""How long a session that is to move may finish the message in hand."""
DISCONNECTED = "server-side session disconnect"

OnOpen = Callable[[Socket], None]
OnClose = Callable[[Socket, str], None]


class SocketGateway:
    """Opens, feeds, watches and ends sockets. Callbacks are called on the loop, in the order of their registration.

    A session whose connection breaks off is away for `resume.seconds`: it stays in every respect, and the next
    connection of its player takes it over. Only its end is a close.

    No socket has a timer. `_quiet` and `_pinged` hold sockets in the order of their last sign of life, so one sweep a
    second looks only at those whose time has come; `_stalled` and `_closing` hold the few that are in trouble.
    """

    def __init__(
        self,
        settings: SocketSettings,
        authenticator: Authenticator,
        dispatcher: Dispatcher,
        messages: Iterable[Message],
        *,
        tasks: Tasks,
        clock: Clock,
        resume: ResumeSettings,
    ) -> None:
        table = list(messages)
        self.settings = settings
        self.dispatcher = dispatcher
        self.tasks = tasks
        self.envelopes = Envelopes(table)
        self.direct: dict[bytes, Any] = {
            message.key.encode(): message for message in table if message.direct is not None
        }
        self.direct_binary: dict[bytes, Any] = {
            tag_of(message.key): message for message in table if message.direct_binary is not None
        }
        self.protobuf = Protobuf(settings.protobuf_party)
        self.backoff_messages = settings.ping_backoff_messages
        self.loop: asyncio.AbstractEventLoop
        self.sessions: dict[str, Socket] = {}
        self.accepting = True
        self.parting = False
        """Whether sockets are being told to connect again, to another node."""
        self.elsewhere: Elsewhere | None = None
        self.moved_in_count = self.moved_out_count = 0
        self.frames_sent = 0
        self.messages_received = 0
        self.closed_by_reason: dict[str, int] = {}
        self.resumed_count = 0
        self.expired_count = 0
        self.monotonic = clock.monotonic
        self.holding = Holding(settings.held_bytes_max)
        self.away_bounds = Bounds(resume.queue_max, resume.queue_bytes_max, math.inf)
        self._bounds = Bounds(settings.outgoing_queue_max, settings.outgoing_bytes_max, settings.outgoing_seconds_max)
        self._authenticator = authenticator
        self._resume = resume
        self._away = AwaySessions(resume)
        self._by_user: dict[str, list[Socket]] = {}
        self._by_key: dict[tuple[str, str], Socket] = {}
        self._on_open: list[OnOpen] = []
        self._on_resume: list[OnOpen] = []
        self._on_close: list[OnClose] = []
        self._dirty: list[Socket] = []
        self._gathering_since = 0
        self._gathered = -1
        self._quiet: dict[Socket, None] = {}
        self._pinged: dict[Socket, None] = {}
        self._stalled: dict[Socket, tuple[int, float]] = {}
        self._closing: dict[Socket, float] = {}
        self._fetching = 0
        self._gone: asyncio.Event | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    # -- life of the gateway

    def start(self) -> None:
        """Begin to watch sockets; call on the running loop, before the first handshake."""
        self.loop = asyncio.get_running_loop()
        self._sweep_again()

    async def stop(self, reason: str = DISCONNECTED) -> None:
        """Refuse new sockets, close those that are open, and wait until they are gone or out of time."""
        self.accepting = False
        for socket in list(self.sessions.values()):
            socket.close(reason)
            if socket.away:
                self._end(socket)
        if self._closing:
            self._gone = asyncio.Event()
            await set_within(self._gone, self.settings.close_ack_wait_seconds)
        for socket in list(self._closing):
            socket.drop()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def on_open(self, callback: OnOpen) -> None:
        """Call back for every new socket, before its first message is read."""
        self._on_open.append(callback)

    def on_close(self, callback: OnClose) -> None:
        """Call back once for every session that has ended, with the reason ("" when the client closed it)."""
        self._on_close.append(callback)

    def on_away(self, after_seconds: float, callback: OnAway) -> None:
        """Call back when a session has been away for so long, if it has not ended by then."""
        self._away.on_away(after_seconds, callback)

    def on_resume(self, callback: OnOpen) -> None:
        """Call back when a session that was away has a connection again, before its first message is read."""
        self._on_resume.append(callback)

    @property
    def connected(self) -> int:
        """How many sessions have a connection."""
        return len(self.sessions) - len(self._away)

    def of_user(self, user_id: str) -> list[Socket]:
        """The sessions of a player, those that are away included."""
        return list(self._by_user.get(user_id, ()))

    def disconnect_user(
        self, user_id: str, reason: str = DISCONNECTED, last: Push | None = None, but: object = None
    ) -> int:
        """Close all sockets of a player except `but`, after a last envelope where one is given; how many there were."""
        sockets = [socket for socket in self._by_user.get(user_id, ()) if socket is not but]
        for socket in sockets:
            if last is not None:
                socket.send(last)
            socket.close(reason)
        return len(sockets)

    # -- handshake

    def check(self, method: str, query: bytes, headers: Headers) -> Refusal | Accepted:
        """Decide about a request for the socket path, upgrade asked for or not."""
        verdict = check_handshake(self._authenticator, method, query, headers)
        if isinstance(verdict, Accepted) and (
            not self.accepting or self.parting or self.connected + self._fetching >= self.settings.connections_max
        ):
            return UNAVAILABLE
        return verdict

    def upgrade(self, transport: asyncio.Transport, accepted: Accepted, headers: Headers, peer: str) -> None:
        """Turn an HTTP connection from `peer` whose handshake was accepted into a socket.

        That waits while another node is asked for the player's session: the client sends nothing before it is answered.
        """
        address = client_address(headers, peer, self.settings.proxy_count)
        wanted = wanted_by(accepted)
        elsewhere = self.elsewhere
        if elsewhere is None or not elsewhere.may_have(wanted.user_id) or self._has_own(wanted):
            self._connect(transport, accepted, address)
            return
        transport.pause_reading()
        transport.set_protocol(asyncio.Protocol())
        self.tasks.spawn(self._fetch(elsewhere, wanted, transport, accepted, address), "session of another node")

    async def _fetch(
        self, elsewhere: Elsewhere, wanted: Wanted, transport: asyncio.Transport, accepted: Accepted, address: str
    ) -> None:
        self._fetching += 1
        try:
            await elsewhere.fetch(replace(wanted, others=not wanted.resume and self._candidate(wanted) is None))
        finally:
            self._fetching -= 1
        if transport.is_closing():
            return
        if not self.accepting or self.parting:
            transport.write(UNAVAILABLE.whole())
            transport.close()
            return
        self._connect(transport, accepted, address)
        transport.resume_reading()

    def _connect(self, transport: asyncio.Transport, accepted: Accepted, address: str) -> None:
        socket = self._returning(wanted_by(accepted)) or _kind(accepted.format)(self)
        socket.meet(accepted, address)
        protocol = SocketProtocol(socket, self.settings.message_bytes_max)
        protocol.connection_made(transport)
        protocol.data_received(upgrade_request(accepted.key))
        transport.set_protocol(protocol)

    def _candidate(self, wanted: Wanted) -> Socket | None:
        """The session here that a connection would take over, if it fits."""
        if wanted.resume:
            socket = self._by_key.get((wanted.user_id, wanted.resume))
        else:
            socket = self._away.find(wanted.user_id, wanted.token_id, _kind(wanted.format))
        return None if socket is None or socket.closing else socket

    def _has_own(self, wanted: Wanted) -> bool:
        """Whether there is a session here that is better than any that another node may have."""
        socket = self._candidate(wanted)
        return socket is not None and (wanted.resume != "" or socket.caller.token_id == wanted.token_id)

    def _returning(self, wanted: Wanted) -> Socket | None:
        """The session that a new connection takes over, away by now; None for a new one."""
        socket = self._candidate(wanted)
        if socket is None:
            return None
        kind = _kind(wanted.format)
        fits = type(socket) is kind and not socket.said_goodbye and socket.can_resume(wanted.received)
        if not fits or not self.waits_for(socket):
            socket.close(DISCONNECTED)
            return None
        if not socket.away:
            # The client has moved on, and we have not heard yet that its former connection is dead.
            socket.give_up(CONNECTION_LOST)
        return socket

    # -- sessions that move

    def has_other(self, wanted: Wanted) -> bool:
        """Whether a session of another log-in of the player waits here."""
        return not wanted.resume and self._candidate(wanted) is not None

    async def give(self, wanted: Wanted) -> Socket | None:
        """The session that another node wants for a player: away, with nothing in hand. To be released at once."""
        socket = self._candidate(wanted)
        if socket is None or (not wanted.resume and not wanted.others and socket.caller.token_id != wanted.token_id):
            return None
        socket = self._returning(wanted)
        if socket is not None:
            await socket.rest(REST_SECONDS)
        return socket if socket is not None and self.may_release(socket) else None

    def may_release(self, socket: Socket) -> bool:
        """Whether a session is one that waits here for a connection."""
        return socket.away and not (socket.node or socket.closing or socket.ended or socket.settling)

    @property
    def away(self) -> list[Socket]:
        """The sessions that wait for a connection."""
        return list(self._away)

    def release(self, socket: Socket) -> Handed:
        """A session that is away goes on on another node: this one has it no more, and it has not ended."""
        self.moved_out_count += 1
        self._away.remove(socket)
        self._unlist(socket)
        return socket.pack()

    def adopt(self, handed: Handed, former: Session | None) -> Socket:
        """A session of another node is one of this node's that are away. `former` is what it was when it was here."""
        self.moved_in_count += 1
        kind = _kind(handed.format)
        socket = former if isinstance(former, kind) else kind(self)
        socket.unpack(handed)
        self._list(socket)
        self.went_away(socket)
        return socket

    # -- called by sockets

    def opened(self, socket: Socket) -> None:
        """A socket may be used."""
        self._list(socket)
        socket.alive_at = self.monotonic()
        self._quiet[socket] = None
        for callback in self._on_open:
            self._guarded(callback, socket)

    def _list(self, socket: Socket) -> None:
        if len(self.sessions) >= self.settings.connections_max and (longest := next(iter(self._away), None)):
            longest.close(longest.reason or CONNECTION_LOST)
        self.sessions[socket.id] = socket
        self._by_user.setdefault(socket.caller.user_id, []).append(socket)
        if socket.resume_key:
            self._by_key[socket.caller.user_id, socket.resume_key] = socket

    def _unlist(self, socket: Socket) -> None:
        del self.sessions[socket.id]
        others = self._by_user[socket.caller.user_id]
        others.remove(socket)
        if not others:
            del self._by_user[socket.caller.user_id]
        key = socket.caller.user_id, socket.resume_key
        if self._by_key.get(key) is socket:
            del self._by_key[key]

    def flush_soon(self, socket: Socket) -> None:
        """Write the socket's frames when the loop has worked through what it has in hand."""
        dirty = self._dirty
        if not dirty:
            self._gathering_since = self.messages_received
            self._gathered = -1
            self.loop.call_soon(self._flush)
        dirty.append(socket)

    def _flush(self) -> None:
        """Write what was gathered, once the loop finds nothing more to read, or has read enough.

        A write costs several times what a message costs, whatever its size, and players of a match tend to send
        together: one more look at what has arrived, a few microseconds, saves most of the writes. Under constant load
        `GATHER_MESSAGES_MAX` bounds the delay to about a millisecond's work.
        """
        received = self.messages_received
        if received != self._gathered and received - self._gathering_since < GATHER_MESSAGES_MAX:
            self._gathered = received
            self.loop.call_soon(self._flush)
            return
        dirty, self._dirty = self._dirty, []
        for socket in dirty:
            socket.flush()

    def alive(self, socket: Socket) -> None:
        """The peer has shown that it lives."""
        self._quiet.pop(socket, None)
        self._pinged.pop(socket, None)
        socket.alive_at = self.monotonic()
        if not socket.closing:
            self._quiet[socket] = None

    def waits_for(self, socket: Socket) -> bool:
        """Whether a session that has lost its connection may wait for another."""
        caller = socket.caller
        return (
            self.accepting
            and self._resume.seconds > 0
            and self._authenticator.lasts(caller.user_id, caller.token_id, caller.issued_at)
        )

    def went_away(self, socket: Socket) -> None:
        """A session has no connection any more."""
        for watched in (self._quiet, self._pinged, self._stalled):
            watched.pop(socket, None)
        excess = self._away.add(socket, self.monotonic())
        if excess is not None:
            excess.close(excess.reason or CONNECTION_LOST)

    def resumed(self, socket: Socket) -> None:
        """It has one again."""
        self._away.remove(socket)
        self.resumed_count += 1
        self.alive(socket)
        for callback in self._on_resume:
            self._guarded(callback, socket)

    def given_up(self, socket: Socket) -> None:
        """A session ends while it is away."""
        self._away.remove(socket)
        # Not now, as with `closing`.
        self.loop.call_soon(self._end, socket)

    def new_outbox(self, frames: Iterable[bytes]) -> Outbox:
        """Where frames wait for a peer that does not read."""
        return Outbox(self.holding, self._bounds, frames, self.monotonic())

    def new_replay(self) -> Replay:
        """Where the last envelopes are kept for a client that counts them."""
        return Replay(self.holding, self._resume.replay_max, self._resume.replay_bytes_max)

    def stalled(self, socket: Socket) -> None:
        """The peer has stopped reading."""
        self._stalled[socket] = (socket.unwritten_bytes(), self.monotonic())

    def moving(self, socket: Socket) -> None:
        """The peer reads again."""
        self._stalled.pop(socket, None)

    def closing(self, socket: Socket) -> None:
        """A socket is on its way out: it is out of the registry at once, and dropped when the peer takes too long."""
        self._quiet.pop(socket, None)
        self._pinged.pop(socket, None)
        self._closing[socket] = self.monotonic() + self.settings.close_ack_wait_seconds
        # Not now: a socket may be closed in the midst of a broadcast, whose audience must not change.
        self.loop.call_soon(self._end, socket)

    def lost(self, socket: Socket) -> None:
        """The connection of a socket is gone."""
        self._quiet.pop(socket, None)
        self._pinged.pop(socket, None)
        self._stalled.pop(socket, None)
        self._closing.pop(socket, None)
        self._end(socket)
        if self._gone is not None and not self._closing:
            self._gone.set()

    def _end(self, socket: Socket) -> None:
        if socket.ended:
            return
        socket.ended = True
        self._unlist(socket)
        if socket.reason:
            self.closed_by_reason[socket.reason] = self.closed_by_reason.get(socket.reason, 0) + 1
        socket.run_after()
        for callback in self._on_close:
            self._guarded(callback, socket, socket.reason)

    def _guarded(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            log.error("socket callback failed", exc_info=error)

    # -- the sweep

    def _sweep_again(self) -> None:
        self._sweeping = self.loop.call_later(SWEEP_SECONDS, self._sweep_again)
        self.sweep()

    def sweep(self) -> None:
        """Ping those that are quiet; give up those that are dead, stuck, away for too long, or slow to close."""
        now = self.monotonic()
        settings = self.settings
        while self._quiet:
            socket = next(iter(self._quiet))
            if now - socket.alive_at < settings.ping_period_seconds:
                break
            del self._quiet[socket]
            self._pinged[socket] = None
            socket.send_frame(PING)
        while self._pinged:
            socket = next(iter(self._pinged))
            if now - socket.alive_at < settings.pong_wait_seconds:
                break
            self._pinged.pop(socket, None)
            socket.give_up("no sign of life")
        for socket, (size, since) in list(self._stalled.items()):
            left = socket.unwritten_bytes()
            if left >= size and now - since >= settings.write_wait_seconds:
                self._stalled.pop(socket, None)
                socket.give_up("peer does not read")
            elif socket.is_late(now):
                socket.close(QUEUE_FULL)
            elif left < size:
                self._stalled[socket] = (left, now)
        for socket, until in list(self._closing.items()):
            if now >= until:
                socket.drop()
        for callback, socket in self._away.due(now):
            self._guarded(callback, socket)
        self._expire()
        for socket in [one for one in self._away if not self.waits_for(one)]:
            socket.close(DISCONNECTED)

    def _expire(self) -> None:
        """End those that have waited in vain: some, then more when the loop has looked at the others."""
        expired = self._away.expired(self.monotonic(), EXPIRED_AT_ONCE_MAX)
        for socket in expired:
            self.expired_count += 1
            socket.close(socket.reason or CONNECTION_LOST)
        if len(expired) == EXPIRED_AT_ONCE_MAX:
            self.loop.call_soon(self._expire)


def _kind(format: str) -> type[Socket]:
    return ProtobufSocket if format == PROTOBUF else Socket
