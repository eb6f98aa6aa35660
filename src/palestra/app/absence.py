"""What features do about sessions that have lost their connection, and about players with several."""

from __future__ import annotations

from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.features.notifications.wire import single_socket_push
from palestra.features.streams.contract import (
    DIRECT,
    GROUP,
    MATCH,
    PARTY,
    RELAYED_MATCH,
    ROOM,
    STATUS,
    Presences,
)
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.socket import Socket


def follow_absence(sockets: SocketGateway, presences: Presences, settings: Settings, clock: Clock) -> None:
    """Let features go earlier than the session where the settings say so; end older sockets if there may be but one."""
    resume = settings.resume
    for after_seconds, modes in (
        (resume.match_seconds, (RELAYED_MATCH, MATCH)),
        (resume.party_seconds, (PARTY,)),
        (resume.status_seconds, (STATUS,)),
        (resume.chat_seconds, (ROOM, GROUP, DIRECT)),
    ):
        if after_seconds is not None:
            _leave_after(sockets, presences, after_seconds, modes)

    def close_others(socket: Socket) -> None:
        sockets.disconnect_user(socket.caller.user_id, last=single_socket_push(clock.now()), but=socket)

    if settings.session.single_socket:
        sockets.on_open(close_others)
        sockets.on_resume(close_others)


def _leave_after(sockets: SocketGateway, presences: Presences, after_seconds: float, modes: tuple[int, ...]) -> None:
    def leave(socket: Socket) -> None:
        for mode in modes:
            presences.leave_mode(socket.id, mode)

    sockets.on_away(after_seconds, leave)
