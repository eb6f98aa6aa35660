"""One session and its connection: frames in, messages handled one after the other, frames out within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport

from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.gateway.dispatch import Disabled
from palestra.gateway.fields import BadInput
from palestra.gateway.operation import Call, Message
from palestra.gateway.push import RawPush
from palestra.gateway.websocket.envelope import (
    FAILED,
    PING,
    PONG,
    Rejected,
    error_of,
    reply_of,
    socket_code,
)
from palestra.gateway.websocket.frames import EMPTY_CLOSE, frame_of, pong_of, reason_of
from palestra.gateway.websocket.movable import Movable

if TYPE_CHECKING:
    from palestra.gateway.websocket.gateway import SocketGateway
    from palestra.gateway.websocket.handshake import Accepted

log = get_logger(__name__)

MALFORMED = "received malformed payload"
WRONG_KIND = "received unexpected WebSocket message type"
REFUSED = "error processing message"
CONNECTION_LOST = "connection lost"
LOW_WATER_BYTES = 16_384
"""At most so much is unwritten when a transport says that its peer reads again."""

_NO_CODE = 0


class Socket(Movable):
    """A player's session; implements `Session`.

    Everything happens on the loop's thread. Messages are handled in the order of their arrival, each to completion.
    Frames are gathered while the loop works through what it has read, and then written in one piece per socket.

    A session outlives its connection: while it is `away`, frames wait in its outbox for another that takes it up.
    """

    kind = WSMsgType.TEXT
    """Of the data frames of this format, both ways."""

    __slots__ = (
        "_after",
        "_fragments",
        "_messages",
        "_queue",
        "_reading_paused",
        "_received",
        "_stale",
        "alive_at",
        "ended",
    )

    def __init__(self, gateway: SocketGateway) -> None:
        super().__init__(gateway)
        self.ended = False
        self.alive_at = 0.0
        self._received: int | None = None
        self._queue: deque[bytes | None] | None = None
        self._stale = 0
        self._reading_paused = False
        self._messages = 0
        self._fragments: bytearray | None = None
        self._after: list[Callable[[], None]] | None = None

    def meet(self, accepted: Accepted, client_ip: str) -> None:
        """Learn who is about to be connected, for the first time or again."""
        self.caller = accepted.caller
        self.language = accepted.language
        self.show_status = accepted.status
        self.client_ip = client_ip
        self._received = accepted.received
        if accepted.resume and not self.resume_key:
            self.resume_key = accepted.resume
            self._replay = self._gateway.new_replay()

    # -- outgoing

    def _answer(self, envelope: bytes) -> None:
        """Queue what answers a message of this socket."""
        self.send_frame(frame_of(envelope))

    def _reply(self, envelope: bytes) -> None:
        """Answer the message in hand, unless it came over a connection that is gone: the cids of another start anew."""
        if self._stale:
            return
        if self.remote is not None and self.node:
            self.remote.send(RawPush(envelope))
        else:
            self._answer(envelope)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write: keep frames here, where they are counted."""
        if self.away:
            # It was the last that this connection was given.
            return
        if not self.closing:
            self._hold_back()
        self._gateway.stalled(self)

    def resume_writing(self) -> None:
        """The peer has caught up. With more unwritten, a connection says so that was left for the present one."""
        if not self.away and self.unwritten_bytes() <= LOW_WATER_BYTES:
            self._gateway.moving(self)
            self._go_on()

    # -- ending

    def close(self, reason: str, code: WSCloseCode = WSCloseCode.OK) -> None:
        """Flush what is queued, then close with `reason`; the peer has a moment to agree."""
        if self.closing:
            return
        if self.remote is not None and self.node:
            self.remote.close(reason)
            return
        if self.away:
            self._stop(reason)
            self._gateway.given_up(self)
            return
        self.flush()
        self._stop(reason)
        self.transport.send_close(code, reason_of(reason))
        self._gateway.closing(self)

    def drop(self) -> None:
        """End the connection of a socket that takes too long to close."""
        self.transport.disconnect(False)

    def _stop(self, reason: str) -> None:
        self.closing = self._held = True
        if self.remote is not None:
            self.remote.closing = True
        self.reason = reason
        self._forget()
        self._queue = None
        self._fragments = None

    # -- the connection

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is written."""
        self.transport = transport
        self._write = transport.underlying_transport.write
        # The parser keeps request and answer for as long as the socket lives; their headers have done their work.
        nothing: Any = None
        transport.request.headers = transport.response.headers = nothing
        if self.away:
            self._take_up()
        else:
            self._tell(b"opened")
            self._gateway.opened(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone. Whoever has not said goodbye is waited for."""
        if self.away or transport is not self.transport:
            return
        if not self.closing and not self.said_goodbye and self._gateway.waits_for(self):
            self.go_away()
            return
        if not self.closing:
            self._stop(self.reason or CONNECTION_LOST)
        self._gateway.lost(self)

    def give_up(self, reason: str) -> None:
        """End the connection now; the session waits for another, or ends for this reason, if it was not ending yet."""
        transport = self.transport
        if not self.closing:
            self.reason = reason
            if not self.said_goodbye and self._gateway.waits_for(self):
                self.go_away()
        transport.disconnect(False)

    def part(self, reason: str) -> None:
        """Tell the client to connect again, to whatever node it then finds; the session waits for it."""
        gateway, transport = self._gateway, self.transport
        if not gateway.waits_for(self):
            self.close(reason, WSCloseCode.SERVICE_RESTART)
            return
        self.flush()
        self.reason = reason
        self.go_away()
        transport.send_close(WSCloseCode.SERVICE_RESTART, reason_of(reason))
        gateway.loop.call_later(gateway.settings.close_ack_wait_seconds, transport.disconnect, False)

    @property
    def said_goodbye(self) -> bool:
        """Whether the peer has closed, maybe behind messages that are still to be handled."""
        return not self.away and self.transport.close_handshake is not None

    def go_away(self) -> None:
        """Wait for another connection. What was asked over the lost one is done, but not answered over the next."""
        self._set_aside()
        self._fragments = None
        if not self.resume_key:
            self._stale = len(self._queue or ()) + self._busy
        self._gateway.went_away(self)

    def _take_up(self) -> None:
        """Go on with a new connection where the last one ended."""
        self.away = self._held = False
        self.reason = ""
        if self._reading_paused:
            self.transport.underlying_transport.pause_reading()
        self._tell(b"resumed")
        self._catch_up(self._received)
        self._gateway.resumed(self)

    def _tell(self, word: bytes) -> None:
        """Answer the handshake of a client that has asked for it, by an empty reply that is not counted."""
        if self._replay is not None:
            replay, self._replay = self._replay, None
            self._answer(b'{"cid":"%b"}' % word)
            self.flush()
            self._replay = replay

    # -- incoming frames

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame. The parser below has checked masks, lengths and control frames; order and kinds are ours."""
        plain = not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        if frame.msg_type is self.kind and frame.fin and plain and self._fragments is None:
            # The parser itself closes on a broken rule, and may yet deliver what follows.
            if not transport.is_close_frame_sent:
                self._receive(frame.get_payload_as_bytes())
        else:
            self._other(transport, frame)

    def _other(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._peer_closed(transport, frame)
        elif self.closing or transport.is_close_frame_sent:
            return
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close("no extension was agreed on", WSCloseCode.PROTOCOL_ERROR)
        elif kind == WSMsgType.PONG:
            self._gateway.alive(self)
        elif kind == WSMsgType.PING:
            self.send_frame(pong_of(frame.get_payload_as_bytes()))
        else:
            self._data(frame)

    def _data(self, frame: WSFrame) -> None:
        """A text or binary frame, or a part of one."""
        if frame.msg_type == WSMsgType.CONTINUATION:
            if self._fragments is None:
                self.close("nothing to continue", WSCloseCode.PROTOCOL_ERROR)
                return
        elif self._fragments is not None:
            self.close("a fragmented message was not finished", WSCloseCode.PROTOCOL_ERROR)
            return
        elif frame.msg_type != self.kind:
            self.close(WRONG_KIND)
            return
        else:
            self._fragments = bytearray()
        self._fragments += frame.get_payload_as_bytes()
        if len(self._fragments) > self._gateway.settings.message_bytes_max:
            self.close("message too large", WSCloseCode.MESSAGE_TOO_BIG)
        elif frame.fin:
            whole, self._fragments = bytes(self._fragments), None
            self._receive(whole)

    def _peer_closed(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.closing or transport.is_close_frame_sent:
            transport.disconnect()
        elif self._queue:
            # Messages sent before the close are handled before it.
            self._queue.append(None)
        else:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Answer the peer's close with its own code."""
        transport = self.transport
        handshake = transport.close_handshake
        asked = handshake.recv if handshake is not None else None
        code = asked.code if asked is not None else _NO_CODE
        self.flush()
        self._stop("")
        if code:
            transport.send_close(code, b"")
        else:
            self._write(EMPTY_CLOSE)
        self._gateway.closing(self)
        transport.disconnect()

    # -- messages

    def _receive(self, payload: bytes) -> None:
        gateway = self._gateway
        gateway.messages_received += 1
        self._messages += 1
        if self._messages >= gateway.backoff_messages:
            self._messages = 0
            gateway.alive(self)
        if self._busy:
            self._enqueue(payload)
            return
        if not self._at_once(payload):
            self._begin(payload)

    def _at_once(self, payload: bytes) -> bool:
        """Whether the message was of the few that are dealt with here and now."""
        message = self._gateway.direct.get(payload[2 : payload.find(b'"', 2)])
        if message is None or message.before is not None or message.after is not None:
            return False
        if not message.direct(self, payload):
            return False
        message.stats.by_code[0] += 1
        return True

    def _enqueue(self, payload: bytes) -> None:
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(payload)
        if not self._reading_paused and len(queue) >= self._gateway.settings.incoming_queue_max:
            self._reading_paused = True
            self.transport.underlying_transport.pause_reading()

    def _begin(self, payload: bytes) -> None:
        """Deal with a message that comes to an idle socket; only what has to wait for something becomes a task."""
        work = self._decoded(payload)
        if work is not None:
            self._busy = True
            self._gateway.tasks.spawn(self._drain(*work), "socket messages")

    def _decode(self, payload: bytes) -> tuple[str, str, Message | None, Any]:
        """What `Envelopes.decode` says of an envelope in this socket's format."""
        return self._gateway.envelopes.decode(payload)

    def _decoded(self, payload: bytes) -> tuple[str, Message, Any] | None:
        """What is to be done for a message, None when it has been dealt with."""
        try:
            cid, key, message, request = self._decode(payload)
        except BadInput:
            self.close(MALFORMED)
            return None
        except Rejected as rejected:
            self._reply(error_of(rejected.cid, rejected.code, rejected.message))
            self.close(REFUSED)
            return None
        except Exception as error:
            log.error("decoding a message failed", exc_info=error)
            self.close("internal error", WSCloseCode.INTERNAL_ERROR)
            return None
        if message is not None:
            return cid, message, request
        if key == PING:
            self._reply(reply_of(cid, (PONG, request)) or b"")
        return None

    async def _drain(self, cid: str, message: Message, request: Any) -> None:
        """Handle one message, then those that have come in meanwhile."""
        try:
            await self._handle(cid, message, request)
            self._stale -= self._stale > 0
            while self._queue:
                payload = self._queue.popleft()
                if payload is None:
                    self._acknowledge()
                    return
                work = self._decoded(payload)
                if work is not None:
                    await self._handle(*work)
                self._stale -= self._stale > 0
                self._resume_reading()
        finally:
            self._busy = False
            self._at_rest()

    def _resume_reading(self) -> None:
        queue = self._queue
        if self._reading_paused and queue is not None and len(queue) <= self._gateway.settings.incoming_queue_max // 2:
            self._reading_paused = False
            if not self.away:
                self.transport.underlying_transport.resume_reading()

    async def _handle(self, cid: str, message: Message, request: Any) -> None:
        """Run one message and answer it; a refusal or a bug is answered too, and the socket lives on."""
        reply: bytes | None = None
        disabled = False
        cid = cid if message.replies else ""
        try:
            call = Call(message, self.caller, session=self, client_ip=self.client_ip)
            await self._gateway.dispatcher.run(message, call, request, partial(self._answered, message, cid))
        except BadInput:
            self.close(MALFORMED)
        except PalestraError as error:
            reply = error_of(cid, socket_code(error), error.message)
            disabled = isinstance(error, Disabled)
        except Exception as error:
            log.error("message failed", message=message.name, exc_info=error)
            reply = error_of(cid, FAILED, "Internal error")
        if reply is not None:
            self._reply(reply)
        if disabled:
            self.close(REFUSED)
        self.run_after()

    def _answered(self, message: Message, cid: str, answer: tuple[str, msgspec.Struct] | None) -> None:
        """Answer a message, and send what waits for that, before after-hooks take their time."""
        if message.replies and (reply := reply_of(cid, answer)) is not None:
            self._reply(reply)
        self.run_after()

    def after_reply(self, callback: Callable[[], None]) -> None:
        """Call back once the message being handled has been answered; with none in hand, when the loop is next free."""
        if self.remote is not None and self.node:
            self.remote.after_reply(callback)
            return
        if self._after is None:
            self._after = []
            if not self._busy or self.ended:
                self._gateway.loop.call_soon(self._after_idle)
        self._after.append(callback)

    def _after_idle(self) -> None:
        if not self._busy or self.ended:
            self.run_after()

    def run_after(self) -> None:
        """Run what was put off until the reply."""
        while self._after:
            callbacks, self._after = self._after, None
            for callback in callbacks:
                callback()
