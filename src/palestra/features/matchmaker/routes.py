"""The matchmaker over HTTP: its figures, and why a ticket waits."""

from __future__ import annotations

from palestra.features.matchmaker import wire
from palestra.features.matchmaker.contract import Matchmaking, TicketNotFound
from palestra.gateway.operation import Call, Empty


class MatchmakerRoutes:
    """What players may ask of the matchmaker over HTTP."""

    def __init__(self, service: Matchmaking) -> None:
        self._service = service

    async def stats(self, call: Call, request: Empty) -> wire.MatchmakerStats:
        """GET /v2/matchmaker/stats."""
        return wire.stats_of(await self._service.stats())

    async def explain(self, call: Call, request: wire.TicketRequest) -> wire.Waiting:
        """GET /v2/palestra/matchmaker/{ticket}, for those whose ticket it is."""
        why = await self._service.explain(request.ticket, limit=0)
        if call.player.user_id not in why.ticket.user_ids:
            raise TicketNotFound
        return wire.waiting_of(why)
