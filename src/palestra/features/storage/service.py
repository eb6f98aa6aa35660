"""What can be done with stored objects; implements the contract's `Storage`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from palestra.core.ids import SYSTEM_USER
from palestra.features.storage import rules
from palestra.features.storage.contract import (
    CREATE_ONLY,
    OBJECTS_MAX,
    PAGE_OBJECTS_MAX,
    READ_OWNER,
    WRITE_OWNER,
    Ack,
    BadLimit,
    ObjectId,
    ObjectWrite,
    Page,
    StoredObject,
    TooManyObjects,
)
from palestra.features.storage.indexes import Indexes
from palestra.features.storage.store import StorageStore


class StorageService:
    """Stored objects for clients and game code."""

    def __init__(self, store: StorageStore, indexes: Indexes) -> None:
        self._store = store
        self._indexes = indexes

    async def read(self, ids: Sequence[ObjectId], *, caller_id: str | None = None) -> list[StoredObject]:
        """See Storage.read."""
        _check_count(ids)
        wanted = rules.ids_to_read(ids, caller_id)
        if not wanted:
            return []
        # Game code reads in order to write, players in order to see.
        found = await (self._store.read(wanted) if caller_id is None else self._store.read_shown(wanted))
        return [one for one in found if rules.readable(one, caller_id)]

    async def write(self, writes: Sequence[ObjectWrite], *, caller_id: str | None = None) -> list[Ack]:
        """See Storage.write."""
        _check_count(writes)
        rows = [self._indexes.with_changes(rules.row_of(write, caller_id)) for write in writes]
        if len(rows) == 1 and rows[0].expected in ("", CREATE_ONLY):
            return [await self._store.write_one(rows[0])]
        return await self._store.write_all(rows) if rows else []

    async def delete(self, ids: Sequence[ObjectId], *, caller_id: str | None = None) -> None:
        """See Storage.delete."""
        _check_count(ids)
        if ids:
            deletes = [rules.expected_of(one, caller_id) for one in ids]
            await self._store.delete_all(deletes, self._indexes.removals({one.id for one in deletes}))

    async def list(
        self,
        collection: str,
        user_id: str | None = None,
        limit: int = PAGE_OBJECTS_MAX,
        cursor: str = "",
        *,
        caller_id: str | None = None,
    ) -> Page:
        """See Storage.list."""
        if not 1 <= limit <= PAGE_OBJECTS_MAX:
            raise BadLimit
        if user_id is None:
            return await self._list_shared(collection, limit, cursor, public=caller_id is not None)
        owner = rules.owner_id(user_id)
        return await self._list_owned(collection, limit, cursor, owner, rules.lowest_permission(owner, caller_id))

    async def _list_owned(self, collection: str, limit: int, cursor: str, owner: str, lowest: int) -> Page:
        position = rules.owner_position(collection, owner, lowest, cursor)
        if not rules.storable(collection):
            return Page([])
        # One more than asked for tells whether there is a next page.
        found = await self._store.list_of_owner(owner, collection, position, limit + 1)
        if len(found) <= limit:
            return Page(found)
        return Page(found[:limit], rules.owner_cursor(collection, owner, lowest, found[limit - 1]))

    async def _list_shared(self, collection: str, limit: int, cursor: str, *, public: bool) -> Page:
        position = rules.shared_position(collection, public, cursor)
        if not rules.storable(collection):
            return Page([])
        found = await self._store.list_of_all(collection, public, position, limit + 1)
        if len(found) <= limit:
            return Page(found)
        return Page(found[:limit], rules.shared_cursor(collection, public, found[limit - 1]))

    async def search(
        self,
        index: str,
        query: str = "*",
        limit: int = PAGE_OBJECTS_MAX,
        order: str = "",
        cursor: str = "",
        *,
        caller_id: str | None = None,
    ) -> Page:
        """See Storage.search."""
        ids, after = await self._indexes.search(index, query, limit, order, cursor, caller_id)
        found = {rules.id_of(one): one for one in await self._store.read(ids)} if ids else {}
        # An object that was deleted or hidden since it was found is left out.
        shown = [found[one] for one in ids if one in found and rules.readable(found[one], caller_id)]
        return Page(shown, after)

    async def get(self, collection: str, key: str, user_id: str = SYSTEM_USER, kind: Any = None) -> Any:
        """See Storage.get."""
        found = await self.read([ObjectId(collection, key, user_id)])
        if not found:
            return None
        return msgspec.json.decode(found[0].value, type=kind or dict[str, Any])

    async def put(
        self,
        collection: str,
        key: str,
        value: dict[str, Any] | msgspec.Struct,
        user_id: str = SYSTEM_USER,
        *,
        permission_read: int = READ_OWNER,
        permission_write: int = WRITE_OWNER,
        version: str = "",
    ) -> Ack:
        """See Storage.put."""
        text = msgspec.json.encode(value).decode()
        write = ObjectWrite(collection, key, text, user_id, version, permission_read, permission_write)
        return (await self.write([write]))[0]

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete everything a player owns in the transaction that deletes the account. One round trip."""
        await self._store.forget(tx, user_id)


def _check_count(things: Sequence[object]) -> None:
    if len(things) > OBJECTS_MAX:
        raise TooManyObjects
