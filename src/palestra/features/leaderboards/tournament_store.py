"""The rows of tournaments: attempts, joins and withdrawals share transactions; seats and lists are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from palestra.cluster.cache import Caches
from palestra.cluster.pages import Pages
from palestra.core.clock import utc
from palestra.core.config import DatabaseSettings
from palestra.core.errors import PalestraError
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.features.leaderboards.boards import Period
from palestra.features.leaderboards.contract import LeaderboardRecord, TournamentNotFound, TournamentPage
from palestra.features.leaderboards.pages import record_of
from palestra.features.leaderboards.ranked import Ranked, owner_bytes
from palestra.features.leaderboards.rules import (
    Change,
    Score,
    Seats,
    Standing,
    Terms,
    TournamentFilter,
    attempted,
    granted,
    joined,
)
from palestra.features.leaderboards.store import SQL, delete_records, places

ENTRY_BYTES = 256
"""What an entry counts in a round trip beside its metadata."""
PAGE_BYTES = 32_768
"""About what a page takes in memory, also in JSON."""


class Attempt(NamedTuple):
    """A score to be written. `metadata` is JSON text, None to keep what is stored."""

    period: Period
    owner_id: str
    terms: Terms
    username: str | None
    score: Score
    metadata: str | None
    change: Change


class Join(NamedTuple):
    """A seat to be taken."""

    period: Period
    owner_id: str
    terms: Terms
    username: str | None


class Grant(NamedTuple):
    """Attempts to be added, or taken away."""

    period: Period
    owner_id: str
    terms: Terms
    attempts: int


class Withdrawal(NamedTuple):
    """A record to be deleted, with the seat it holds."""

    period: Period
    owner_id: str
    terms: Terms


Entry = Attempt | Join | Grant | Withdrawal
Outcome = LeaderboardRecord | PalestraError | None


class TournamentStore:
    """Rows of `leaderboards` that are tournaments, and their records; keeps ranks in step with what is committed."""

    def __init__(
        self, database: Database, settings: DatabaseSettings, caches: Caches, ranked: Ranked | None = None
    ) -> None:
        self._database = database
        self._caches = caches
        self._ranked = ranked
        self._pages: Pages[TournamentPage] | None = None
        # One lane, so that ranks are brought up to date in the order of commits.
        self._entries: Batch[Entry, LeaderboardRecord | None] = Batch(
            "tournaments.write",
            database,
            self._write,
            key=lambda entry: (entry.period.board_id, entry.owner_id),
            size_bytes=lambda entry: ENTRY_BYTES + (len(entry.metadata or "") if isinstance(entry, Attempt) else 0),
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
        )
        self.batches = [self._entries]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    def pages(self, load: Callable[..., Awaitable[TournamentPage]]) -> Pages[TournamentPage]:
        """Lists of tournaments as `load` makes them, kept until seats are taken or given up."""
        self._pages = Pages("tournament_pages", self._caches, load, PAGE_BYTES, self._caches.page_terms)
        return self._pages

    async def _write(self, connection: asyncpg.Connection, entries: list[Entry]) -> list[Outcome]:
        taken = True
        try:
            outcomes, taken = await _write(connection, entries)
            return outcomes
        finally:
            if taken and self._pages is not None:
                self._pages.invalidate_all()

    def write(self, entry: Entry) -> Awaitable[Any]:
        """Make an attempt, join, or the like; answers the record it leads to, with its rank, or None."""
        written = self._entries.submit(entry)
        return written if self._ranked is None else self._ranked.record(entry.period, entry.owner_id, written)

    async def seats(self, ids: Sequence[str]) -> dict[str, Seats]:
        """How many take part in some tournaments, by id; those that do not exist are absent. One round trip."""
        return {row[0]: _seats(row) for row in await self._database.fetch(SQL["read_seats"], ids)}

    async def list(self, wanted: TournamentFilter, limit: int) -> list[tuple[str, Seats]]:
        """The ids of up to `limit` tournaments in order, each with its seats. One round trip."""
        place = wanted.after
        rows = await self._database.fetch(
            SQL["list_tournaments"],
            utc(place.start_time),
            utc(place.end_time),
            place.category,
            place.id,
            wanted.category_start,
            wanted.category_end,
            utc(wanted.ends_after),
            utc(wanted.ends_until),
            wanted.endless,
            limit,
        )
        return [(row[0], _seats(row)) for row in rows]


def _seats(row: asyncpg.Record) -> Seats:
    return Seats(row[1], int(row[2].timestamp()))


async def _write(connection: asyncpg.Connection, entries: list[Entry]) -> tuple[list[Outcome], bool]:
    """Lock the tournaments, look, decide each entry by itself, write what may happen. One transaction.

    Answers what came of each, and whether seats are counted anew.
    """
    async with connection.transaction():
        rows = await connection.fetch(SQL["lock_tournaments"], list({entry.period.board_id for entry in entries}))
        seats = {row[0]: _seats(row) for row in rows}
        counted = dict(seats)
        stored = await _stored(connection, entries)
        decisions = [_decided(entry, row, counted) for entry, row in zip(entries, stored, strict=True)]
        written = await _put(connection, entries, stored, decisions)
        removed = [entry for entry, row in zip(entries, stored, strict=True) if row and isinstance(entry, Withdrawal)]
        gone: dict[tuple[str, str], datetime] = {}
        if removed:
            gone = await delete_records(connection, [(entry.period, entry.owner_id) for entry in removed])
        if counted != seats:
            changed = [(id, now.taken, utc(now.ends_at)) for id, now in counted.items() if now != seats[id]]
            await connection.execute(SQL["set_seats"], *zip(*changed, strict=True))
    _rank(entries, written, removed, gone)
    outcomes = [
        _outcome(entry, decision, written.get((entry.period.board_id, entry.owner_id)) or row)
        for entry, decision, row in zip(entries, decisions, stored, strict=True)
    ]
    return outcomes, counted != seats


async def _stored(connection: asyncpg.Connection, entries: list[Entry]) -> list[tuple[Any, ...] | None]:
    """The record of each entry's owner, from the owner's id on, if there is one."""
    rows = await connection.fetch(SQL["read_owners"], *places((entry.period, entry.owner_id) for entry in entries))
    found = {row[0]: row[1:] for row in rows}
    return [found.get(at) for at in range(1, len(entries) + 1)]


def _decided(entry: Entry, row: tuple[Any, ...] | None, counted: dict[str, Seats]) -> Standing | PalestraError | None:
    """Where the owner stands afterwards, if that changes; `counted` is kept up to date."""
    board_id, terms = entry.period.board_id, entry.terms
    if board_id not in counted:
        return TournamentNotFound()
    seats = counted[board_id].in_period(entry.period.ends_at)
    before = Standing(Score(row[2], row[3]), *row[4:7]) if row else None
    after = None
    try:
        if isinstance(entry, Attempt):
            after = attempted(terms, before, seats, entry.change, entry.score, entry.metadata)
        elif isinstance(entry, Join) and before is None:
            after = joined(terms, seats)
        elif isinstance(entry, Grant):
            after = granted(before, entry.attempts)
    except PalestraError as error:
        return error
    if seats is not None and terms.seats_counted:
        taken = int(before is None and after is not None) - int(before is not None and isinstance(entry, Withdrawal))
        counted[board_id] = Seats(seats.taken + taken, seats.ends_at) if taken else counted[board_id]
    return after


async def _put(
    connection: asyncpg.Connection,
    entries: list[Entry],
    stored: list[tuple[Any, ...] | None],
    decisions: list[Standing | PalestraError | None],
) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Write the records that change; answers them by board and owner."""
    made = [
        (entry, entry.username if isinstance(entry, Attempt | Join) else row and row[1], after)
        for entry, row, after in zip(entries, stored, decisions, strict=True)
        if isinstance(after, Standing)
    ]
    if not made:
        return {}
    rows = await connection.fetch(
        SQL["put_standings"],
        *places((entry.period, entry.owner_id) for entry, _, _ in made),
        [username for _, username, _ in made],
        [after.score.score for _, _, after in made],
        [after.score.subscore for _, _, after in made],
        [after.num_score for _, _, after in made],
        [after.max_num_score for _, _, after in made],
        [after.metadata for _, _, after in made],
    )
    return {(row[0], row[1]): row[1:] for row in rows}


