"""Tickets of sessions and parties that go on on another node: they go with them, so that the former node may end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.core.clock import Clock
from palestra.features.matchmaker.between import Waiting, waiting
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.matchmaker.sharing import TicketSharing
from palestra.features.streams.contract import PARTY, ConnectedSockets, Member, Presences, Stream
from palestra.gateway.operation import Session

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Waiting]).decode


class TicketMoves:
    """Implements `PartyTickets`. Takes lone tickets along with their sessions, and those of parties with the party.

    A ticket that a match has claimed at that moment stays: its players are told from there, or it follows.
    """

    def __init__(
        self,
        cluster: Cluster,
        service: MatchmakerService,
        sharing: TicketSharing,
        presences: Presences,
        sockets: ConnectedSockets,
        clock: Clock,
    ) -> None:
        self._bus = cluster.bus
        self._service = service
        self._presences = presences
        self._sockets = sockets
        self.party_at: Callable[[str], str] = lambda party_id: ""
        """The other node that a party is on, "" for this one."""
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

    def pack_party(self, party_id: str) -> bytes:
        """See PartyTickets.pack_party."""
        return self._take(self._free(party_id))

    def unpack_party(self, packed: bytes) -> None:
        """See PartyTickets.unpack_party."""
        for one in _decode(packed) if packed else ():
            subject, _, node = one.about.party_id.partition(".")
            audience = self._presences.audience(Stream(PARTY, subject, label=node))
            ticket = one.ticket("", self._now())
            if audience.keys() == ticket.sessions:
                ticket.members = tuple(audience[presence.session_id] for presence in ticket.presences)
                self._service.adopt(ticket)

    def party_went(self, party_id: str) -> None:
        """See PartyTickets.party_went."""
        for ticket in self._free(party_id):
            self._follows(ticket)

    def _free(self, party_id: str) -> list[Ticket]:
        return [one for one in self._service.own.of_party(party_id).values() if not one.claim]

    def _follows(self, ticket: Ticket) -> bool:
        """Whether a ticket that is free again has gone where its session or party is by now."""
        node = self.party_at(ticket.party_id) if ticket.party_id else ticket.members[0].session.node
        if node:
            self._bus.send(node, "tickets.follow", self._take([ticket]))
        return bool(node)

    def _followed(self, sender: str, packed: bytes) -> None:
        for one in _decode(packed):
            if one.about.party_id:
                node = self.party_at(one.about.party_id)
                if not node:
                    self.unpack_party(packed)
                elif node != sender:
                    self._bus.send(node, "tickets.follow", packed)
                continue
            session = self._sockets.sessions.get(one.about.presences[0].session_id)
            if session is not None and session.node == sender:
                continue
            if session is not None and session.node:
                self._bus.send(session.node, "tickets.follow", packed)
            elif session is not None:
                self.unpack(session, packed)


def _goes(ticket: Ticket) -> bool:
    return ticket.entered and not ticket.party_id and not ticket.claim
