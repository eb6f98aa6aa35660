"""Matches over HTTP: the listing."""

from __future__ import annotations

from palestra.features.matches import wire
from palestra.features.matches.contract import Matches
from palestra.gateway.operation import Call


class MatchesRoutes:
    """What players may ask of matches over HTTP."""

    def __init__(self, service: Matches) -> None:
        self._service = service

    async def list(self, call: Call, request: wire.ListMatches) -> wire.MatchList:
        """GET /v2/match."""
        found = await self._service.list(
            limit=10 if request.limit is None else request.limit,
            authoritative=request.authoritative,
            label=request.label,
            query=request.query,
            min_size=request.min_size,
            max_size=request.max_size,
            quotes=False,
        )
        return wire.MatchList([wire.listed(one) for one in found])