def _rank(
    entries: list[Entry],
    written: dict[tuple[str, str], tuple[Any, ...]],
    removed: list[Withdrawal],
    gone: dict[tuple[str, str], datetime],
) -> None:
    """Bring the ranks up to date with what is committed."""
    for entry in entries:
        row = written.get((entry.period.board_id, entry.owner_id))
        if row is not None and entry.period.ranks is not None:
            entry.period.ranks.set(owner_bytes(entry.owner_id), row[2], row[3])
        elif row is not None and entry.period.shared is not None:
            entry.period.shared.set(owner_bytes(entry.owner_id), row[2], row[3], row[7], row[4])
    for entry in removed:
        if entry.period.ranks is not None:
            entry.period.ranks.remove(owner_bytes(entry.owner_id))
        elif entry.period.shared is not None and (made := gone.get((entry.period.board_id, entry.owner_id))):
            entry.period.shared.remove(owner_bytes(entry.owner_id), made)


def _outcome(entry: Entry, decision: Standing | PalestraError | None, row: tuple[Any, ...] | None) -> Outcome:
    if isinstance(decision, PalestraError):
        return decision
    if row is None or isinstance(entry, Withdrawal):
        return None
    return record_of(entry.period, row, entry.period.rank(owner_bytes(entry.owner_id)))
