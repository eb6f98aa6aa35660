"""The endpoints of rounds: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.rounds import wire
from palestra.features.rounds.contract import PAGE_ROUNDS_MAX, RoundNotFound, Rounds
from palestra.gateway.operation import Call


class RoundRoutes:
    """Handlers of the round operations; players see the rounds in which they take part."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds

    async def list(self, call: Call, request: wire.ListRequest) -> wire.RoundList:
        """The caller's rounds, newest first."""
        limit = PAGE_ROUNDS_MAX if request.limit is None else request.limit
        page = await self._rounds.list(call.player.user_id, limit, request.cursor)
        return wire.RoundList([wire.round_of(one) for one in page.rounds], page.cursor)

    async def get(self, call: Call, request: wire.GetRequest) -> wire.Round:
        """One of the caller's rounds, with all that is needed to work it out again."""
        record = await self._rounds.record(request.id)
        if call.player.user_id not in record.round.players:
            raise RoundNotFound
        return wire.round_of(record.round, record.lines)
