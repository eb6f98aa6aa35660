"""The matchmaker over HTTP: its figures."""

from __future__ import annotations

from palestra.features.matchmaker import wire
from palestra.features.matchmaker.contract import Matchmaking
from palestra.gateway.operation import Call, Empty


class MatchmakerRoutes:
    """What players may ask of the matchmaker over HTTP."""

    def __init__(self, service: Matchmaking) -> None:
        self._service = service

    async def stats(self, call: Call, request: Empty) -> wire.MatchmakerStats:
        """GET /v2/matchmaker/stats."""
        return wire.stats_of(await self._service.stats())
