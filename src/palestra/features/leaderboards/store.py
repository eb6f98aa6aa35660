"""The rows of boards and records: shared round trips for scores, pages and owners, plain statements for the rest."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from palestra.cluster.cache import Caches
from palestra.core.clock import utc
from palestra.core.config import DatabaseSettings
from palestra.core.errors import OutcomeUnknown, Unavailable
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.replicas import Reads
from palestra.features.leaderboards.boards import Definition, Period
from palestra.features.leaderboards.contract import Leaderboard, LeaderboardRecord, Operator, RecordPage, Sort
from palestra.features.leaderboards.kept import KeptRecords
from palestra.features.leaderboards.pages import PageRequest, page_of, record_of, window_page
from palestra.features.leaderboards.ranked import Ranked, owner_bytes
from palestra.features.leaderboards.ranks import OWNER_BYTES, Ranks
from palestra.features.leaderboards.rules import ATTEMPTS_DEFAULT, SIZE_MAX, Change, Score, Terms

SQL = load_queries(__file__)
ATTEMPTS_MAX = 8
"""How often a score is tried again because other nodes wrote the same record meanwhile."""
READ_LANES = 2
LOAD_ROWS = 500
"""Rows put into ranks at a time: two milliseconds in which the node does nothing else."""
RECORD_BYTES = 512
"""What one record to be read counts in a round trip, whose size cannot be known before."""
READ_BYTES_MAX = 4 << 20
CLAIM_SECONDS = 30.0
"""How long a node that tells of an end is waited for, from when it was last heard of."""
PLAIN = Terms(0, 0, 0, "", "", 0, SIZE_MAX, ATTEMPTS_DEFAULT, False)
"""What stands in the columns of tournaments on boards that are none."""
_FAILED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class Submission(NamedTuple):
    """A score to be written. `metadata` is JSON text, None to keep what is stored."""

    period: Period
    owner_id: str
    username: str | None
    score: Score
    metadata: str | None
    change: Change


class Removal(NamedTuple):
    """A record to be deleted."""

    period: Period
    owner_id: str


class OwnersRequest(NamedTuple):
    """Whose records to read."""

    period: Period
    owner_ids: tuple[str, ...]


class Claim(NamedTuple):
    """Whether a node may tell of an end; and until when (unix seconds) ends were told, None when the board is gone."""

    granted: bool
    announced_at: int | None


class Left(NamedTuple):
    """A record that is deleted with its owner; `ends_at` in unix seconds."""

    board_id: str
    ends_at: int
    created_at: datetime


class LeaderboardStore:
    """Rows of `leaderboards` and `leaderboard_records`; keeps the ranks of periods in step with what is committed.

    With `ranked` the ranks are those that nodes share.
    """

    def __init__(
        self, database: Database, settings: DatabaseSettings, caches: Caches, ranked: Ranked | None = None
    ) -> None:
        self._database = database
        self._ranked = ranked
        self._kept = KeptRecords(caches.terms)
        caches.show(self._kept)
        limits: dict[str, Any] = {"rows_max": settings.batch_rows_max, "queue_max": settings.batch_queue_max}
        reads: dict[str, Any] = {**limits, "idempotent": True, "lanes": READ_LANES, "bytes_max": READ_BYTES_MAX}
        self._writes: Batch[Submission | Removal, LeaderboardRecord | None] = Batch(
            "leaderboards.write",
            database,
            _write,
            # One owner at a time, whatever the board: the statement finds its parameters by owner.
            key=lambda item: item.owner_id,
            size_bytes=lambda item: len(item.metadata or "") if isinstance(item, Submission) else 0,
            **limits,
        )

        def page_batch(name: str, database: Database) -> Batch[PageRequest, RecordPage]:
            return Batch(name, database, _read_pages, size_bytes=lambda item: item.limit * RECORD_BYTES, **reads)

        self._pages = Reads("leaderboards.page", database, page_batch)
        self._owners: Batch[OwnersRequest, list[LeaderboardRecord]] = Batch(
            "leaderboards.owners",
            database,
            _read_owners,
            size_bytes=lambda item: len(item.owner_ids) * RECORD_BYTES,
            **reads,
        )
        self._finds: Batch[str, Definition | None] = Batch(
            "leaderboards.find", database, _find_boards, idempotent=True, **limits
        )
        self.batches = [self._writes, *self._pages.batches, self._owners, self._finds]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    # -- records

    def submit(self, submission: Submission) -> Awaitable[Any]:
        """Write a score; answers the record with its rank, which the period's ranks know by then."""
        written = self._writes.submit(submission)
        if self._ranked is None:
            return written
        return self._ranked.record(submission.period, submission.owner_id, written)

    def remove(self, removal: Removal) -> Awaitable[Any]:
        """Delete a record, here and in the period's ranks."""
        return self._writes.submit(removal)

    def page(self, request: PageRequest) -> Awaitable[RecordPage]:
        """A page of a board. Equal requests that travel together are given the same page."""
        reading = self._pages.submit(request)
        return reading if self._ranked is None else self._ranked.page(request.period, reading)

    async def owners(self, period: Period, owner_ids: Sequence[str]) -> list[LeaderboardRecord]:
        """The records of some owners, without order; those who have none are absent."""
        if period.ranks is not None:
            found = await self._records(period, period.ranks, [owner_bytes(owner_id) for owner_id in owner_ids])
            return [replace(record, rank=period.rank(owner)) for owner, record in found.items()]
        reading = self._owners.submit(OwnersRequest(period, tuple(owner_ids)))
        return await (reading if self._ranked is None else self._ranked.records(period, owner_ids, reading))

    async def around(self, period: Period, owner_id: str, limit: int) -> RecordPage | None:
        """The window around an owner where ranks in memory tell who is in it; None where they do not."""
        ranks = period.ranks
        window = None if ranks is None else ranks.around(owner_bytes(owner_id), limit)
        if ranks is None or window is None:
            return None
        found = await self._records(period, ranks, [key[-OWNER_BYTES:] for key in window.keys])
        return window_page(period, window, found)

    async def _records(self, period: Period, ranks: Ranks, owners: Sequence[bytes]) -> dict[bytes, LeaderboardRecord]:
        """Records that are kept, or read now; their ranks are old."""

        async def read(wanted: list[bytes]) -> list[tuple[bytes, LeaderboardRecord]]:
            ids = tuple([str(UUID(bytes=owner)) for owner in wanted])
            return [(owner_bytes(one.owner_id), one) for one in await self._owners.submit(OwnersRequest(period, ids))]

        if ranks.kept is None:
            ranks.kept = self._kept.of_period()
        return await ranks.kept.records(owners, read)

    async def rank_count(self, period: Period) -> int:
        """How many owners have a rank; 0 when that is unknown."""
        return period.rank_count if self._ranked is None else await self._ranked.rank_count(period)

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> list[Left]:
        """Delete all records of an owner in the given transaction, and free the seats in tournaments."""
        await tx.execute(SQL["lock_tournaments_of"], user_id)
        await tx.execute(SQL["free_seats_of"], user_id)
        rows = await tx.fetch(SQL["forget"], user_id)
        return [Left(board_id, int(expires_at.timestamp()), created_at) for board_id, expires_at, created_at in rows]

    async def load_ranks(self, periods: Iterable[Period]) -> None:
        """Fill the ranks that are loading from the database, row by row, over a connection of its own."""
        connection = await self._database.connect_directly()
        try:
            for period in periods:
                # Ranks that are replaced meanwhile are loaded again by whoever replaced them.
                ranks = period.ranks
                if ranks is None or not ranks.loading:
                    continue
                async with connection.transaction(readonly=True):
                    cursor = await connection.cursor(SQL["read_order"], period.board_id, period.expires_at)
                    while rows := await cursor.fetch(LOAD_ROWS):
                        ranks.load(rows)
                ranks.loaded()
        finally:
            await connection.close()

    # -- boards

    def find_board(self, id: str) -> Awaitable[Definition | None]:
        """A definition, or None."""
        return self._finds.submit(id)

    async def all_boards(self) -> list[Definition]:
        """Every definition, of leaderboards and tournaments."""
        return [_definition(row) for row in await self._database.fetch(SQL["all_boards"])]

    async def list_boards(self, after: str, limit: int) -> list[Leaderboard]:
        """Up to `limit` leaderboards behind an id, in order of id."""
        return [_definition(row).board for row in await self._database.fetch(SQL["list_boards"], after, limit)]

    async def create_board(self, wanted: Definition, size_ends_at: int = 0) -> Definition | None:
        """The definition as stored; None when the id is taken. Its `created_at` is the database's.

        `size_ends_at` is the end of the period in which a tournament's seats are counted first.
        """
        board, terms = wanted.board, wanted.terms or PLAIN
        row = await self._database.fetchrow(
            SQL["create_board"],
            board.id,
            board.authoritative,
            board.sort,
            board.operator,
            board.reset,
            board.metadata,
            board.enable_ranks,
            terms.duration_seconds,
            utc(terms.start_time),
            utc(terms.end_time),
            *terms[3:],
            utc(size_ends_at),
            utc(wanted.announced_at),
        )
        return _definition(row) if row else None

    async def delete_board(self, id: str, *, tournament: bool) -> bool:
        """Delete a definition of this kind and all its records; whether there was one."""
        async with self._database.transaction() as tx:
            deleted = await tx.fetchrow(SQL["delete_board"], id, tournament)
            if deleted:
                await tx.execute(SQL["delete_records"], id)
        return deleted is not None

    async def claim_end(self, id: str, moment: int, node: str) -> Claim:
        """Take it upon this node to tell of what ends at a moment (unix seconds); again to go on with it."""
        row = await self._database.fetchrow(SQL["claim_end"], id, utc(moment), node, CLAIM_SECONDS)
        if row is None:
            return Claim(False, None)
        return Claim(row[0], math.floor(row[1].timestamp()))

    async def release_end(self, id: str, node: str) -> None:
        """Leave it to others, or to later."""
        await self._database.execute(SQL["release_end"], id, node)

    async def mark_announced(self, id: str, moment: int) -> None:
        """Remember that what ended on a board until this moment (unix seconds) was told."""
        await self._database.execute(SQL["mark_announced"], id, utc(moment))


