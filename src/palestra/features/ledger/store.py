"""Rounds of entries, written by one statement each: decided upon what this node knows, kept only if that was so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
from msgspec.structs import astuple

from palestra.core.clock import Clock
from palestra.core.config import DatabaseSettings
from palestra.core.errors import Unavailable
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.ledger.book import STRIPES, Book, GuardRow, HoldRow, LineIds, Missing, Row
from palestra.features.ledger.contract import (
    Beside,
    Entry,
    Guard,
    KeyConflict,
    KeyRetired,
    Line,
    LineKind,
    Receipt,
)
from palestra.features.ledger.rules import Draft, digest_of, missing, same_content

SQL = load_queries(__file__)
LANES = 2
"""Rounds in flight: while PostgreSQL works on one, the next is decided."""
FURTHER_LANE_ROWS_MIN = 128
HALVE_FROM = 16
"""See Batch: a crowd of this many is worked on in two halves, which take turns with the database."""
ROWS_MAX = 1_000
HASTY_ATTEMPTS_MAX = 2
"""How often a round is tried upon what this node believes before it locks what it touches."""
CAREFUL_ATTEMPTS_MAX = 3
"""How often one that looks for keys first is tried when another uses one of them between looking and writing."""
CAREFUL_ROUNDS = 32
"""After a repeated key was met, this many rounds look for keys first: repetitions come in swarms."""
STALE = "LE001"
_KINDS = tuple(LineKind)

Outcome = Receipt | Exception


class Submitted:
    """An entry on its way, with the digest of its key and its bytes."""

    __slots__ = ("digest", "entry", "size")

    def __init__(self, entry: Entry, size: int) -> None:
        self.entry = entry
        self.digest = None if entry.key is None else digest_of(entry.key)
        self.size = size


class Strand:
    """The end of a writer's chain: how many lines it has, and the hash of the latest."""

    __slots__ = ("hash", "id", "lines")

    def __init__(self, strand_id: int, lines: int, head: bytes) -> None:
        self.id = strand_id
        self.lines = lines
        self.hash = head


class _Writer:
    """What belongs to one connection of a lane: its strand, and the row of hot accounts that it writes to."""

    __slots__ = ("strand", "stripe")

    def __init__(self, strand: Strand, stripe: int) -> None:
        self.strand = strand
        self.stripe = stripe


class _Stale(Unavailable):
    """The state upon which a round was decided is no more; nothing was written. It is decided again.

    Only where that does not help, because somebody meddled with a strand, does it reach the callers.
    """

    def __init__(self) -> None:
        super().__init__("The ledger was changed under this request, and nothing was done: try again.")


