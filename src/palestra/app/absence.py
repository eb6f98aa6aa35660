"""What features do about sessions that have lost their connection, and about players with several."""

from __future__ import annotations

from functools import partial

from palestra.app.live import Live
from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.features.notifications.contract import PlatformCode
from palestra.features.notifications.wire import last_push
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
from palestra.gateway.operation import Session
from palestra.gateway.websocket.gateway import SocketGateway
from palestra.gateway.websocket.socket import Socket


def follow_absence(sockets: SocketGateway, live: Live, settings: Settings, clock: Clock) -> None:
    """Let features go earlier than the session where the settings say so; end older sockets if there may be but one."""
    resume = settings.resume
    for after_seconds, modes in (
        (resume.match_seconds, (RELAYED_MATCH, MATCH)),
        (resume.party_seconds, (PARTY,)),
        (resume.status_seconds, (STATUS,)),
        (resume.chat_seconds, (ROOM, GROUP, DIRECT)),
    ):
        if after_seconds is not None:
            sockets.on_away(after_seconds, partial(_leave, live.presences, modes))
    if resume.matchmaker_seconds is not None:
        sockets.on_away(resume.matchmaker_seconds, lambda socket: live.matchmaker.session_away(socket.id))
    if settings.session.single_socket:
        close_others = partial(_close_others, live, clock)
        sockets.on_open(close_others)
        sockets.on_resume(close_others)
        if live.others is not None:
            live.others.on_open(partial(_settle_tie, sockets, live, clock))


def _leave(presences: Presences, modes: tuple[int, ...], socket: Socket) -> None:
    for mode in modes:
        presences.leave_mode(socket.id, mode)


def _close_others(live: Live, clock: Clock, session: Session) -> None:
    last = last_push(PlatformCode.SINGLE_SOCKET, clock.now())
    live.disconnect_user(session.caller.user_id, last=last, but=session)


def _settle_tie(sockets: SocketGateway, live: Live, clock: Clock, opened: Session) -> None:
    """A player's sockets on two nodes may have opened without knowing of each other: one id is the higher for both."""
    if any(own.id < opened.id for own in sockets.of_user(opened.caller.user_id)):
        _close_others(live, clock, opened)