# -- scores


async def _write(
    connection: asyncpg.Connection, items: list[Submission | Removal]
) -> list[LeaderboardRecord | Exception | None]:
    """Write and delete records of different owners, and bring the ranks up to date in the order of commits."""
    submissions = sorted((item for item in items if isinstance(item, Submission)), key=_by_owner)
    removals = sorted((item for item in items if isinstance(item, Removal)), key=_by_owner)
    outcomes: dict[str, LeaderboardRecord | Exception] = {}
    if submissions:
        await _write_scores(connection, submissions, outcomes)
    if removals:
        try:
            await _delete(connection, removals)
        except _FAILED:
            if not submissions:
                raise
            # The scores are committed, so this may not fail as a whole.
            outcomes.update({item.owner_id: OutcomeUnknown() for item in removals})
    return [outcomes.get(item.owner_id) for item in items]


async def _delete(connection: asyncpg.Connection, removals: Sequence[Removal]) -> None:
    created_at = await delete_records(connection, [(item.period, item.owner_id) for item in removals])
    for item in removals:
        if item.period.ranks is not None:
            item.period.ranks.remove(owner_bytes(item.owner_id))
        elif item.period.shared is not None and (made := created_at.get((item.period.board_id, item.owner_id))):
            item.period.shared.remove(owner_bytes(item.owner_id), made)


