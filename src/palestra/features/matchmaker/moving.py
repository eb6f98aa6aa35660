"""Tickets of sessions that go on on another node: they go with them, so that the former node may end."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.core.clock import Clock
from palestra.features.matchmaker.between import Waiting, waiting
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.matchmaker.sharing import TicketSharing
from palestra.features.streams.contract import ConnectedSockets, Member
from palestra.gateway.operation import Session

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Waiting]).decode


class TicketMoves:
    """Takes lone tickets along with their sessions; those of parties stay where the party is.

    A ticket that a match has claimed at that moment stays: its player is told from there, or it follows.
    """

    def __init__(
        self,
        cluster: Cluster,
        service: MatchmakerService,
        sharing: TicketSharing,
        sockets: ConnectedSockets,
        clock: Clock,
    ) -> None:
        self._bus = cluster.bus
        self._service = service
        self._sockets = sockets
        self._now = clock.monotonic
        sharing.follows = self._follows
        self._bus.on("tickets.follow", self._followed)

    def pack(self, session_id: str) -> bytes:
        """The tickets that a session takes along; they are here no more."""
        return self._take([one for one in self._service.own.of_session(session_id).values() if _goes(one)])

    def strays(self) -> list[str]:
        """Sessions of other nodes that have tickets here."""
        sessions = dict.fromkeys(one.members[0].session for one in self._service.own if _goes(one))
        return [one.id for one in sessions if one.node]

    def _take(self, tickets: Iterable[Ticket]) -> bytes:
        packed = [waiting(ticket, self._now()) for ticket in tickets]
        for one in packed:
            self._service.remove_own(one.about.id)
        return _encode(packed) if packed else b""

    def unpack(self, session: Session, packed: bytes) -> None:
        """They wait here from now on."""
        for one in _decode(packed):
            ticket = one.ticket("", self._now())
            ticket.members = tuple(Member(session, presence) for presence in ticket.presences)
            self._service.adopt(ticket)

    def drop(self, session_id: str) -> None:
        """Nothing is left here to be dropped."""

    def _follows(self, ticket: Ticket) -> bool:
        """Whether a ticket that is free again has gone where its session is by now."""
        node = "" if ticket.party_id else ticket.members[0].session.node
        if node:
            self._bus.send(node, "tickets.follow", self._take([ticket]))
        return bool(node)

    def _followed(self, sender: str, packed: bytes) -> None:
        for one in _decode(packed):
            session = self._sockets.sessions.get(one.about.presences[0].session_id)
            if session is not None and session.node == sender:
                continue
            if session is not None and session.node:
                self._bus.send(session.node, "tickets.follow", packed)
            elif session is not None:
                self.unpack(session, packed)


def _goes(ticket: Ticket) -> bool:
    return ticket.entered and not ticket.party_id and not ticket.claim
