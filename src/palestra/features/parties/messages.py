"""Party messages of the socket: decode, call, encode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
from palestra.gateway.operation import Call

_CAUSES = (PartyError, QueryInvalid, DuplicateSession, TooManyTickets, TooManyPlayers, NotAvailable, TicketNotFound)


class PartyMessages:
    """What players may ask of parties over their socket."""

    def __init__(self, service: PartyService) -> None:
        self._service = service

    async def create(self, call: Call, request: wire.PartyCreate) -> tuple[str, wire.PartyState]:
        """party_create."""
        session = call.connection
        with _trying("creating party"):
            party = self._service.create(
                session, open=request.open, max_size=request.max_size, label=request.label, hidden=request.hidden
            )
        return "party", wire.party_state(party, session)

    async def join(self, call: Call, request: wire.PartyNamed) -> None:
        """party_join."""
        with _trying("joining party"):
            self._service.join(call.connection, request.party_id)

    async def leave(self, call: Call, request: wire.PartyNamed) -> None:
        """party_leave."""
        self._service.leave(call.connection, request.party_id)

    async def promote(self, call: Call, request: wire.PartyTarget) -> None:
        """party_promote."""
        with _trying("promoting new party leader"):
            self._service.promote(call.connection, request.party_id, request.presence)

    async def accept(self, call: Call, request: wire.PartyTarget) -> None:
        """party_accept."""
        with _trying("accepting party join request"):
            self._service.accept(call.connection, request.party_id, request.presence)

    async def remove(self, call: Call, request: wire.PartyTarget) -> None:
        """party_remove."""
        with _trying("removing party member or join request"):
            self._service.remove(call.connection, request.party_id, request.presence)

    async def close(self, call: Call, request: wire.PartyNamed) -> None:
        """party_close."""
        with _trying("closing party"):
            self._service.close(call.connection, request.party_id)

    async def list_requests(self, call: Call, request: wire.PartyNamed) -> tuple[str, wire.PartyJoinRequest]:
        """party_join_request_list."""
        with _trying("listing party join requests"):
            return "party_join_request", self._service.requests(call.connection, request.party_id)

    async def matchmaker_add(self, call: Call, request: wire.PartyMatchmakerAdd) -> tuple[str, wire.PartyTicket]:
        """party_matchmaker_add."""
        asked = TicketRequest(
            request.min_count,
            request.max_count,
            request.query,
            request.string_properties,
            request.numeric_properties,
            request.count_multiple,
        )
        with _trying("adding party to matchmaker"):
            return "party_matchmaker_ticket", self._service.matchmaker_add(call.connection, request.party_id, asked)

    async def matchmaker_remove(self, call: Call, request: wire.PartyMatchmakerRemove) -> None:
        """party_matchmaker_remove; its refusals speak of closing, and clients know them so."""
        with _trying("closing party"):
            self._service.matchmaker_remove(call.connection, request.party_id, request.ticket)

    async def send(self, call: Call, request: wire.PartyDataSend) -> None:
        """party_data_send."""
        data = canonical_base64(request.data, "data")
        with _trying("sending party data"):
            self._service.send(call.connection, request.party_id, request.op_code, data)

    async def update(self, call: Call, request: wire.PartyUpdate) -> None:
        """party_update."""
        with _trying("updating party"):
            self._service.update(
                call.connection, request.party_id, request.label, open=request.open, hidden=request.hidden
            )


@contextmanager
def _trying(what: str) -> Iterator[None]:
    """Say what failed in front of the cause, as clients expect it."""
    try:
        yield
    except _CAUSES as error:
        raise PartyError(f"Error {what}: {error.message}") from error
