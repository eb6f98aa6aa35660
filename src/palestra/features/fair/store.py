"""Rows of seeds, sealed while they are in use: the batch that takes nonces, and the transactions that reveal."""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.sealed import Sealer
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.fair.contract import SEED_BYTES, RevealedSeed
from palestra.features.fair.rules import SeededDraw, commitment_of

SQL = load_queries(__file__)


class Wish(NamedTuple):
    """A draw to be made; `client_seed` only of a round."""

    owner: str
    client_seed: str | None


class KeyedWish(NamedTuple):
    """A player's draw that is made once for its key."""

    owner: str
    key: str


class NewSeeds(NamedTuple):
    """The first row of an owner, in the order of its columns; the next pair only of a player."""

    owner: str
    user_id: str | None
    commitment: bytes
    sealed: bytes
    next_commitment: bytes | None = None
    next_sealed: bytes | None = None
    client_seed: str | None = None


class ActiveSeeds(NamedTuple):
    """An owner's row. `sealed` is None once a round was revealed, `client_seed` None before its first draw."""

    number: int
    commitment: bytes
    sealed: bytes | None
    next_commitment: bytes | None
    next_sealed: bytes | None
    client_seed: str | None
    nonce: int


class FairStore:
    """Reads and writes the rows of seeds and of draws by key; makes, seals and opens server seeds."""

    def __init__(self, database: Database, settings: DatabaseSettings, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        limits: dict[str, Any] = {"rows_max": settings.batch_rows_max, "queue_max": settings.batch_queue_max}
        # Sent again after a lost connection: nonces that were taken by the lost round are then never used.
        self._takes: Batch[Wish, SeededDraw | None] = Batch(
            "fair.draw", database, self._take, idempotent=True, **limits
        )
        self._keyed_takes: Batch[KeyedWish, SeededDraw | None] = Batch(
            "fair.draw_keyed", database, self._take_keyed, idempotent=True, **limits
        )
        self._opens: Batch[NewSeeds, None] = Batch("fair.open", database, _open, idempotent=True, **limits)
        self.batches = [self._takes, self._keyed_takes, self._opens]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    async def take(self, owner: str, client_seed: str | None = None) -> SeededDraw | None:
        """An owner's next nonce, in a round trip shared with others; None when `owner` has no such seed in use."""
        return await self._takes.submit(Wish(owner, client_seed))

    async def take_keyed(self, owner: str, key: str) -> SeededDraw | None:
        """A player's draw of a key, the same for ever; None when `owner` has no seed."""
        return await self._keyed_takes.submit(KeyedWish(owner, key))

    async def open_player(self, user_id: str) -> None:
        """Make a player's first pair unless there is one. Raises AccountNotFound."""
        new = NewSeeds(user_id, user_id, *self._fresh(user_id, 1), *self._fresh(user_id, 2), secrets.token_hex(16))
        try:
            await self._opens.submit(new)
        except asyncpg.ForeignKeyViolationError:
            raise AccountNotFound from None

    async def open_round(self, owner: str) -> None:
        """Make a round's seed unless there is or was one."""
        await self._opens.submit(NewSeeds(owner, None, *self._fresh(owner, 1)))

    async def read(self, owner: str) -> ActiveSeeds | None:
        """An owner's row. One round trip."""
        row = await self._database.fetchrow(SQL["read"], owner)
        return ActiveSeeds(*row) if row else None

    async def rotate(
        self, user_id: str, client_seed: str | None, at: datetime
    ) -> tuple[RevealedSeed, ActiveSeeds] | None:
        """Reveal a player's seed and bring the next into use; None when there is none."""
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(SQL["lock"], user_id)
            if row is None:
                return None
            active = ActiveSeeds(*row)
            revealed = self._revealed(user_id, active, at)
            if revealed.draws:
                await _record(tx, user_id, revealed)
            following = self._fresh(user_id, active.number + 2)
            rows = await tx.fetch(SQL["go_on"], user_id, *following, client_seed or active.client_seed)
            return revealed, ActiveSeeds(*rows[0])

    async def reveal(self, owner: str, at: datetime) -> RevealedSeed | None:
        """Reveal a round's seed, or answer what was revealed; None when there is none."""
        async with self._database.transaction() as tx:
            row = await tx.fetchrow(SQL["lock"], owner)
            if row is None:
                return None
            active = ActiveSeeds(*row)
            if active.sealed is None:
                return _past(await tx.fetchrow(SQL["past"], owner, active.number + 1, 1))
            revealed = self._revealed(owner, active, at)
            await _record(tx, owner, revealed)
            await tx.execute(SQL["end"], owner)
            return revealed

    async def past(self, owner: str, before: int, limit: int) -> list[RevealedSeed]:
        """Up to `limit` revealed seeds with numbers below `before`, newest first. One round trip."""
        return [_past(row) for row in await self._database.fetch(SQL["past"], owner, before, limit)]

    # -- seeds, bound to their owner and number

    def _fresh(self, owner: str, number: int) -> tuple[bytes, bytes]:
        """The commitment and the sealed form of a new server seed."""
        seed = secrets.token_bytes(SEED_BYTES)
        return commitment_of(seed), self._sealer.seal(seed.hex(), _context(owner, number))

    def _seed(self, owner: str, number: int, sealed: bytes) -> bytes:
        return bytes.fromhex(self._sealer.open(sealed, _context(owner, number)))

    def _revealed(self, owner: str, active: ActiveSeeds, at: datetime) -> RevealedSeed:
        if active.sealed is None:
            raise RuntimeError(f"the seed {active.number} of {owner} was revealed before")
        seed = self._seed(owner, active.number, active.sealed)
        client_seed = active.client_seed or ""
        return RevealedSeed(active.number, active.commitment.hex(), seed.hex(), client_seed, active.nonce, at)

    async def _take(self, connection: asyncpg.Connection, wishes: list[Wish]) -> list[SeededDraw | None]:
        """Draws of one owner get consecutive nonces in the order they were asked for.

        Of several first draws of a round the first one's client seed holds; those with another get None.
        """
        client_seeds: dict[str, str | None] = {}
        for owner, client_seed in wishes:
            client_seeds.setdefault(owner, client_seed)
        fitting = [wish for wish in wishes if wish.client_seed == client_seeds[wish.owner]]
        draws = Counter(wish.owner for wish in fitting)
        fixed = [client_seeds[owner] for owner in draws]
        rows = await connection.fetch(SQL["take"], list(draws), list(draws.values()), fixed)
        found = {row[0]: (self._seed(row[0], row[1], row[3]), row[2].hex(), row[4]) for row in rows}
        nonces = {row[0]: iter(range(row[5], row[5] + draws[row[0]])) for row in rows}
        outcomes: list[SeededDraw | None] = []
        for owner, client_seed in wishes:
            if owner not in found or client_seed != client_seeds[owner]:
                outcomes.append(None)
                continue
            server_seed, commitment, used_client_seed = found[owner]
            outcomes.append(SeededDraw(server_seed, used_client_seed, next(nonces[owner]), commitment))
        return outcomes

    async def _take_keyed(self, connection: asyncpg.Connection, wishes: list[KeyedWish]) -> list[SeededDraw | None]:
        """Equal wishes get equal draws, each an object of its own: the calls on one do not move the other."""
        wanted = list(dict.fromkeys(wishes))
        owners, keys = [wish.owner for wish in wanted], [wish.key for wish in wanted]
        # Two statements: the second one's snapshot is taken when no other node can draw for these owners any more.
        async with connection.transaction():
            await connection.execute(SQL["lock_all"], sorted(set(owners)))
            rows = await connection.fetch(SQL["take_keyed"], owners, keys)
        found = {KeyedWish(row["owner"], row["key"]): row for row in rows}
        return [self._drawn(found[wish]) if wish in found else None for wish in wishes]

    def _drawn(self, row: Any) -> SeededDraw:
        owner, _, number, nonce, commitment, client_seed, revealed, sealed = row
        seed = self._seed(owner, number, sealed) if revealed is None else revealed
        return SeededDraw(seed, client_seed, nonce, commitment.hex())


async def _open(connection: asyncpg.Connection, rows: list[NewSeeds]) -> list[None]:
    await connection.execute(SQL["open"], *map(list, zip(*rows, strict=True)))
    return [None] * len(rows)


async def _record(tx: asyncpg.Connection, owner: str, seed: RevealedSeed) -> None:
    commitment, server_seed = bytes.fromhex(seed.commitment), bytes.fromhex(seed.server_seed)
    await tx.execute(
        SQL["record"], owner, seed.number, commitment, server_seed, seed.client_seed, seed.draws, seed.revealed_at
    )


def _past(row: Any) -> RevealedSeed:
    number, commitment, server_seed, client_seed, draws, revealed_at = row
    return RevealedSeed(number, commitment.hex(), server_seed.hex(), client_seed, draws, revealed_at)


def _context(owner: str, number: int) -> bytes:
    return b"fair:%d:%b" % (number, owner.encode())
