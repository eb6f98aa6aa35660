"""Rows of groups and their members, changed only inside transactions that hold the group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import asyncpg

from palestra.cluster.beginnings import KEPT_ROWS_MAX, Beginning
from palestra.cluster.cache import Cache, Caches
from palestra.cluster.pages import Pages
from palestra.core.config import DatabaseSettings
from palestra.core.errors import Code
from palestra.database.batch import Batch
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.transaction import at_end, transaction
from palestra.features.groups.contract import CreationRefused, Group, GroupFilter, GroupPage, ListRefused, NameInUse
from palestra.features.groups.rules import INT32_MAX, GroupPosition, Order, Position, members_start, name_pattern

SQL = load_queries(__file__)
LOCKS = 0x677270
"""The class of this feature's advisory locks."""


MEMBER_BYTES = 250
GROUP_PAGE_BYTES = 16_384
"""About what a page takes in memory, also in JSON."""


class NewGroup(NamedTuple):
    """A group to be made."""

    id: str
    creator_id: str
    name: str
    description: str
    avatar_url: str
    lang_tag: str
    metadata: str
    open: bool
    max_count: int


class Place(NamedTuple):
    """A player's place in a group."""

    group_id: str
    state: int
    edge_count: int
    superadmins: int


class Standing(NamedTuple):
    """How a player stands to a group that may not know them, and whether there is such a player."""

    state: int | None
    exists: bool


class Passage(NamedTuple):
    """Somebody who joins a group, or leaves it."""

    group_id: str
    user_id: str
    joins: bool


