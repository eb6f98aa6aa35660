"""Rows of players and their sealed identifiers, and the batches of log-ins, creations and reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from palestra.cluster.cache import Caches
from palestra.cluster.caches.memory import Held
from palestra.core.config import DatabaseSettings
from palestra.core.ids import parse_id
from palestra.database.batch import Batch
from palestra.database.lookup import Lookups
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.sealed import Sealer
from palestra.database.transaction import at_end
from palestra.features.accounts.contract import PUBLIC_IDENTITIES, Account, IdentityKind, UsernameTaken, UserRecord
from palestra.features.accounts.profiles import profiles

SQL = load_queries(__file__)
ID_BYTES = 64
"""What a player to be read counts in a round trip."""
READ_LANES = 2
PROFILE = ("username", "display_name", "avatar_url", "lang_tag", "location", "timezone", "metadata")


class Login(NamedTuple):
    """What log-in needs to know of a player."""

    user_id: str
    username: str
    banned: bool
    password_hash: str | None


class NewAccount(NamedTuple):
    """A player to be made."""

    user_id: str
    username: str
    kind: int
    lookup: bytes
    sealed: bytes
    password_hash: str | None


class AccountStore:
    """Players and identities. Hot single-purpose work goes through batches, the rest through transactions."""

    def __init__(self, database: Database, settings: DatabaseSettings, sealer: Sealer, caches: Caches) -> None:
        self.database = database
        self._sealer = sealer
        limits: dict[str, Any] = {"rows_max": settings.batch_rows_max, "queue_max": settings.batch_queue_max}
        self._find: Batch[tuple[int, bytes], Login | None] = Batch(
            "accounts.find", database, _find, idempotent=True, **limits
        )
        self._create: Batch[NewAccount, bool] = Batch(
            "accounts.create", database, _create, key=lambda item: item.lookup, **limits
        )
        self._read: Batch[Sequence[str], list[UserRecord]] = Batch(
            "accounts.read",
            database,
            self._read_many,
            size_bytes=lambda ids: len(ids) * ID_BYTES,
            lanes=READ_LANES,
            idempotent=True,
            **limits,
        )
        self._read_own: Batch[str, Account | None] = Batch(
            "accounts.read_own", database, self._read_own_many, idempotent=True, **limits
        )
        self._update: Batch[tuple[Any, ...], None] = Batch(
            "accounts.update",
            database,
            self._update_many,
            key=lambda change: change[0],
            size_bytes=lambda change: sum(len(text) for text in change[2::2] if text),
            idempotent=True,
            **limits,
        )
        self._profiles = profiles(caches, self._load, sealer)
        lookups = Lookups("accounts.lookup", database, settings)
        self._by_name = lookups.of(SQL["ids_of_usernames"])
        self.batches = [self._find, self._create, self._read, self._read_own, self._update, *lookups.batches]

    async def stop(self) -> None:
        """Finish what is queued."""
        for batch in self.batches:
            await batch.stop()

    # -- identifiers: a keyed blind index to find them, a ciphertext bound to player and kind to read them

    def lookup(self, kind: IdentityKind, text: str) -> bytes:
        """The blind index of an identifier."""
        return self._sealer.index(kind.name, text)

    def seal(self, kind: int, user_id: str, lookup: bytes, text: str) -> bytes:
        """The ciphertext of an identifier."""
        return self._sealer.seal(text, _context(kind, user_id, lookup))

    def find(self, kind: IdentityKind, lookup: bytes) -> Any:
        """(awaitable) The player behind an identifier, or None."""
        return self._find.submit((kind, lookup))

    def create(self, account: NewAccount) -> Any:
        """(awaitable) Make a player: True if made, False if the identifier exists by now. Raises UsernameTaken."""
        return self._create.submit(account)

    def read(self, user_ids: Sequence[str]) -> Awaitable[list[UserRecord]]:
        """Players by id, in that order, each once; of their identifiers the public ones. The unknown are absent."""
        return self._read.submit(user_ids)

    def read_cached(self, user_ids: Iterable[str]) -> Awaitable[dict[str, UserRecord]]:
        """As `read`, by id and without order, from what is kept: see `cluster/cache.py` for how old that may be."""
        return self._profiles.get_many(user_ids)

    def hold(self, user_ids: Iterable[str]) -> Held[UserRecord] | None:
        """What is kept of some players; None if one of them is not."""
        return self._profiles.hold(user_ids)

    def renew(self, user_id: str) -> None:
        """Pages that show this player are to be made anew."""
        self._profiles.renew(user_id)

    async def _load(self, ids: list[str]) -> dict[str, UserRecord]:
        return {user.id: user for user in await self._read.submit(ids)}

    def changed(self, user_ids: Iterable[str]) -> None:
        """Rows of these players were changed, and it is committed, or may be: nobody is to see the old ones."""
        self._profiles.invalidate(user_ids)

    def changes(self, tx: asyncpg.Connection, user_ids: Iterable[str]) -> None:
        """As `changed`, for when the transaction has ended."""
        ids = list(user_ids)
        at_end(tx, lambda: self.changed(ids))

    def read_own(self, user_id: str) -> Any:
        """(awaitable) A player's account, or None."""
        return self._read_own.submit(user_id)

    async def _read_own_many(self, connection: asyncpg.Connection, ids: list[str]) -> list[Account | None]:
        rows = await connection.fetch(SQL["read_own_accounts"], list(dict.fromkeys(ids)))
        found = {row[0]: Account(self._record(row), row[15] or "{}") for row in rows}
        return [found.get(user_id) for user_id in ids]

    async def _read_many(self, connection: asyncpg.Connection, requests: list[Sequence[str]]) -> list[list[UserRecord]]:
        wanted = list(dict.fromkeys(one for ids in requests for one in ids))
        rows = await connection.fetch(SQL["read_users"], wanted, list(PUBLIC_IDENTITIES))
        found = {row[0]: self._record(row) for row in rows}
        return [[found[one] for one in dict.fromkeys(ids) if one in found] for ids in requests]

    def _record(self, row: asyncpg.Record) -> UserRecord:
        profile, (kinds, lookups, sealed) = row[:12], row[12:15]
        identities: tuple[tuple[int, str], ...] = ()
        if kinds:
            user_id = profile[0]
            unseal = self._sealer.open
            identities = tuple(
                (kind, unseal(secret, _context(kind, user_id, lookup)))
                for kind, lookup, secret in zip(kinds, lookups, sealed, strict=True)
            )
        return UserRecord(*profile, identities=identities)

    async def identities_in(self, tx: asyncpg.Connection, user_id: str) -> tuple[tuple[int, str], ...] | None:
        """All identifiers of a player in the clear, as of the transaction; None if there is no such player."""
        rows = await tx.fetch(SQL["read_accounts"], [user_id])
        return self._record(rows[0]).identities if rows else None

    async def find_username(self, username: str) -> Login | None:
        """The player with a name."""
        if "\0" in username:
            return None
        row = await self.database.fetchrow(SQL["find_username"], username)
        return Login(*row) if row else None

    async def ids_of_usernames(self, usernames: Iterable[str]) -> dict[str, str]:
        """Name → id of those that exist."""
        # No name has a NUL, and PostgreSQL refuses texts that have one.
        names = [name for name in dict.fromkeys(usernames) if "\0" not in name]
        found = await asyncio.gather(*map(self._by_name, names))
        return {name: rows[0][0] for name, rows in zip(names, found, strict=True) if rows}

    async def update(self, user_id: str, changes: Mapping[str, str | None]) -> None:
        """Set columns of a player. Raises UsernameTaken."""
        change: list[Any] = [user_id]
        for column in PROFILE:
            change += (column in changes, changes.get(column))
        try:
            if "username" not in changes:
                await self._update.submit(tuple(change))
                return
            try:
                # A name may be taken, which would undo the work of all who share the round trip.
                await self.database.execute(SQL["update_accounts"], *([one] for one in change))
            finally:
                self.changed((user_id,))
        except asyncpg.UniqueViolationError:
            raise UsernameTaken from None

    async def _update_many(self, connection: asyncpg.Connection, changes: list[tuple[Any, ...]]) -> list[None]:
        try:
            await connection.execute(SQL["update_accounts"], *zip(*changes, strict=True))
            return [None] * len(changes)
        finally:
            # Here, and not where the caller waits: one that gives up keeps nothing from being written.
            self.changed([change[0] for change in changes])

    async def fill_profile(self, user_id: str, display_name: str | None, avatar_url: str | None, email: str) -> None:
        """Set what the player has not set; take an e-mail address, unless it is "", if nobody has it."""
        try:
            await self.database.execute(SQL["fill_profile"], user_id, display_name, avatar_url)
        finally:
            self.changed((user_id,))
        if email:
            # Nobody else is shown it.
            lookup = self.lookup(IdentityKind.EMAIL, email)
            sealed = self.seal(IdentityKind.EMAIL, user_id, lookup, email)
            await self.database.execute(SQL["add_identity_if_free"], IdentityKind.EMAIL, lookup, user_id, sealed)

    async def delete(self, tx: asyncpg.Connection, user_id: str) -> bool:
        """Delete a player; False if there was none."""
        self.changes(tx, (user_id,))
        return await tx.execute(SQL["delete_account"], user_id) != "DELETE 0"

    async def set_disabled(self, user_ids: list[str], disabled: bool) -> list[str]:
        """Ban, or lift bans; the ids of those that exist."""
        try:
            return [row[0] for row in await self.database.fetch(SQL["set_disabled"], user_ids, disabled)]
        finally:
            self.changed(user_ids)

    async def add_edges(self, tx: asyncpg.Connection, changes: Mapping[str, int]) -> None:
        """Change edge counters."""
        self.changes(tx, changes)
        await tx.execute(SQL["add_edges"], list(changes), list(changes.values()))


