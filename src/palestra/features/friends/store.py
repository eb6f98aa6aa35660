"""Rows of friendships, changed only inside transactions that hold the players concerned."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import asyncpg

from palestra.cluster.beginnings import KEPT_ROWS_MAX, Beginning
from palestra.cluster.cache import Cache, Caches
from palestra.cluster.pages import Pages
from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.transaction import at_end, transaction
from palestra.features.friends import rules
from palestra.features.friends.contract import BadMetadata
from palestra.features.friends.rules import Act, Edges, Outcome, Position, Referral

SQL = load_queries(__file__)
LOCKS = 0x667269
"""The class of this feature's advisory locks."""


class Edge(NamedTuple):
    """One edge as it is to be. `position` is its age in nanoseconds since 1970, used if it is new."""

    user_id: str
    friend_id: str
    state: int
    position: int
    metadata: str


EdgeRow = tuple[Any, ...]
"""(friend_id, state, position, updated_at, metadata)"""
EDGE_BYTES = 650
"""About what an edge takes in memory, and in the page that is kept."""


SUGGESTIONS_BYTES = 4_000


class PairChange(NamedTuple):
    """What one player does to another. `metadata` goes on the player's side."""

    act: Act
    user_id: str
    target_id: str
    metadata: str


Pair = tuple[str, str]
"""Two players, in whichever order."""


class Standing(NamedTuple):
    """Whether the two of a pair exist, and how they stand to each other."""

    one_exists: bool
    other_exists: bool
    edges: Edges