async def delete_records(
    connection: asyncpg.Connection, pairs: Sequence[tuple[Period, str]]
) -> dict[tuple[str, str], datetime]:
    """Delete records, and answer when those that were there had been created, by board and owner."""
    rows = await connection.fetchmany(
        SQL["remove"], [(period.board_id, period.expires_at, owner_id) for period, owner_id in pairs]
    )
    return {(board_id, owner_id): created_at for board_id, owner_id, created_at in rows}


async def _write_scores(
    connection: asyncpg.Connection,
    submissions: Sequence[Submission],
    outcomes: dict[str, LeaderboardRecord | Exception],
) -> None:
    left = _settle(submissions, await _submit(connection, submissions), outcomes)
    try:
        for _ in range(ATTEMPTS_MAX):
            if not left:
                break
            left = _settle(left, await _submit(connection, left), outcomes)
    except _FAILED:
        # The others are committed, so this may not fail as a whole.
        outcomes.update({item.owner_id: OutcomeUnknown() for item in left})
    else:
        outcomes.update({item.owner_id: Unavailable() for item in left})


async def _submit(connection: asyncpg.Connection, items: Sequence[Submission]) -> list[asyncpg.Record]:
    return await connection.fetch(
        SQL["submit"],
        *places((item.period, item.owner_id) for item in items),
        [item.username for item in items],
        [item.score.score for item in items],
        [item.score.subscore for item in items],
        [item.metadata for item in items],
        [item.change for item in items],
    )


