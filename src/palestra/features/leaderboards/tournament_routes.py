"""The tournament endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.leaderboards import tournament_wire as wire
from palestra.features.leaderboards.contract import Tournaments
from palestra.features.leaderboards.rules import TOURNAMENTS_LIMIT_MAX
from palestra.features.leaderboards.tournaments import RECORDS_LIMIT_MAX
from palestra.features.leaderboards.wire import Record, RecordList, record_of, records_of
from palestra.gateway.operation import Call, Empty


class TournamentRoutes:
    """Handlers of the tournament operations; what they write, they write in the caller's name."""

    def __init__(self, tournaments: Tournaments) -> None:
        self._tournaments = tournaments

    async def list(self, call: Call, request: wire.ListRequest) -> wire.TournamentList:
        """List tournaments."""
        page = await self._tournaments.list(
            request.category_start,
            request.category_end,
            request.start_time,
            request.end_time,
            TOURNAMENTS_LIMIT_MAX if request.limit is None else request.limit,
            request.cursor,
        )
        return wire.list_json(page) if call.unseen else wire.list_of(page)

    async def join(self, call: Call, request: wire.TournamentRequest) -> Empty:
        """Take a seat."""
        await self._tournaments.join(request.tournament_id, call.player.user_id, call.player.username)
        return Empty()

    async def submit(self, call: Call, request: wire.SubmitRequest) -> Record:
        """Submit a score of the caller."""
        player, given = call.player, request.record
        record = await self._tournaments.submit(
            request.tournament_id,
            player.user_id,
            player.username,
            given.score,
            given.subscore,
            given.metadata,
            given.operator,
            authority=False,
        )
        return record_of(record)

    async def records(self, call: Call, request: wire.RecordsRequest) -> RecordList:
        """List records in order."""
        page = await self._tournaments.records(
            request.tournament_id, request.owner_ids, request.limit, request.cursor, request.expiry
        )
        return records_of(page)

    async def around(self, call: Call, request: wire.AroundRequest) -> RecordList:
        """List records around an owner's."""
        limit = RECORDS_LIMIT_MAX if request.limit is None else request.limit
        page = await self._tournaments.around(
            request.tournament_id, request.owner_id, limit, request.cursor, request.expiry
        )
        return records_of(page)

    async def delete_record(self, call: Call, request: wire.TournamentRequest) -> Empty:
        """Delete the caller's record of the running period."""
        await self._tournaments.remove(request.tournament_id, call.player.user_id, authority=False)
        return Empty()