class LedgerStore:
    """Writes entries. Everything that decides is in `rules`; this reads what they need and writes what they say."""

    def __init__(
        self, database: Database, settings: DatabaseSettings, clock: Clock, guard: Guard | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._guard = guard
        self._book = Book()
        self._ids = LineIds(int.from_bytes(os.urandom(2)))
        self._writers: WeakKeyDictionary[asyncpg.Connection, _Writer] = WeakKeyDictionary()
        self._next_stripe = int.from_bytes(os.urandom(1))
        self._in_flight: list[asyncio.Future[None]] = []
        self._careful = 0
        self.conflicts = 0
        """Rounds that were decided upon a state that was no more; they were decided again."""
        self._entries: Batch[Submitted, Receipt] = Batch(
            "ledger.submit",
            database,
            self._round,
            key=lambda item: item.digest or item,
            size_bytes=lambda item: item.size,
            rows_max=max(settings.batch_rows_max, ROWS_MAX),
            queue_max=settings.batch_queue_max,
            lanes=LANES,
            further_lane_rows_min=FURTHER_LANE_ROWS_MIN,
            halve_from=HALVE_FROM,
        )
        self.batches = [self._entries]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batch."""
        await self._entries.stop()

    def submit(self, item: Submitted) -> asyncio.Future[Receipt]:
        """Carry an entry out in a round shared with others."""
        return self._entries.submit(item)

    def forget_accounts(self, ids: Iterable[int]) -> None:
        """Accounts changed by another way than a round of this node: read them anew."""
        self._book.drop(ids)

    # -- a round

    async def _round(self, connection: asyncpg.Connection, items: list[Submitted]) -> Sequence[Outcome]:
        """Decide and write the entries of one round; their outcomes in order."""
        writer = self._writers.get(connection) or await self._begin(connection)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        earlier = list(self._in_flight)
        self._in_flight.append(done)
        try:
            outcomes = await self._hastily(connection, writer, items, earlier)
            if outcomes is None:
                outcomes = await self._carefully(connection, writer.strand, writer.stripe, items)
            return outcomes
        except BaseException:
            # Whether the strand in hand is still that of the database is not known: the next round begins a new one.
            self._writers.pop(connection, None)
            raise
        finally:
            self._in_flight.remove(done)
            done.set_result(None)

    async def _hastily(
        self,
        connection: asyncpg.Connection,
        writer: _Writer,
        items: list[Submitted],
        earlier: list[asyncio.Future[None]],
    ) -> Sequence[Outcome] | None:
        """The outcomes of a round that locks nothing before it writes; None when it has to be done with locks."""
        if self._careful:
            self._careful -= 1
            return None
        for _ in range(HASTY_ATTEMPTS_MAX):
            try:
                return await self._hasty(connection, writer, items)
            except (_Stale, asyncpg.CheckViolationError):
                # The rules let nothing happen that the checks would refuse, so these too tell of another state.
                self.conflicts += 1
                # What this was decided upon may be what an earlier round is still about to write.
                if earlier:
                    await asyncio.wait(earlier)
            except asyncpg.UniqueViolationError as error:
                if not _is_ours(error):
                    raise
                self._careful = CAREFUL_ROUNDS
                return None
        return None

    async def _carefully(
        self, connection: asyncpg.Connection, strand: Strand, stripe: int, items: list[Submitted]
    ) -> Sequence[Outcome]:
        """The outcomes of a round that looks for its keys and locks its rows, in a transaction or a savepoint."""
        for _ in range(CAREFUL_ATTEMPTS_MAX - 1):
            try:
                async with connection.transaction():
                    return await self._locked(connection, strand, stripe, items)
            except asyncpg.UniqueViolationError as error:
                # Whoever used the key meanwhile has committed, so looking again finds it.
                if not _is_ours(error):
                    raise
        async with connection.transaction():
            return await self._locked(connection, strand, stripe, items)

    async def _begin(self, connection: asyncpg.Connection) -> _Writer:
        """A strand and a stripe for a new connection of a lane."""
        # Nested loops update rows in the order in which they are sent, so that rounds cannot deadlock.
        await connection.execute("SET enable_hashjoin = off; SET enable_mergejoin = off")
        await connection.execute(SQL["flush_on_commit"], False)
        strand = Strand(*(await _row(connection, "begin_strand", False))[:3])
        self._next_stripe += 1
        writer = self._writers[connection] = _Writer(strand, self._next_stripe % STRIPES)
        return writer

    async def _hasty(
        self, connection: asyncpg.Connection, writer: _Writer, items: list[Submitted]
    ) -> Sequence[Outcome]:
        """Decide upon the book, and let the statement check that it was right. Raises _Stale, UniqueViolationError."""
        book, entries = self._book, [item.entry for item in items]
        await self._learn(connection, book, entries, writer.stripe, lock=False)
        draft, outcomes, columns = self._decided(book, writer.strand, writer.stripe, items)
        beside = _beside(items, outcomes)
        try:
            await self._recall(connection, items, outcomes)
            if beside:
                async with connection.transaction():
                    await _write(connection, columns)
                    await _write_beside(connection, beside)
            else:
                await _write(connection, columns)
        except BaseException:
            book.forget(draft.rows, (*draft.holds_made, *draft.holds_ended), (guard for guard, _ in draft.guards))
            raise
        _advance(writer.strand, draft)
        book.learn((), draft.holds_made, ())
        return outcomes

    async def _locked(
        self, connection: asyncpg.Connection, strand: Strand, stripe: int, items: list[Submitted]
    ) -> Sequence[Outcome]:
        """Look for keys, lock all that the entries touch, decide upon that, and write, in an open transaction."""
        repeats = await self._repeats(connection, items)
        fresh = [item for item, repeat in zip(items, repeats, strict=True) if repeat is None]
        book, entries = Book(), [item.entry for item in fresh]
        await self._learn(connection, book, entries, stripe, lock=True)
        draft, decided, columns = self._decided(book, strand, stripe, fresh)
        beside = _beside(fresh, decided)
        try:
            # Whoever held the rows until now may have used the keys.
            await self._recall(connection, fresh, decided)
            await _write(connection, columns)
            await _write_beside(connection, beside)
        finally:
            self._book.drop({row.account for row in draft.rows}, book.holds, book.guards)
        _advance(strand, draft)
        others = iter(decided)
        return [next(others) if repeat is None else repeat for repeat in repeats]

    def _decided(
        self, book: Book, strand: Strand, stripe: int, items: Sequence[Submitted]
    ) -> tuple[Draft, list[Outcome], list[Any]]:
        """Apply the entries, and gather what is to be written before any other round can change the rows further."""
        version = int.from_bytes(os.urandom(8)) >> 1
        now = self._clock.now()
        draft = Draft(book, self._ids, self._guard, stripe=stripe, now=now, head=strand.hash, version=version)
        outcomes = [draft.apply(item.entry, item.digest) for item in items]
        return draft, outcomes, _columns(strand, draft)

    async def _learn(
        self, connection: asyncpg.Connection, book: Book, entries: Sequence[Entry], stripe: int, *, lock: bool
    ) -> None:
        """Read until the book has all of what entries need but what does not exist."""
        nowhere: Missing | None = None
        # Whatever else is missing by now was forgotten by a round that failed during the reading.
        while (wanted := missing(entries, book, stripe, self._guard is not None)) and wanted != nowhere:
            if not await self._read(connection, book, wanted, lock=lock):
                nowhere = wanted

    async def _read(self, connection: asyncpg.Connection, book: Book, wanted: Missing, *, lock: bool) -> bool:
        """Read what the book misses; False when nothing of it exists."""
        if wanted.holds:
            # Their accounts come next; a locking reader reads the holds again then, since one may just have ended.
            rows = await connection.fetch(SQL["read_holds"], list(wanted.holds))
            book.learn((), (HoldRow(*row) for row in rows), ())
            if rows:
                return True
        if wanted.rows:
            keys = [(key, 0) if key > 0 else (-(-key // STRIPES), -key % STRIPES) for key in sorted(wanted.rows)]
            accounts, stripes = zip(*keys, strict=True)
            found = await connection.fetch(SQL["lock_rows" if lock else "read_rows"], accounts, stripes)
            book.learn((Row(*row) for row in found), (), ())
            if lock and book.holds:
                held = await connection.fetch(SQL["read_holds"], list(book.holds))
                book.holds.clear()
                book.learn((), (HoldRow(*row) for row in held), ())
            if found:
                return True
        if wanted.guards:
            try:
                await connection.execute(SQL["make_guards"], sorted(wanted.guards))
            except asyncpg.ForeignKeyViolationError:
                # A player is being deleted right now, which the versions of their rows will tell.
                if lock:
                    raise
            states = await connection.fetch(SQL["lock_guards" if lock else "read_guards"], list(wanted.guards))
            book.learn((), (), (GuardRow(*row) for row in states))
            return bool(states)
        return False

    async def _recall(
        self, connection: asyncpg.Connection, items: Sequence[Submitted], outcomes: list[Outcome]
    ) -> None:
        """Answer refused entries whose keys were used before as they were answered then, whatever forbids them now."""
        refused = [at for at, item in enumerate(items) if item.digest and isinstance(outcomes[at], Exception)]
        if refused:
            for at, repeat in zip(refused, await self._repeats(connection, [items[at] for at in refused]), strict=True):
                outcomes[at] = outcomes[at] if repeat is None else repeat

    async def _repeats(
        self, connection: asyncpg.Connection, items: Sequence[Submitted]
    ) -> list[Receipt | Exception | None]:
        """Of each entry, the answer if its key was used before."""
        digests = [item.digest for item in items if item.digest is not None]
        used = {row[0]: row[1] for row in await connection.fetch(SQL["read_keys"], digests)} if digests else {}
        return [
            await self._repeat(connection, item, used[item.digest]) if item.digest in used else None for item in items
        ]

    async def _repeat(self, connection: asyncpg.Connection, item: Submitted, entry_id: int | None) -> Outcome:
        if entry_id is None:
            if item.entry.steps:
                return KeyRetired("A tombstone lies under the key: nothing can happen under it any more.")
            return Receipt(0, (), repeated=True)
        lines = await read_entry(connection, entry_id)
        holds = [line.hold for line in lines if line.hold is not None]
        held = {row["id"]: row["amount"] for row in await connection.fetch(SQL["read_holds"], holds)} if holds else {}
        if same_content(item.entry, lines, held):
            return Receipt(entry_id, lines, repeated=True)
        return KeyConflict("The key was used before, for an entry of different content.")

    # -- in somebody else's transaction

    async def submit_in(self, tx: asyncpg.Connection, item: Submitted) -> Receipt:
        """Carry an entry out in a transaction of the caller's. Raises what refuses it."""
        await tx.execute(SQL["flush_on_commit"], True)
        row = await tx.fetchrow(SQL["take_strand"]) or await _row(tx, "begin_strand", True)
        # The lines of a strand are in the order of their ids, whichever node wrote those before.
        self._ids.after(row["last"])
        (outcome,) = await self._carefully(tx, Strand(*row[:3]), 0, [item])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _is_ours(error: asyncpg.UniqueViolationError) -> bool:
    """Whether a key or an id was taken, rather than something in a row that another feature writes beside."""
    return str(getattr(error, "table_name", "")).startswith("ledger_")


def _advance(strand: Strand, draft: Draft) -> None:
    strand.lines += len(draft.lines)
    strand.hash = draft.head


def _beside(items: Sequence[Submitted], outcomes: Sequence[Outcome]) -> dict[Beside, list[Any]]:
    """The rows of other features that go with the entries that happen, by their writers."""
    found: dict[Beside, list[Any]] = {}
    for item, outcome in zip(items, outcomes, strict=True):
        if item.entry.beside and not isinstance(outcome, Exception):
            for writer, row in item.entry.beside:
                found.setdefault(writer, []).append(row)
    return found


async def _write_beside(connection: asyncpg.Connection, beside: dict[Beside, list[Any]]) -> None:
    for writer, rows in beside.items():
        await writer.write(connection, rows)


async def _write(connection: asyncpg.Connection, columns: list[Any]) -> None:
    """Send one round. Raises _Stale when the database is in another state."""
    if not columns:
        return
    try:
        await connection.fetchval(SQL["commit"], *columns)
    except asyncpg.PostgresError as error:
        if getattr(error, "sqlstate", None) == STALE:
            raise _Stale from None
        raise


async def _row(connection: asyncpg.Connection, name: str, *arguments: Any) -> asyncpg.Record:
    row = await connection.fetchrow(SQL[name], *arguments)
    assert row is not None
    return row


async def read_entry(connection: asyncpg.Connection | Database, entry_id: int) -> tuple[Line, ...]:
    """The lines of an entry. One round trip."""
    return tuple(line_of(row) for row in await connection.fetch(SQL["read_entry"], entry_id))


def line_of(row: Any) -> Line:
    """A line from its row."""
    return Line(row[0], row[1], _KINDS[row[2]], *row[3:])


def _columns(strand: Strand, draft: Draft) -> list[Any]:
    """The arguments of the statement `commit`, a column each of what a draft writes; none if it writes nothing."""
    if not (draft.rows or draft.guards or draft.keys):
        return []
    rows = sorted(
        (row.account, row.stripe, version, row.balance, row.held, row.last)
        for row, version in zip(draft.rows, draft.versions, strict=True)
    )
    guards = sorted((guard.player_id, version, guard.state) for guard, version in draft.guards)
    keys = sorted(draft.keys)
    strand_id = strand.id
    return [
        rows,
        [player_id for player_id, _, _ in guards],
        [version for _, version, _ in guards],
        [state for _, _, state in guards],
        [hold.id for hold in draft.holds_ended],
        [hold.status for hold in draft.holds_ended],
        [digest for digest, _ in keys],
        [entry for _, entry in keys],
        [hold.id for hold in draft.holds_made],
        [(*astuple(line), strand_id, head) for line, head in zip(draft.lines, draft.hashes, strict=True)],
        strand_id,
        strand.lines,
        draft.head,
        draft.lines[-1].id if draft.lines else 0,
        draft.version,
        [hold.measure for hold in draft.holds_made],
    ]
