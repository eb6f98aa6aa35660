"""Parties over HTTP: the listing."""

from __future__ import annotations

from palestra.features.parties import wire
from palestra.features.parties.contract import Parties
from palestra.gateway.operation import Call


class PartyRoutes:
    """What players may ask of parties over HTTP."""

    def __init__(self, service: Parties) -> None:
        self._service = service

    async def list(self, call: Call, request: wire.ListParties) -> wire.PartyList:
        """GET /v2/party."""
        limit = 10 if request.limit is None else request.limit
        page = await self._service.list(
            limit=limit, open=request.open, query=request.query, cursor=request.cursor, quotes=False
        )
        listed = [wire.ListedParty(one.party_id, one.open, one.hidden, one.max_size, one.label) for one in page.parties]
        return wire.PartyList(listed, page.cursor)
