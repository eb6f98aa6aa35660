"""One connected socket: frames in, messages handled one after the other, frames out within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from palestra.core.errors import PalestraError
from palestra.core.ids import new_id
from palestra.core.log import get_logger
from palestra.gateway.dispatch import Disabled
from palestra.gateway.fields import BadInput
from palestra.gateway.operation import Call, Caller, Message
from palestra.gateway.push import Push
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

if TYPE_CHECKING:
    from palestra.gateway.websocket.gateway import SocketGateway

log = get_logger(__name__)

MALFORMED = "received malformed payload"
WRONG_KIND = "received unexpected WebSocket message type"
REFUSED = "error processing message"
QUEUE_FULL = "session outgoing queue full"
BURST_FRAMES_MAX = 64
"""Frames gathered for one write; more are written at once rather than at the end of the loop's turn."""

_TEXT = WSMsgType.TEXT
_NO_CODE = 0


class Socket(WSListener):
    """A player's connection; implements `Session`.

    Everything happens on the loop's thread. Messages are handled in the order of their arrival, each to completion.
    Frames are gathered while the loop works through what it has read, and then written in one piece per socket.
    """

    __slots__ = (
        "_after",
        "_busy",
        "_flush_soon",
        "_fragments",
        "_gateway",
        "_held",
        "_held_bytes",
        "_messages",
        "_out",
        "_paused",
        "_queue",
        "_reading_paused",
        "_write",
        "alive_at",
        "caller",
        "client_ip",
        "closing",
        "ended",
        "id",
        "language",
        "reason",
        "show_status",
        "transport",
    )

    def __init__(
        self, gateway: SocketGateway, caller: Caller, *, language: str, show_status: bool, client_ip: str
    ) -> None:
        self.id = new_id()
        self.caller = caller
        self.language = language
        self.client_ip = client_ip
        self.show_status = show_status
        self.closing = False
        self.ended = False
        self.reason = ""
        self.alive_at = 0.0
        self.transport: WSTransport
        self._gateway = gateway
        self._flush_soon = gateway.flush_soon
        self._write: Callable[[bytes], None]
        self._out: list[bytes] = []
        self._held = False
        self._held_bytes = 0
        self._paused = False
        self._queue: deque[bytes | None] | None = None
        self._busy = False
        self._reading_paused = False
        self._messages = 0
        self._fragments: bytearray | None = None
        self._after: list[Callable[[], None]] | None = None

    # -- outgoing

    def send(self, push: Push) -> None:
        """Queue one envelope."""
        self.send_frame(push.text or push.make_text())

    def _answer(self, envelope: bytes) -> None:
        """Queue what answers a message of this socket."""
        self.send_frame(frame_of(envelope))

    def send_frame(self, frame: bytes) -> None:
        """Queue a whole frame. While the peer does not read, at most `outgoing_queue_max` frames wait."""
        if self._held:
            self._hold(frame)
            return
        out = self._out
        if not out:
            self._flush_soon(self)
        elif len(out) >= BURST_FRAMES_MAX:
            self.flush()
        out.append(frame)

    def flush(self) -> None:
        """Write what was gathered, unless the peer has stopped reading."""
        out = self._out
        if not out or self._paused:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        self._gateway.frames_sent += len(out)
        out.clear()
        self._write(data)

    def _hold(self, frame: bytes) -> None:
        if self.closing:
            return
        settings = self._gateway.settings
        self._out.append(frame)
        self._held_bytes += len(frame)
        waiting = self._held_bytes + self.transport.underlying_transport.get_write_buffer_size()
        if len(self._out) > settings.outgoing_queue_max or waiting > settings.outgoing_bytes_max:
            self._out.clear()
            self.close(QUEUE_FULL)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write: keep frames here, where they are counted."""
        self._paused = self._held = True
        self._held_bytes = 0
        self._gateway.stalled(self)

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._paused = False
        self._held = self.closing
        self._gateway.moving(self)
        self.flush()

    def unwritten_bytes(self) -> int:
        """What the kernel has not taken yet."""
        return self.transport.underlying_transport.get_write_buffer_size()

    # -- ending

    def close(self, reason: str, code: WSCloseCode = WSCloseCode.OK) -> None:
        """Flush what is queued, then close with `reason`; the peer has a moment to agree."""
        if self.closing:
            return
        self.flush()
        self._stop(reason)
        self.transport.send_close(code, reason_of(reason))
        self._gateway.closing(self)

    def drop(self, reason: str) -> None:
        """End the connection now, whatever is still to be written."""
        if not self.closing:
            self._stop(reason)
            self._gateway.closing(self)
        self.transport.disconnect(False)

    def _stop(self, reason: str) -> None:
        self.closing = self._held = True
        self.reason = reason
        self._out.clear()
        self._queue = None
        self._fragments = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is written."""
        self.transport = transport
        self._write = transport.underlying_transport.write
        # The parser keeps request and answer for as long as the socket lives; their headers have done their work.
        nothing: Any = None
        transport.request.headers = transport.response.headers = nothing
        self._gateway.opened(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        if not self.closing:
            self._stop("connection lost")
        self._gateway.lost(self)

    # -- incoming frames

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame. The parser below has checked masks, lengths and control frames; order and kinds are ours."""
        plain = not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        if frame.msg_type is _TEXT and frame.fin and plain and self._fragments is None:
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
        elif frame.msg_type == WSMsgType.BINARY:
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
        message = gateway.direct.get(payload[2 : payload.find(b'"', 2)])
        if message is not None and message.before is None and message.after is None and message.direct(self, payload):
            message.stats.by_code[0] += 1
            return
        self._begin(payload)

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

    def _decoded(self, payload: bytes) -> tuple[str, Message, Any] | None:
        """What is to be done for a message, None when it has been dealt with."""
        try:
            cid, key, message, request = self._gateway.envelopes.decode(payload)
        except BadInput:
            self.close(MALFORMED)
            return None
        except Rejected as rejected:
            self._answer(error_of(rejected.cid, rejected.code, rejected.message))
            if rejected.closes:
                self.close(REFUSED)
            return None
        except Exception as error:
            log.error("decoding a message failed", exc_info=error)
            self.close("internal error", WSCloseCode.INTERNAL_ERROR)
            return None
        if message is not None:
            return cid, message, request
        if key == PING:
            self._answer(reply_of(cid, (PONG, request)) or b"")
        return None

    async def _drain(self, cid: str, message: Message, request: Any) -> None:
        """Handle one message, then those that have come in meanwhile."""
        try:
            await self._handle(cid, message, request)
            while self._queue:
                payload = self._queue.popleft()
                if payload is None:
                    self._acknowledge()
                    return
                work = self._decoded(payload)
                if work is not None:
                    await self._handle(*work)
                self._resume_reading()
        finally:
            self._busy = False

    def _resume_reading(self) -> None:
        queue = self._queue
        if self._reading_paused and queue is not None and len(queue) <= self._gateway.settings.incoming_queue_max // 2:
            self._reading_paused = False
            self.transport.underlying_transport.resume_reading()

    async def _handle(self, cid: str, message: Message, request: Any) -> None:
        """Run one message and answer it; a refusal or a bug is answered too, and the socket lives on."""
        reply: bytes | None = None
        disabled = False
        cid = cid if message.replies else ""
        try:
            call = Call(message, self.caller, session=self, client_ip=self.client_ip)
            answer = await self._gateway.dispatcher.run(message, call, request)
            if message.replies:
                reply = reply_of(cid, answer)
        except BadInput:
            self.close(MALFORMED)
        except PalestraError as error:
            reply = error_of(cid, socket_code(error), error.message)
            disabled = isinstance(error, Disabled)
        except Exception as error:
            log.error("message failed", message=message.name, exc_info=error)
            reply = error_of(cid, FAILED, "Internal error")
        if reply is not None:
            self._answer(reply)
        if disabled:
            self.close(REFUSED)
        self.run_after()

    def after_reply(self, callback: Callable[[], None]) -> None:
        """Call back once the message being handled has been answered; with none in hand, when the loop is next free."""
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
