"""The rows of stored objects: shared round trips for single writes and reads, transactions for everything atomic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import asyncpg

from palestra.cluster.cache import Cache, Caches
from palestra.core.config import DatabaseSettings
from palestra.core.errors import Unavailable
from palestra.core.ids import SYSTEM_USER
from palestra.database.batch import Batch
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.storage.contract import CREATE_ONLY, READ_PUBLIC, Ack, Contended, NotStorable, StoredObject
from palestra.features.storage.index_rules import IndexChange
from palestra.features.storage.index_store import change_indexes
from palestra.features.storage.rules import (
    Expected,
    Id,
    OwnerPosition,
    Row,
    SharedPosition,
    Standing,
    changes,
    check_deletes,
    fold,
    id_of,
)

SQL = load_queries(__file__)
ATTEMPTS_MAX = 8
"""How often a write is tried again because others changed the same objects meanwhile."""
READ_ID_BYTES = 1024
"""What one object to be read counts in a round trip, whose size cannot be known before."""
READ_LANES = 2
OBJECT_BYTES = 500
"""About what an object takes in memory beside its value."""

# Well-formed JSON that PostgreSQL cannot hold all the same: numbers beyond its range, nesting beyond its stack.
_UNSTORABLE = (asyncpg.DataError, asyncpg.StatementTooComplexError, asyncpg.ProgramLimitExceededError)


class StorageStore:
    """Reads and writes rows of `objects`; knows no permissions but those of writing."""

    def __init__(self, database: Database, settings: DatabaseSettings, caches: Caches) -> None:
        self._database = database
        self._public: Cache[StoredObject] = Cache(
            "server_objects", caches, self._load_public, caches.terms, lambda one: OBJECT_BYTES + len(one.value)
        )
        self._overwrites = self._write_batch("storage.write", settings, create_only=False, trusted=False)
        self._server_overwrites = self._write_batch("storage.write_server", settings, create_only=False, trusted=True)
        self._creations = self._write_batch("storage.create", settings, create_only=True, trusted=False)
        self._reads: Batch[Sequence[Id], list[StoredObject]] = Batch(
            "storage.read",
            database,
            _read,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            size_bytes=lambda ids: len(ids) * READ_ID_BYTES,
            lanes=READ_LANES,
            idempotent=True,
        )
        lookups = Lookups("storage.lookup", database, settings)
        names = ("list_of_owner", "list_public", "list_all")
        self._lists = {name: lookups.of(SQL[name], by_limit) for name in names}
        self.batches = [self._overwrites, self._server_overwrites, self._creations, self._reads, *lookups.batches]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    def _write_batch(
        self, name: str, settings: DatabaseSettings, *, create_only: bool, trusted: bool
    ) -> Batch[Row, Ack]:
        write = partial(_write, create_only=create_only, trusted=trusted)

        async def execute(connection: asyncpg.Connection, rows: list[Row]) -> list[Ack | Exception]:
            try:
                return await write(connection, rows)
            finally:
                # Here, and not where the caller waits: one that gives up keeps nothing from being written.
                self._changed([row.id for row in rows])

        return Batch(
            name,
            self._database,
            execute,
            key=lambda row: row.id,
            size_bytes=_bytes_of,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
        )

    # -- writes

    async def write_one(self, row: Row) -> Ack:
        """One write that overwrites or creates, in a round trip shared with others.

        Writes of one object in one round trip would collide, so they go one after the other in order of submission.
        Raises VersionRejected, WriteDenied, NotStorable, Contended.
        """
        if row.expected == CREATE_ONLY:
            batch = self._creations
        else:
            batch = self._server_overwrites if row.trusted else self._overwrites
        try:
            return await batch.submit(row)
        except _UNSTORABLE:
            raise NotStorable from None

    async def write_all(self, rows: Sequence[Row]) -> list[Ack]:
        """Several writes, or one that depends on a version, all or nothing in a transaction of their own.

        Raises VersionRejected, WriteDenied, NotStorable, Contended.
        """
        for _ in range(ATTEMPTS_MAX):
            try:
                async with self._database.transaction() as tx:
                    return await _write_all(tx, rows)
            except asyncpg.DeadlockDetectedError:
                continue
            except _UNSTORABLE:
                raise NotStorable from None
            finally:
                self._changed([row.id for row in rows])
        raise Contended

    async def delete_all(self, deletes: Sequence[Expected], index_changes: Sequence[IndexChange]) -> None:
        """Delete all or nothing, also from indexes. Raises DeleteRejected, Contended."""
        columns = _id_columns({one.id for one in deletes})
        for _ in range(ATTEMPTS_MAX):
            try:
                async with self._database.transaction() as tx:
                    check_deletes(_standing(await tx.fetch(SQL["lock"], *columns)), deletes)
                    await tx.execute(SQL["delete"], *columns)
                    await change_indexes(tx, index_changes)
                return
            except asyncpg.DeadlockDetectedError:
                continue
            finally:
                self._changed([one.id for one in deletes])
        raise Contended

    def _changed(self, ids: Iterable[Id]) -> None:
        """These objects were written or deleted, or may have been."""
        self._public.invalidate([_kept_as(one) for one in ids if one[2] == SYSTEM_USER])

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete everything a player owns, in the given transaction."""
        await tx.execute(SQL["forget"], user_id)
        await tx.execute(SQL["forget_entries"], user_id)

    # -- reads

    async def read(self, ids: Sequence[Id]) -> list[StoredObject]:
        """The objects that exist among `ids`, each once, in a round trip shared with others."""
        return await self._reads.submit(ids)

    async def read_shown(self, ids: Sequence[Id]) -> list[StoredObject]:
        """As `read`, for players: the server's objects from what this node keeps, without those that are not public."""
        of_server = [one for one in ids if one[2] == SYSTEM_USER]
        if not of_server:
            return await self.read(ids)
        found = list((await self._public.get_many([_kept_as(one) for one in of_server])).values())
        if others := [one for one in ids if one[2] != SYSTEM_USER]:
            found += await self.read(others)
        by_id = {id_of(one): one for one in found}
        return [by_id[one] for one in dict.fromkeys(ids) if one in by_id]

    async def _load_public(self, keys: list[str]) -> dict[str, StoredObject]:
        ids = [(collection, name, SYSTEM_USER) for collection, _, name in (key.partition("\0") for key in keys)]
        return {_kept_as(id_of(one)): one for one in await self.read(ids) if one.permission_read == READ_PUBLIC}

    async def list_of_owner(self, owner: str, collection: str, after: OwnerPosition, limit: int) -> list[StoredObject]:
        """Up to `limit` objects of an owner behind a position. One round trip."""
        rows = await self._lists["list_of_owner"](owner, collection, after.permission_read, after.key, limit)
        return [StoredObject(*row) for row in rows]

    async def list_of_all(self, collection: str, public: bool, after: SharedPosition, limit: int) -> list[StoredObject]:
        """Up to `limit` objects of all owners, only public ones or all, behind a position. One round trip."""
        name = "list_public" if public else "list_all"
        rows = await self._lists[name](collection, after.key, after.user_id, limit)
        return [StoredObject(*row) for row in rows]