class FriendStore:
    """Reads and writes rows of `friends`."""

    def __init__(self, database: Database, settings: DatabaseSettings, caches: Caches) -> None:
        self._database = database
        lookups = Lookups("friends.lookup", database, settings)
        self._edges = lookups.of(SQL["list_edges"], by_limit)
        self._kept: Cache[Beginning[EdgeRow]] = Cache(
            "friends", caches, self._load_beginnings, caches.terms, lambda kept: EDGE_BYTES * len(kept.rows)
        )
        self._referrals = lookups.of(SQL["list_friends_of_friends"], by_limit)
        # What a player does shows at once; what the friends do, when these seconds are over.
        self._suggestions: Pages[list[Referral]] = Pages(
            "friends_of_friends", caches, self._load_referrals, SUGGESTIONS_BYTES, caches.terms
        )
        self.batches: list[Batch[Any, Any]] = [*lookups.batches]
        self._limits: dict[str, Any] = {"rows_max": settings.batch_rows_max, "queue_max": settings.batch_queue_max}

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    def transaction(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A transaction of the small pool."""
        return self._database.transaction()

    def pairs(
        self, change: Callable[[asyncpg.Connection, list[PairChange]], Awaitable[list[Outcome | Exception]]]
    ) -> Batch[PairChange, Outcome]:
        """A batch whose rounds each `change` edges in one transaction; changes of one pair never share a round."""

        async def execute(connection: asyncpg.Connection, changes: list[PairChange]) -> list[Outcome | Exception]:
            async with transaction(connection):
                return await change(connection, changes)

        batch: Batch[PairChange, Outcome] = Batch(
            "friends.change",
            self._database,
            execute,
            key=lambda one: frozenset((one.user_id, one.target_id)),
            size_bytes=lambda one: len(one.metadata),
            **self._limits,
        )
        self.batches.append(batch)
        return batch

    async def lock(self, tx: asyncpg.Connection, user_ids: Iterable[str]) -> None:
        """Wait until nobody else changes edges of these players, and keep it so until the transaction ends."""
        # Thirty-two bits of an id: two players who share a key merely wait for each other more often.
        keys = sorted({int(user_id[:8], 16) - 2**31 for user_id in user_ids})
        await tx.execute(SQL["lock_players"], LOCKS, keys)

    async def exists(self, tx: asyncpg.Connection, user_id: str) -> bool:
        """Whether there is such a player, who is held."""
        return bool(await tx.fetchval(SQL["player_exists"], user_id))

    async def standings(self, tx: asyncpg.Connection, pairs: Iterable[Pair]) -> dict[Pair, Standing]:
        """How the two of each pair stand to each other. That they exist holds until the end if both are held."""
        asked = list(pairs)
        rows = await tx.fetch(SQL["edges_of_pairs"], [one for one, _ in asked], [other for _, other in asked])
        return {(row[0], row[1]): Standing(row[2], row[3], (row[4], row[5])) for row in rows}

    async def make(self, tx: asyncpg.Connection, edges: Sequence[Edge]) -> None:
        """Make edges that were not there, of players who are held and exist. Raises BadMetadata."""
        await self._write(tx, SQL["make_edges"], edges)

    async def move(self, tx: asyncpg.Connection, edges: Sequence[Edge]) -> None:
        """Change edges that were there. Raises BadMetadata."""
        await self._write(tx, SQL["move_edges"], edges)

    async def _write(self, tx: asyncpg.Connection, sql: str, edges: Sequence[Edge]) -> None:
        if not edges:
            return
        self._changes(tx, [edge.user_id for edge in edges])
        try:
            await tx.execute(sql, *map(list, zip(*edges, strict=True)))
        except (asyncpg.DataError, asyncpg.StatementTooComplexError, asyncpg.ProgramLimitExceededError):
            raise BadMetadata from None

    async def delete(self, tx: asyncpg.Connection, edges: Sequence[tuple[str, str]]) -> None:
        """Remove edges."""
        if edges:
            self._changes(tx, [owner for owner, _ in edges])
            await tx.execute(SQL["delete_edges"], *map(list, zip(*edges, strict=True)))

    async def list(self, user_id: str, start: Position, last_state: int, limit: int) -> list[EdgeRow]:
        """Edges from a position on."""
        return await self._edges(user_id, start.state, start.position, start.friend_id, last_state, limit)

    async def beginning(self, user_id: str) -> Beginning[EdgeRow]:
        """The first of all edges of a player, as kept on this node."""
        found = await self._kept.get(user_id)
        return found or Beginning(())

    async def _load_beginnings(self, user_ids: Sequence[str]) -> dict[str, Beginning[EdgeRow]]:
        start, last_state = rules.friends_start("", None, "")
        lists = await asyncio.gather(*[self.list(one, start, last_state, KEPT_ROWS_MAX) for one in user_ids])
        return {user_id: Beginning(rows) for user_id, rows in zip(user_ids, lists, strict=True)}

    def _changes(self, tx: asyncpg.Connection, user_ids: Iterable[str]) -> None:
        owners = set(user_ids)
        at_end(tx, lambda: self._kept.invalidate(owners))
        at_end(tx, lambda: self._suggestions.invalidate(owners))

    async def list_referrals(self, user_id: str, after: Referral, limit: int) -> list[Referral]:
        """Friends of friends behind a position."""
        return await self._suggestions.page(user_id, user_id, after.referrer_id, after.friend_id, limit)

    async def _load_referrals(self, *arguments: Any) -> list[Referral]:
        rows = await self._referrals(*arguments)
        return [Referral(*row) for row in rows]

    async def blocked_among(self, user_id: str, others: Iterable[str]) -> set[str]:
        """Those among the others whom the player has blocked."""
        return {row[0] for row in await self._database.fetch(SQL["blocked_among"], user_id, list(others))}

    async def take_all(self, tx: asyncpg.Connection, user_id: str, spared: int | None = None) -> dict[str, int]:
        """Remove every edge to and from a player but those in state `spared`; what that changes in all counters."""
        rows = [row for row in await tx.fetch(SQL["lock_edges_of"], user_id) if row[2] != spared]
        await self.delete(tx, [(row[0], row[1]) for row in rows])
        return {owner: -count for owner, count in Counter(row[0] for row in rows).items()}
