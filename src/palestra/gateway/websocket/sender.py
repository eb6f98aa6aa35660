"""The outgoing half of a socket: frames gathered, written together, and held back within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from picows import WSCloseCode, WSListener, WSTransport

from palestra.gateway.operation import Session
from palestra.gateway.push import Push
from palestra.gateway.websocket.outbox import Outbox, Replay, is_envelope, is_push

if TYPE_CHECKING:
    from palestra.gateway.websocket.gateway import SocketGateway

QUEUE_FULL = "session outgoing queue full"
BURST_FRAMES_MAX = 64
"""Frames gathered for one write; more are written at once rather than at the end of the loop's turn."""


class Sender(WSListener):
    """Writes to one connection after the other. Without one, or when its peer does not read, frames wait in the outbox.

    `_out` holds what was gathered in this turn of the loop, and nothing while `_held`.
    """

    __slots__ = (
        "_detour",
        "_flush_soon",
        "_gateway",
        "_held",
        "_out",
        "_outbox",
        "_replay",
        "_write",
        "away",
        "closing",
        "moves",
        "node",
        "remote",
        "resume_key",
        "transport",
    )

    def __init__(self, gateway: SocketGateway) -> None:
        self.away = False
        self.closing = False
        self.resume_key = ""
        self.node = ""
        self.remote: Session | None = None
        """The same session as one of another node, once it has been that; in use while `node` says which."""
        self.moves = 0
        self.transport: WSTransport
        self._gateway = gateway
        self._flush_soon: Callable[[Any], None] = gateway.flush_soon
        self._write: Callable[[bytes], None]
        self._out: list[bytes] = []
        self._held = False
        self._outbox: Outbox | None = None
        self._replay: Replay | None = None
        self._detour: list[tuple[bytes, Push | None]] | None = None

    def close(self, reason: str, code: WSCloseCode = WSCloseCode.OK) -> None:
        """End the session."""
        raise NotImplementedError

    def send(self, push: Push) -> None:
        """Queue one envelope."""
        self.send_frame(push.text or push.make_text(), push)

    def send_frame(self, frame: bytes, push: Push | None = None) -> None:
        """Queue a whole frame, that of `push` if it is one. While the peer does not read, a bounded number waits."""
        if self._held:
            self._hold(frame, push)
            return
        out = self._out
        if not out:
            self._flush_soon(self)
        elif len(out) >= BURST_FRAMES_MAX:
            self.flush()
            if self._held:
                self._hold(frame, push)
                return
        out.append(frame)

    def flush(self) -> None:
        """Write what was gathered."""
        out = self._out
        if not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        self._gateway.frames_sent += len(out)
        if self._replay is not None:
            self._replay.note(out)
        out.clear()
        self._write(data)

    def _hold(self, frame: bytes, push: Push | None) -> None:
        if self.node:
            if self.remote is not None and push is not None:
                self.remote.send(push)
            return
        if self._detour is not None:
            self._detour.append((frame, push))
            if len(self._detour) > self._gateway.away_bounds.frames_max:
                self.close(QUEUE_FULL)
            return
        outbox = self._outbox
        if outbox is not None and not outbox.add(frame, push, self._gateway.monotonic(), self.unwritten_bytes()):
            self.close(QUEUE_FULL)

    def _hold_back(self) -> None:
        """From now on frames wait."""
        if self._outbox is None:
            self._held = True
            self._outbox = self._gateway.new_outbox(self._out)
            self._out.clear()

    def _go_on(self) -> None:
        """Write what waits."""
        if self._outbox is not None:
            self._held = False
            self._out, self._outbox = self._outbox.take(), None
            self.flush()

    def unwritten_bytes(self) -> int:
        """What the kernel has not taken yet."""
        return 0 if self.away else self.transport.underlying_transport.get_write_buffer_size()

    def is_late(self, now: float) -> bool:
        """Whether something has waited too long for a peer that reads slowly; what it may miss is dropped first."""
        return self._outbox is not None and not self._outbox.age(now)

    def can_resume(self, received: int | None) -> bool:
        """Whether a client with so many envelopes can have all that follow; None asks for those not written."""
        return received is None or (self._replay is not None and self._replay.since(received) is not None)

    def _set_aside(self) -> None:
        """Without a connection: keep what is to be said, but for what only its last reader would understand."""
        self._hold_back()
        assert self._outbox is not None
        self._outbox.bounds = self._gateway.away_bounds
        self._outbox.keep(is_envelope if self.resume_key else is_push)
        self.away = True
        nothing: Any = None
        self.transport = self._write = nothing

    def _catch_up(self, received: int | None) -> None:
        """Write to a new connection what was missed, in one piece: it was within bounds, whatever comes now is not."""
        frames: list[bytes] = []
        if self._replay is not None and received is not None:
            frames += self._replay.since(received) or ()
        if self._outbox is not None:
            waiting, self._outbox = self._outbox.take(), None
            if self._replay is not None:
                self._replay.note(waiting)
            frames += waiting
        if frames:
            self._gateway.frames_sent += len(frames)
            self._write(b"".join(frames))

    def _forget(self) -> None:
        """Nothing more is to be said."""
        self._out.clear()
        if self._outbox is not None:
            self._outbox.take()
        if self._replay is not None:
            self._replay.clear()
        self._outbox = self._replay = self._detour = None
