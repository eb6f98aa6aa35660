"""What a session may do with a party on the node that the party lives on, and how refusals are worded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from palestra.features.matchmaker.contract import (
    DuplicateSession,
    NotAvailable,
    QueryInvalid,
    TicketNotFound,
    TicketRequest,
    TooManyPlayers,
    TooManyTickets,
)
from palestra.features.parties import wire
from palestra.features.parties.contract import PartyError
from palestra.features.parties.service import PartyService
from palestra.gateway.fields import canonical_base64
from palestra.gateway.operation import Session

_CAUSES = (PartyError, QueryInvalid, DuplicateSession, TooManyTickets, TooManyPlayers, NotAvailable, TicketNotFound)


class Action(NamedTuple):
    """One of them: what it does, and the types of its request and its answer."""

    do: Callable[[Session, Any], Any]
    request: type[Any]
    answer: type[Any] = type(None)


class PartyActions:
    """All messages about a party that there is."""

    def __init__(self, service: PartyService) -> None:
        self._service = service

    def table(self) -> dict[str, Action]:
        """By the name of their operation."""
        return {
            "parties.join": Action(self.join, wire.PartyNamed),
            "parties.leave": Action(self.leave, wire.PartyNamed),
            "parties.promote": Action(self.promote, wire.PartyTarget),
            "parties.accept": Action(self.accept, wire.PartyTarget),
            "parties.remove": Action(self.remove, wire.PartyTarget),
            "parties.close": Action(self.close, wire.PartyNamed),
            "parties.list_requests": Action(self.list_requests, wire.PartyNamed, wire.PartyJoinRequest),
            "parties.matchmaker_add": Action(self.matchmaker_add, wire.PartyMatchmakerAdd, wire.PartyTicket),
            "parties.matchmaker_remove": Action(self.matchmaker_remove, wire.PartyMatchmakerRemove),
            "parties.send": Action(self.send, wire.PartyDataSend),
            "parties.update": Action(self.update, wire.PartyUpdate),
        }

    def join(self, session: Session, request: wire.PartyNamed) -> None:
        """party_join."""
        with trying("joining party"):
            self._service.join(session, request.party_id)

    def leave(self, session: Session, request: wire.PartyNamed) -> None:
        """party_leave."""
        self._service.leave(session, request.party_id)

    def promote(self, session: Session, request: wire.PartyTarget) -> None:
        """party_promote."""
        with trying("promoting new party leader"):
            self._service.promote(session, request.party_id, request.presence)

    def accept(self, session: Session, request: wire.PartyTarget) -> None:
        """party_accept."""
        with trying("accepting party join request"):
            self._service.accept(session, request.party_id, request.presence)

    def remove(self, session: Session, request: wire.PartyTarget) -> None:
        """party_remove."""
        with trying("removing party member or join request"):
            self._service.remove(session, request.party_id, request.presence)

    def close(self, session: Session, request: wire.PartyNamed) -> None:
        """party_close."""
        with trying("closing party"):
            self._service.close(session, request.party_id)

    def list_requests(self, session: Session, request: wire.PartyNamed) -> wire.PartyJoinRequest:
        """party_join_request_list."""
        with trying("listing party join requests"):
            return self._service.requests(session, request.party_id)

    def matchmaker_add(self, session: Session, request: wire.PartyMatchmakerAdd) -> wire.PartyTicket:
        """party_matchmaker_add."""
        asked = TicketRequest(
            request.min_count,
            request.max_count,
            request.query,
            request.string_properties,
            request.numeric_properties,
            request.count_multiple,
        )
        with trying("adding party to matchmaker"):
            return self._service.matchmaker_add(session, request.party_id, asked)

    def matchmaker_remove(self, session: Session, request: wire.PartyMatchmakerRemove) -> None:
        """party_matchmaker_remove; its refusals speak of closing, and clients know them so."""
        with trying("closing party"):
            self._service.matchmaker_remove(session, request.party_id, request.ticket)

    def send(self, session: Session, request: wire.PartyDataSend) -> None:
        """party_data_send."""
        data = canonical_base64(request.data, "data")
        with trying("sending party data"):
            self._service.send(session, request.party_id, request.op_code, data)

    def update(self, session: Session, request: wire.PartyUpdate) -> None:
        """party_update."""
        with trying("updating party"):
            self._service.update(session, request.party_id, request.label, open=request.open, hidden=request.hidden)


@contextmanager
def trying(what: str) -> Iterator[None]:
    """Say what failed in front of the cause, as clients expect it."""
    try:
        yield
    except _CAUSES as error:
        raise PartyError(f"Error {what}: {error.message}") from error