def _kept_as(one: Id) -> str:
    """An object of the server in the cache; no name has a zero byte."""
    return f"{one[0]}\0{one[1]}"


async def _read(connection: asyncpg.Connection, requests: list[Sequence[Id]]) -> list[list[StoredObject]]:
    wanted = dict.fromkeys(one for ids in requests for one in ids)
    rows = await connection.fetch(SQL["read"], *_id_columns(wanted))
    found = {(row[0], row[1], row[2]): StoredObject(*row) for row in rows}
    return [[found[one] for one in dict.fromkeys(ids) if one in found] for ids in requests]


async def _write(
    connection: asyncpg.Connection, rows: list[Row], *, create_only: bool, trusted: bool
) -> list[Ack | Exception]:
    """Write rows of different ids. Those that were not written are explained by a second look, or tried again."""
    written = await _write_rows(connection, rows, create_only=create_only, trusted=trusted)
    outcomes: dict[Id, Ack | Exception] = {}
    left = _collect(rows, written, outcomes)
    try:
        for _ in range(ATTEMPTS_MAX):
            if not left:
                break
            left = await _explain(connection, left, outcomes)
            if left:
                written = await _write_rows(connection, left, create_only=create_only, trusted=trusted)
                left = _collect(left, written, outcomes)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        # The others are committed, so this may not fail as a whole.
        for row in left:
            outcomes[row.id] = Unavailable()
        left = []
    for row in left:
        outcomes[row.id] = Contended()
    return [outcomes[row.id] for row in rows]


