"""Tickets that go with their sessions to another node, which answers for them from then on."""

from __future__ import annotations

import msgspec

from palestra.core.clock import Clock
from palestra.features.matchmaker.between import Waiting, waiting
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.streams.contract import Member
from palestra.gateway.operation import Session

_decode = msgspec.msgpack.Decoder(list[Waiting]).decode


class TicketCarrier:
    """Implements the streams feature's `Carrier`.

    A ticket that is being given to a match stays until that is settled: its player is told wherever it is. Tickets of
    parties are answered for by the node of the party.
    """

    def __init__(self, service: MatchmakerService, clock: Clock) -> None:
        self._service = service
        self._now = clock.monotonic

    def pack(self, session_id: str) -> bytes:
        """Withdraw a session's tickets here, and say what they were."""
        tickets = [one for one in self._service.own.of_session(session_id).values() if _goes(one)]
        packed = msgspec.msgpack.encode([waiting(ticket, self._now()) for ticket in tickets]) if tickets else b""
        for ticket in tickets:
            self._service.withdraw(ticket)
        return packed

    def unpack(self, session: Session, packed: bytes) -> None:
        """Answer for a session's tickets, which keep their ids and their age."""
        for told in _decode(packed):
            ticket = told.ticket("", self._now())
            ticket.members = tuple(Member(session, presence) for presence in ticket.presences)
            self._service.own.add(ticket)
            self._service.enter(ticket)

    def drop(self, session_id: str) -> None:
        """What is left is being given to a match."""

    def strays(self) -> list[str]:
        """Sessions of other nodes that have tickets here."""
        tickets = [one for one in self._service.own if _goes(one)]
        return [one.id for one in dict.fromkeys(ticket.members[0].session for ticket in tickets) if one.node]


def _goes(ticket: Ticket) -> bool:
    return ticket.entered and not ticket.claim and not ticket.party_id