def _context(kind: int, user_id: str, lookup: bytes) -> bytes:
    return b"%d:%b:%b" % (kind, user_id.encode(), lookup)


async def _find(connection: asyncpg.Connection, items: list[tuple[int, bytes]]) -> list[Login | None]:
    kinds, lookups = zip(*items, strict=True)
    rows = await connection.fetch(SQL["find_identities"], kinds, lookups)
    # The blind index covers the kind, so it alone names the identifier.
    found = {row[0]: Login(row[1], row[2], row[3], row[4]) for row in rows}
    return [found.get(lookup) for lookup in lookups]


async def _create(connection: asyncpg.Connection, items: list[NewAccount]) -> list[bool | Exception]:
    try:
        rows = await connection.fetch(SQL["create_accounts"], *map(list, zip(*items, strict=True)))
    except asyncpg.UniqueViolationError:
        # Another node took an identifier in this very moment. The batch is run again item by item; one that is alone
        # knows that it is the culprit.
        if len(items) > 1:
            raise
        return [False]
    outcome: dict[str, bool | Exception] = {}
    for user_id, created, existed in rows:
        outcome[user_id] = True if created else False if existed else UsernameTaken()
    return [outcome[item.user_id] for item in items]


def canonical_ids(ids: Iterable[str]) -> list[str]:
    """Ids in canonical form, each once. Raises ValueError, carrying the bad one."""
    unique: dict[str, None] = {}
    for text in ids:
        try:
            unique[parse_id(text)] = None
        except ValueError:
            raise ValueError(text) from None
    return list(unique)
