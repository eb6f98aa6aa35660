"""The part of a session that can go on on another node: who it is, and what waits for its client."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from palestra.core.ids import new_id
from palestra.gateway.operation import Caller
from palestra.gateway.push import Push
from palestra.gateway.websocket.handed import Handed
from palestra.gateway.websocket.sender import Sender

if TYPE_CHECKING:
    from palestra.gateway.websocket.gateway import SocketGateway


class Movable(Sender):
    """A session with an identity. Once it has moved, it passes what it is told on to its other face, `remote`."""

    format = "json"

    __slots__ = ("_busy", "_rested", "caller", "client_ip", "id", "language", "reason", "show_status")

    def __init__(self, gateway: SocketGateway) -> None:
        super().__init__(gateway)
        self.id = new_id()
        self.caller: Caller
        self.language: str
        self.client_ip: str
        self.show_status: bool
        self.reason = ""
        self._busy = False
        self._rested: asyncio.Future[None] | None = None

    async def rest(self, seconds: float) -> None:
        """Wait until no message is in hand, and nothing is still to come from the node that the session was on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._busy or self.settling:
                    self._rested = self._rested or self._gateway.loop.create_future()
                    await asyncio.shield(self._rested)

    def _at_rest(self) -> None:
        rested, self._rested = self._rested, None
        if rested is not None:
            rested.set_result(None)

    def pack(self) -> Handed:
        """What makes this session, which is away; it goes on on another node."""
        waiting = self._outbox.pack(self._gateway.monotonic()) if self._outbox is not None else []
        replay = self._replay
        handed = Handed(
            self.id,
            self.caller,
            self.language,
            self.client_ip,
            self.format,
            self.show_status,
            self.resume_key,
            self.reason,
            waiting,
            0 if replay is None else replay.written,
            [] if replay is None else replay.pack(),
        )
        self._forget()
        return handed

    def unpack(self, handed: Handed) -> None:
        """Be the session of another node, away, until it has settled here."""
        gateway = self._gateway
        self.id, self.caller = handed.id, handed.caller
        self.language, self.client_ip, self.show_status = handed.language, handed.client_ip, handed.show_status
        self.resume_key, self.reason = handed.resume_key, handed.reason
        self.away = self._held = True
        self._outbox = gateway.new_outbox(())
        self._outbox.bounds = gateway.away_bounds
        self._outbox.unpack(handed.waiting, gateway.monotonic())
        if handed.resume_key:
            self._replay = gateway.new_replay()
            self._replay.unpack(handed.written, handed.replay)
        self._detour = []

    @property
    def settling(self) -> bool:
        """Whether the session has come from another node, which still passes on what is to come first."""
        return self._detour is not None

    def send_early(self, push: Push) -> None:
        """Queue what was on its way to the former node, before what was sent here since."""
        detour, self._detour = self._detour, None
        self.send(push)
        if not self.closing:
            self._detour = detour

    def settle(self) -> None:
        """Everything from before the move is there: queue what was sent since."""
        detour, self._detour = self._detour, None
        for frame, push in detour or ():
            if not self.closing:
                self._hold(frame, push)
        self._at_rest()

    @property
    def kept_bytes(self) -> int:
        """What waits and what is kept in case the client asks again."""
        waiting = self._outbox.bytes if self._outbox is not None else 0
        return waiting + (self._replay.bytes if self._replay is not None else 0)
