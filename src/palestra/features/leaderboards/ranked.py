"""Records with the ranks that nodes share; where those are not known now, a look into PostgreSQL of bounded depth."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec

from palestra.core.config import DatabaseSettings
from palestra.core.errors import PalestraError
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.leaderboards import shared_ranks
from palestra.features.leaderboards.boards import Period
from palestra.features.leaderboards.contract import LeaderboardRecord, RecordPage
from palestra.features.leaderboards.shared_ranks import SharedRanks, Standing

SQL = load_queries(__file__)
DEPTH_MAX = 1_000
"""Ranks beyond are unknown without Valkey: each costs a walk along the index from the top."""
OWNERS_MAX = 100
"""How many ranks one caller may have looked up so."""


class _Owner(NamedTuple):
    period: Period
    descending: bool
    owner_id: str


class Ranked:
    """Completes what stores read and write by ranks. Boards without shared ranks are left as they are."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._places: Batch[_Owner, int] = Batch(
            "leaderboards.rank",
            database,
            _count,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            idempotent=True,
        )
        self.batches = [self._places]

    async def stop(self) -> None:
        """Finish what is queued and close the connection of the batch."""
        await self._places.stop()

    async def record(self, period: Period, owner_id: str, written: Awaitable[Any]) -> Any:
        """What a write answers, a record with its rank if it is one."""
        record = await written
        if period.shared is None or record is None:
            return record
        ranks = await self._ranks(period, period.shared, [owner_id])
        return msgspec.structs.replace(record, rank=ranks[0])

    async def records(
        self, period: Period, owner_ids: Sequence[str], reading: Awaitable[list[LeaderboardRecord]]
    ) -> list[LeaderboardRecord]:
        """Records of some owners, each with its rank."""
        if period.shared is None:
            return await reading
        records, ranks = await asyncio.gather(reading, self._ranks(period, period.shared, owner_ids))
        rank_of = dict(zip(owner_ids, ranks, strict=True))
        return [msgspec.structs.replace(record, rank=rank_of[record.owner_id]) for record in records]

    async def page(self, period: Period, reading: Awaitable[RecordPage]) -> RecordPage:
        """A page with the number of ranks."""
        if period.shared is None:
            return await reading
        looking = period.shared.look(())
        page = await reading
        page.rank_count = _count_of(await looking)
        return page

    async def rank_count(self, period: Period) -> int:
        """How many owners have a rank; 0 when that is unknown."""
        return period.rank_count if period.shared is None else _count_of(await period.shared.look(()))

    async def _ranks(self, period: Period, shared: SharedRanks, owner_ids: Sequence[str]) -> Sequence[int]:
        owners = [owner_bytes(owner_id) for owner_id in owner_ids]
        size = shared_ranks.OWNERS_MAX
        ranks: list[int] = []
        for looking in [shared.look(owners[at : at + size]) for at in range(0, len(owners), size)]:
            if (standing := await looking) is None:
                break
            ranks += standing.ranks
        else:
            return ranks
        asked = [_Owner(period, shared.descending, owner_id) for owner_id in owner_ids[:OWNERS_MAX]]
        try:
            found = await asyncio.gather(*map(self._places.submit, asked))
        except (PalestraError, asyncpg.PostgresError):
            # What was written is written, and a rank may always be unknown.
            found = [0] * len(asked)
        return [*found, *[0] * (len(owner_ids) - len(asked))]


def owner_bytes(owner_id: str) -> bytes:
    """An owner as ranks know it."""
    return bytes.fromhex(owner_id.replace("-", ""))


def _count_of(standing: Standing | None) -> int:
    return 0 if standing is None else standing.rank_count


async def _count(connection: asyncpg.Connection, asked: list[_Owner]) -> list[int]:
    """How many are before each owner, and one; 0 for those who have no record, or too many before them."""
    ranks = [0] * len(asked)
    for query, descending in (("count_above", True), ("count_below", False)):
        group = [at for at, owner in enumerate(asked) if owner.descending == descending]
        if group:
            rows = await connection.fetch(
                SQL[query],
                [asked[at].period.board_id for at in group],
                [asked[at].period.expires_at for at in group],
                [asked[at].owner_id for at in group],
                DEPTH_MAX,
            )
            for n, before in rows:
                ranks[group[n - 1]] = before + 1 if before < DEPTH_MAX else 0
    return ranks
