"""The storage endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.core.ids import SYSTEM_USER
from palestra.features.storage import wire
from palestra.features.storage.contract import BadOwner, ObjectId, ObjectWrite, Storage
from palestra.features.storage.rules import owner_id
from palestra.gateway.operation import Call, Empty


class StorageRoutes:
    """Handlers of the storage operations; every call has the rights of its caller."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def write(self, call: Call, request: wire.WriteRequest) -> wire.Acks:
        """Write objects as the caller."""
        caller_id = call.player.user_id
        writes = [
            ObjectWrite(
                one.collection,
                one.key,
                one.value,
                caller_id,
                one.version,
                1 if one.permission_read is None else one.permission_read,
                1 if one.permission_write is None else one.permission_write,
            )
            for one in request.objects
        ]
        acks = await self._storage.write(writes, caller_id=caller_id)
        return wire.Acks([wire.ack_of(ack) for ack in acks])

    async def read(self, call: Call, request: wire.ReadRequest) -> wire.Objects:
        """Read objects that the caller may see."""
        ids = [ObjectId(one.collection, one.key, _owner_of(one)) for one in request.object_ids]
        objects = await self._storage.read(ids, caller_id=call.player.user_id)
        return wire.Objects([wire.object_of(one) for one in objects])

    async def delete(self, call: Call, request: wire.DeleteRequest) -> Empty:
        """Delete objects of the caller."""
        ids = [ObjectId(one.collection, one.key, "", one.version) for one in request.object_ids]
        await self._storage.delete(ids, caller_id=call.player.user_id)
        return Empty()

    async def list(self, call: Call, request: wire.ListRequest) -> wire.ObjectList:
        """List objects of a collection that the caller may see."""
        limit = 1 if request.limit is None else request.limit
        page = await self._storage.list(
            request.collection, request.user_id or None, limit, request.cursor, caller_id=call.player.user_id
        )
        return wire.ObjectList([wire.object_of(one) for one in page.objects], page.cursor)


def _owner_of(one: wire.ReadObjectId) -> str:
    """An absent owner is the platform; clients may not spell the platform's id out."""
    if not (one.user_id and one.collection and one.key):
        return SYSTEM_USER
    owner = owner_id(one.user_id)
    if owner == SYSTEM_USER:
        raise BadOwner
    return owner