def _collect(rows: list[Row], written: list[asyncpg.Record], outcomes: dict[Id, Ack | Exception]) -> list[Row]:
    """Note the acks of the rows that were written; returns the others."""
    times = {(row[0], row[1], row[2]): row for row in written}
    left = []
    for row in rows:
        done = times.get(row.id)
        if done is None:
            left.append(row)
        else:
            outcomes[row.id] = Ack(done[0], done[1], done[2], row.version, done[3], done[4])
    return left


async def _explain(connection: asyncpg.Connection, rows: list[Row], outcomes: dict[Id, Ack | Exception]) -> list[Row]:
    """Say why rows were not written; returns those for which there is no reason any more."""
    columns = _id_columns(row.id for row in rows)
    standing = _standing(await connection.fetch(SQL["standing"], *columns))
    raced = []
    for row in rows:
        found = standing.get(row.id)
        try:
            if found is None or changes(found, row):
                raced.append(row)
            else:
                outcomes[row.id] = _ack(row, found, found)
        except Exception as error:
            outcomes[row.id] = error
    return raced


async def _write_all(tx: asyncpg.Connection, rows: Sequence[Row]) -> list[Ack]:
    """Lock every object, there or not, then decide and write."""
    columns = _id_columns({row.id for row in rows})
    await tx.execute(SQL["claim"], *columns)
    # A place holder has no version: nothing stood there.
    found = _standing(await tx.fetch(SQL["standing"], *columns))
    standing = {one: state for one, state in found.items() if state.version}
    last, after = fold(standing, rows)
    times: dict[Id, Standing] = dict(standing)
    if last:
        # Permissions are decided already, and locked: hence trusted.
        for row in await _write_rows(tx, list(last.values()), create_only=False, trusted=True):
            times[row[0], row[1], row[2]] = Standing("", 0, 0, row[3], row[4])
    return [_ack(row, one, times[row.id]) for row, one in zip(rows, after, strict=True)]


def _ack(row: Row, standing: Standing, times: Standing) -> Ack:
    if standing.created_at is None:
        standing = times
    if standing.created_at is None or standing.updated_at is None:
        raise RuntimeError(f"no times are known of {row.id}")
    return Ack(*row.id, row.version, standing.created_at, standing.updated_at)


async def _write_rows(
    connection: asyncpg.Connection, rows: list[Row], *, create_only: bool, trusted: bool
) -> list[asyncpg.Record]:
    """Write rows; with indexes in one transaction, in which those are changed for what was really written."""
    changes = {row.id: row.index_changes for row in rows if row.index_changes}
    if not changes:
        return await _write_objects(connection, rows, create_only=create_only, trusted=trusted)
    async with connection.transaction():
        written = await _write_objects(connection, rows, create_only=create_only, trusted=trusted)
        await change_indexes(
            connection, [change for row in written for change in changes.get((row[0], row[1], row[2]), ())]
        )
    return written


async def _write_objects(
    connection: asyncpg.Connection, rows: list[Row], *, create_only: bool, trusted: bool
) -> list[asyncpg.Record]:
    return await connection.fetch(
        SQL["write"],
        *_id_columns(row.id for row in rows),
        [row.value for row in rows],
        [row.version for row in rows],
        [row.permission_read for row in rows],
        [row.permission_write for row in rows],
        create_only,
        trusted,
    )


def _bytes_of(row: Row) -> int:
    """What a write counts in a round trip."""
    return len(row.value) + sum(len(change.fields) for change in row.index_changes)


def _id_columns(ids: Iterable[Id]) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Collections, keys and owners of ids, as three arrays."""
    collections, keys, owners = [], [], []
    for collection, key, owner in ids:
        collections.append(collection)
        keys.append(key)
        owners.append(owner)
    return collections, keys, owners


def _standing(rows: Iterable[asyncpg.Record]) -> Mapping[Id, Standing]:
    return {(row[0], row[1], row[2]): Standing(row[3], row[4], row[5], row[6], row[7]) for row in rows}
