"""Matchmaker messages of the socket: decode, call, encode."""

from __future__ import annotations

from palestra.core.errors import PalestraError
from palestra.features.matchmaker import wire
from palestra.features.matchmaker.contract import AddingFailed, InvalidCounts, InvalidTicket
from palestra.features.matchmaker.service import MatchmakerService
from palestra.gateway.operation import Call


class MatchmakerMessages:
    """What players may ask of the matchmaker over their socket."""

    def __init__(self, service: MatchmakerService) -> None:
        self._service = service

    async def add(self, call: Call, request: wire.MatchmakerAdd) -> tuple[str, wire.MatchmakerTicket]:
        """matchmaker_add."""
        try:
            ticket = self._service.add_one(call.connection, wire.request_of(request))
        except InvalidCounts:
            raise
        except PalestraError as error:
            raise AddingFailed(error) from error
        return "matchmaker_ticket", wire.MatchmakerTicket(ticket)

    async def remove(self, call: Call, request: wire.MatchmakerRemove) -> None:
        """matchmaker_remove."""
        if not request.ticket:
            raise InvalidTicket
        self._service.remove_one(call.connection, request.ticket)