def _settle(
    items: Sequence[Submission],
    rows: Iterable[asyncpg.Record],
    outcomes: dict[str, LeaderboardRecord | Exception],
) -> list[Submission]:
    """Note ranks and records; returns the submissions that met a record another node wrote, to be tried again."""
    found = {row[0]: row for row in rows}
    settled: list[tuple[Submission, asyncpg.Record, bytes]] = []
    left: list[Submission] = []
    for item in items:
        row = found.get(item.owner_id)
        if row is None:
            left.append(item)
            continue
        owner = owner_bytes(item.owner_id)
        if item.period.ranks is not None:
            item.period.ranks.set(owner, row[2], row[3])
        elif item.period.shared is not None:
            item.period.shared.set(owner, row[2], row[3], row[7], row[4])
        settled.append((item, row, owner))
    for item, row, owner in settled:
        outcomes[item.owner_id] = record_of(item.period, row, item.period.rank(owner))
    return left


def _by_owner(item: Submission | Removal) -> str:
    """Canonical ids sort as texts as PostgreSQL sorts their bytes."""
    return item.owner_id


def places(pairs: Iterable[tuple[Period, str]]) -> tuple[list[Any], list[Any], list[str]]:
    """Boards, ends of periods and owners, as three arrays."""
    boards, ends, owners = [], [], []
    for period, owner_id in pairs:
        boards.append(period.board_id)
        ends.append(period.expires_at)
        owners.append(owner_id)
    return boards, ends, owners


# -- pages


async def _read_pages(connection: asyncpg.Connection, requests: list[PageRequest]) -> list[RecordPage]:
    """Answer each different request once: one statement for all that read downwards, one for those that read up."""
    different = list(dict.fromkeys(requests))
    pages: dict[PageRequest, RecordPage] = {}
    for query, downwards in (("read_down", True), ("read_up", False)):
        group = [request for request in different if request.downwards == downwards]
        if not group:
            continue
        starts = [request.start for request in group]
        rows = await connection.fetch(
            SQL[query],
            [request.period.board_id for request in group],
            [request.period.expires_at for request in group],
            [start.score for start in starts],
            [start.subscore for start in starts],
            [start.owner_id for start in starts],
            [request.limit + 1 for request in group],
        )
        of_request: list[list[Any]] = [[] for _ in group]
        for row in rows:
            of_request[row[0] - 1].append(row[1:])
        for request, found in zip(group, of_request, strict=True):
            pages[request] = page_of(request, found)
    return [pages[request] for request in requests]


async def _read_owners(connection: asyncpg.Connection, requests: list[OwnersRequest]) -> list[list[LeaderboardRecord]]:
    wanted = [(at, owner_id) for at, request in enumerate(requests) for owner_id in request.owner_ids]
    rows = await connection.fetch(
        SQL["read_owners"], *places((requests[at].period, owner_id) for at, owner_id in wanted)
    )
    found: list[list[LeaderboardRecord]] = [[] for _ in requests]
    for row in rows:
        at, _ = wanted[row[0] - 1]
        found[at].append(record_of(requests[at].period, row[1:], 0))
    return found


# -- boards


async def _find_boards(connection: asyncpg.Connection, ids: list[str]) -> list[Definition | None]:
    rows = await connection.fetch(SQL["find_boards"], list(set(ids)))
    found = {row[0]: _definition(row) for row in rows}
    return [found.get(id) for id in ids]


def _definition(row: asyncpg.Record) -> Definition:
    id, authoritative, sort, operator, *rest = row[:8]
    duration_seconds, start_at, end_at, *texts_and_limits, announced_at = row[8:]
    terms = None
    if duration_seconds:
        terms = Terms(duration_seconds, int(start_at.timestamp()), int(end_at.timestamp()), *texts_and_limits)
    board = Leaderboard(id, authoritative, Sort(sort), Operator(operator), *rest)
    return Definition(board, terms, math.floor(announced_at.timestamp()))
