"""The JSON shapes of the storage endpoints."""

from __future__ import annotations

from datetime import datetime

import msgspec

from palestra.core.clock import timestamp
from palestra.features.storage import contract
from palestra.gateway.fields import Int32, JsonText


class WriteObject(msgspec.Struct):
    """One object of a write; permissions left out count as 1."""

    collection: str = ""
    key: str = ""
    value: JsonText = ""
    version: str = ""
    permission_read: Int32 | None = None
    permission_write: Int32 | None = None


class WriteRequest(msgspec.Struct):
    """Objects to write as the caller."""

    objects: list[WriteObject] = []


class ReadObjectId(msgspec.Struct):
    """One object to read; without an owner it is the platform's."""

    collection: str = ""
    key: str = ""
    user_id: str = ""


class ReadRequest(msgspec.Struct):
    """Objects to read."""

    object_ids: list[ReadObjectId] = []


class DeleteObjectId(msgspec.Struct):
    """One of the caller's objects to delete."""

    collection: str = ""
    key: str = ""
    version: str = ""


class DeleteRequest(msgspec.Struct):
    """Objects to delete as the caller."""

    object_ids: list[DeleteObjectId] = []


class ListRequest(msgspec.Struct):
    """Which objects of a collection to list; `limit` left out is 1."""

    collection: str = ""
    user_id: str = ""
    limit: Int32 | None = None
    cursor: str = ""


class Object(msgspec.Struct, omit_defaults=True):
    """A stored object; times in whole seconds."""

    collection: str = ""
    key: str = ""
    user_id: str = ""
    value: JsonText = ""
    version: str = ""
    permission_read: int = 0
    permission_write: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None


class Objects(msgspec.Struct, omit_defaults=True):
    """Objects that were read."""

    objects: list[Object] = []


class ObjectList(msgspec.Struct, omit_defaults=True):
    """One page of a list."""

    objects: list[Object] = []
    cursor: str = ""


class Ack(msgspec.Struct, omit_defaults=True):
    """The outcome of one write; times in microseconds."""

    collection: str = ""
    key: str = ""
    version: str = ""
    user_id: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


class Acks(msgspec.Struct, omit_defaults=True):
    """The outcomes of a write in the order of the request."""

    acks: list[Ack] = []


def object_of(stored: contract.StoredObject) -> Object:
    """A stored object in its wire form."""
    return Object(
        stored.collection,
        stored.key,
        stored.user_id,
        stored.value,
        stored.version,
        stored.permission_read,
        stored.permission_write,
        timestamp(stored.created_at),
        timestamp(stored.updated_at),
    )


def ack_of(ack: contract.Ack) -> Ack:
    """An ack in its wire form."""
    created = timestamp(ack.created_at, fraction=True)
    updated = created if ack.updated_at == ack.created_at else timestamp(ack.updated_at, fraction=True)
    return Ack(ack.collection, ack.key, ack.version, ack.user_id, created, updated)
