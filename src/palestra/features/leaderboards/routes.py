"""The leaderboard endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.leaderboards import wire
from palestra.features.leaderboards.contract import Leaderboards
from palestra.gateway.operation import Call, Empty


class LeaderboardRoutes:
    """Handlers of the leaderboard operations; what they write, they write in the caller's name."""

    def __init__(self, leaderboards: Leaderboards) -> None:
        self._leaderboards = leaderboards

    async def submit(self, call: Call, request: wire.SubmitRequest) -> wire.Record:
        """Submit a score of the caller."""
        player, given = call.player, request.record
        record = await self._leaderboards.submit(
            request.leaderboard_id,
            player.user_id,
            player.username,
            given.score,
            given.subscore,
            given.metadata,
            given.operator,
            authority=False,
        )
        return wire.record_of(record)

    async def list(self, call: Call, request: wire.ListRequest) -> wire.RecordList:
        """List records in board order."""
        page = await self._leaderboards.records(
            request.leaderboard_id, request.owner_ids, request.limit, request.cursor, request.expiry
        )
        return wire.records_of(page)

    async def around(self, call: Call, request: wire.AroundRequest) -> wire.RecordList:
        """List records around an owner's."""
        limit = 1 if request.limit is None else request.limit
        page = await self._leaderboards.around(
            request.leaderboard_id, request.owner_id, limit, request.cursor, request.expiry
        )
        return wire.records_of(page)

    async def delete_record(self, call: Call, request: wire.DeleteRequest) -> Empty:
        """Delete the caller's record of the running period."""
        await self._leaderboards.remove(request.leaderboard_id, call.player.user_id, authority=False)
        return Empty()