class GroupStore:
    """Reads and writes rows of `groups` and `group_members`."""

    def __init__(self, database: Database, settings: DatabaseSettings, caches: Caches) -> None:
        self._database = database
        self._caches = caches
        self._pages: Pages[GroupPage] | None = None
        lookups = Lookups("groups.lookup", database, settings)
        names = ("list_members", "list_groups_of_user", *(order.value for order in Order))
        self._lists = {name: lookups.of(SQL[name], by_limit) for name in names}
        self._kept: Cache[Beginning[Position]] = Cache(
            "group_members", caches, self._load_beginnings, caches.terms, lambda kept: MEMBER_BYTES * len(kept.rows)
        )
        self._states = lookups.of(SQL["state_of"])
        self._limits: dict[str, Any] = {"rows_max": settings.batch_rows_max, "queue_max": settings.batch_queue_max}
        self.batches: list[Batch[Any, Any]] = [*lookups.batches]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    def transaction(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A transaction of the small pool."""
        return self._database.transaction()

    def passages(self, let: Callable[[asyncpg.Connection, list[Passage]], Awaitable[list[Any]]]) -> Batch[Passage, Any]:
        """A batch whose rounds `let` players in and out in one transaction, no player twice at one group's door."""

        async def execute(connection: asyncpg.Connection, passages: list[Passage]) -> list[Any]:
            async with transaction(connection):
                return await let(connection, passages)

        batch: Batch[Passage, Any] = Batch(
            "groups.pass", self._database, execute, key=lambda one: (one.group_id, one.user_id), **self._limits
        )
        self.batches.append(batch)
        return batch

    def pages(self, load: Callable[..., Awaitable[GroupPage]]) -> Pages[GroupPage]:
        """Lists of groups as `load` makes them, kept until any group changes."""
        self._pages = Pages("group_pages", self._caches, load, GROUP_PAGE_BYTES, self._caches.terms)
        return self._pages

    # -- locks: players first, then groups

    async def lock_joiners(self, tx: asyncpg.Connection, user_ids: Iterable[str]) -> None:
        """Keep the accounts of players who are about to get into a group from being deleted meanwhile."""
        await tx.execute(SQL["lock_joiners"], LOCKS, sorted({_key(user_id) for user_id in user_ids}))

    async def lock_leaver(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Keep a player from getting into groups until the transaction ends."""
        await tx.execute(SQL["lock_leaver"], LOCKS, _key(user_id))

    async def lock(self, tx: asyncpg.Connection, group_id: str) -> Group | None:
        """A group, held until the transaction ends."""
        return (await self.lock_many(tx, [group_id])).get(group_id)

    async def lock_many(self, tx: asyncpg.Connection, group_ids: Iterable[str]) -> dict[str, Group]:
        """Groups by id, held until the transaction ends."""
        return {row[0]: Group(*row) for row in await tx.fetch(SQL["lock_groups"], list(group_ids))}

    # -- changes

    async def create(self, tx: asyncpg.Connection, group: NewGroup) -> Group:
        """Make a group. Raises NameInUse, CreationRefused."""
        self._changes(tx, [group.id])
        try:
            row = await tx.fetchrow(SQL["create_group"], *group)
        except asyncpg.UniqueViolationError:
            raise NameInUse from None
        except (asyncpg.DataError, asyncpg.StatementTooComplexError, asyncpg.ProgramLimitExceededError):
            raise CreationRefused from None
        if row is None:
            raise RuntimeError("the insertion of a group returned no row")
        return Group(*row)

    async def update(self, tx: asyncpg.Connection, group_id: str, changes: Sequence[Any]) -> None:
        """Set name, description, picture, language and openness, where not None. Raises NameInUse."""
        self._changes(tx, [group_id])
        try:
            await tx.execute(SQL["update_group"], group_id, *changes)
        except asyncpg.UniqueViolationError:
            raise NameInUse(code=Code.INVALID_ARGUMENT) from None

    async def delete(self, tx: asyncpg.Connection, group_ids: Sequence[str]) -> None:
        """Delete groups."""
        if group_ids:
            self._changes(tx, group_ids)
            await tx.execute(SQL["delete_groups"], group_ids)

    async def set_members(self, tx: asyncpg.Connection, members: Sequence[tuple[str, str, int]], at_ns: int) -> None:
        """Set states, each with its group and player, who are held and exist.

        New members joined at `at_ns` and in the order given.
        """
        if members:
            self._changes(tx, [member[0] for member in members])
            positions = list(range(at_ns, at_ns + len(members)))
            await tx.execute(SQL["set_members"], *map(list, zip(*members, strict=True)), positions)

    async def delete_members(self, tx: asyncpg.Connection, members: Sequence[tuple[str, str]]) -> None:
        """Remove players from groups."""
        if members:
            self._changes(tx, [group_id for group_id, _ in members])
            await tx.execute(SQL["delete_members"], *map(list, zip(*members, strict=True)))

    async def add_to_counts(self, tx: asyncpg.Connection, changes: Mapping[str, int]) -> None:
        """Members came to groups or went."""
        changed = {group_id: change for group_id, change in changes.items() if change}
        if changed:
            await tx.execute(SQL["add_to_count"], list(changed), list(changed.values()))

    async def leave_all(self, tx: asyncpg.Connection, user_id: str, places: Iterable[Place]) -> None:
        """Take a player out of all groups, which are those of `places`."""
        self._changes(tx, [place.group_id for place in places])
        await tx.execute(SQL["leave_all"], user_id)

    # -- what is needed to decide

    async def states(self, tx: asyncpg.Connection, group_id: str, user_ids: Sequence[str]) -> dict[str, int]:
        """The states of those players that the group knows."""
        return dict(await tx.fetch(SQL["states_of"], group_id, user_ids))

    async def superadmins(self, tx: asyncpg.Connection, group_id: str) -> int:
        """How many are in charge."""
        return int(await tx.fetchval(SQL["count_superadmins"], group_id) or 0)

    async def standings(
        self, tx: asyncpg.Connection, pairs: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], Standing]:
        """How players stand to groups. That a player exists holds until the end if they are held."""
        rows = await tx.fetch(SQL["standings_of_pairs"], *map(list, zip(*pairs, strict=True)))
        return {(row[0], row[1]): Standing(row[2], row[3]) for row in rows}

    async def existing(self, tx: asyncpg.Connection, user_ids: Sequence[str]) -> set[str]:
        """Those among players, who are held, who exist."""
        return {row[0] for row in await tx.fetch(SQL["existing_players"], user_ids)}

    async def in_charge(self, tx: asyncpg.Connection, group_ids: Iterable[str]) -> dict[str, list[tuple[str, int]]]:
        """Superadmins and admins of groups with their states, the highest and oldest first."""
        found: dict[str, list[tuple[str, int]]] = {}
        for group_id, user_id, state in await tx.fetch(SQL["in_charge"], list(group_ids)):
            found.setdefault(group_id, []).append((user_id, state))
        return found

    async def lock_places(self, tx: asyncpg.Connection, user_id: str) -> list[Place]:
        """A player's places, in groups that are held from now on."""
        await tx.execute(SQL["lock_groups_of"], user_id)
        return [Place(*row) for row in await tx.fetch(SQL["places_of"], user_id)]

    async def state_of(self, group_id: str, user_id: str) -> int | None:
        """How a player stands to a group."""
        rows = await self._states(group_id, user_id)
        return rows[0][0] if rows else None

    # -- lists

    async def beginning(self, group_id: str) -> Beginning[Position]:
        """The first of the players of a group but for the banned, as kept on this node."""
        found = await self._kept.get(group_id)
        return found or Beginning(())

    async def _load_beginnings(self, group_ids: Sequence[str]) -> dict[str, Beginning[Position]]:
        start, last_state = members_start("", None, "")
        lists = await asyncio.gather(*[self.list_members(one, start, last_state, KEPT_ROWS_MAX) for one in group_ids])
        return {group_id: Beginning(rows) for group_id, rows in zip(group_ids, lists, strict=True)}

    def _changes(self, tx: asyncpg.Connection, group_ids: Iterable[str]) -> None:
        changed = set(group_ids)
        at_end(tx, lambda: self._kept.invalidate(changed))
        if self._pages is not None:
            at_end(tx, self._pages.invalidate_all)

    async def list_members(self, group_id: str, start: Position, last_state: int, limit: int) -> list[Position]:
        """Players of a group from a position on."""
        args = (group_id, start.state, start.position, start.id, last_state, limit)
        return [Position(*row) for row in await self._lists["list_members"](*args)]

    async def list_of_user(
        self, user_id: str, start: Position, last_state: int, limit: int
    ) -> list[tuple[Position, Group]]:
        """Groups of a player from a position on."""
        args = (user_id, start.state, start.position, start.id, last_state, limit)
        rows = await self._lists["list_groups_of_user"](*args)
        return [(Position(*row[:3]), Group(*row[2:])) for row in rows]

    async def list(self, order: Order, wanted: GroupFilter, after: GroupPosition, limit: int) -> list[Group]:
        """Groups behind a position. Raises ListRefused for a name pattern that is none."""
        most = INT32_MAX if wanted.members is None else wanted.members
        args: dict[Order, tuple[Any, ...]] = {
            Order.UPDATE: (wanted.open, after.updated_at, after.edge_count, after.id),
            Order.LANGUAGE: (wanted.lang_tag, after.edge_count, after.id),
            Order.SIZE: (most, after.edge_count, after.updated_at, after.id),
            Order.SIZE_IN_LANGUAGE: (wanted.lang_tag, most, wanted.open, after.edge_count, after.id),
            Order.SIZE_IF_OPEN: (wanted.open, most, after.edge_count, after.id),
        }
        chosen = (*name_pattern(wanted.name), after.name) if order is Order.NAME else args[order]
        try:
            rows = await self._lists[order.value](*chosen, limit)
        except asyncpg.DataError:
            raise ListRefused from None
        return [Group(*row) for row in rows]


def _key(user_id: str) -> int:
    """Thirty-two bits of an id: two players who share a key merely wait for each other more often."""
    return int(user_id[:8], 16) - 2**31
