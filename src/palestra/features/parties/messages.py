"""Party messages of the socket: decode, call, encode."""

from __future__ import annotations

from typing import Any

from palestra.features.parties import wire
from palestra.features.parties.actions import PartyActions, trying
from palestra.features.parties.elsewhere import OtherParties
from palestra.features.parties.service import PartyService
from palestra.gateway.operation import Call


class PartyMessages:
    """What players may ask of parties over their socket. `others` is the way to those of other nodes."""

    def __init__(self, service: PartyService, others: OtherParties | None = None) -> None:
        self._service = service
        self._others = others
        self._actions = PartyActions(service).table()

    async def _do(self, call: Call, request: Any) -> Any:
        """Do it where the party lives."""
        name, session = call.operation.name, call.connection
        action = self._actions[name]
        if self._others is None:
            return action.do(session, request)
        return await self._others.do(session, name, action, request)

    async def create(self, call: Call, request: wire.PartyCreate) -> tuple[str, wire.PartyState]:
        """party_create."""
        session = call.connection
        with trying("creating party"):
            party = self._service.create(
                session, open=request.open, max_size=request.max_size, label=request.label, hidden=request.hidden
            )
        return "party", wire.party_state(party, session)

    async def join(self, call: Call, request: wire.PartyNamed) -> None:
        """party_join."""
        await self._do(call, request)

    async def leave(self, call: Call, request: wire.PartyNamed) -> None:
        """party_leave."""
        await self._do(call, request)

    async def promote(self, call: Call, request: wire.PartyTarget) -> None:
        """party_promote."""
        await self._do(call, request)

    async def accept(self, call: Call, request: wire.PartyTarget) -> None:
        """party_accept."""
        await self._do(call, request)

    async def remove(self, call: Call, request: wire.PartyTarget) -> None:
        """party_remove."""
        await self._do(call, request)

    async def close(self, call: Call, request: wire.PartyNamed) -> None:
        """party_close."""
        await self._do(call, request)

    async def list_requests(self, call: Call, request: wire.PartyNamed) -> tuple[str, wire.PartyJoinRequest]:
        """party_join_request_list."""
        return "party_join_request", await self._do(call, request)

    async def matchmaker_add(self, call: Call, request: wire.PartyMatchmakerAdd) -> tuple[str, wire.PartyTicket]:
        """party_matchmaker_add."""
        return "party_matchmaker_ticket", await self._do(call, request)

    async def matchmaker_remove(self, call: Call, request: wire.PartyMatchmakerRemove) -> None:
        """party_matchmaker_remove."""
        await self._do(call, request)

    async def send(self, call: Call, request: wire.PartyDataSend) -> None:
        """party_data_send."""
        await self._do(call, request)

    async def update(self, call: Call, request: wire.PartyUpdate) -> None:
        """party_update."""
        await self._do(call, request)
