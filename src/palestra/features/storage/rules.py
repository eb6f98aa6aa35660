"""Pure decisions about stored objects: what may be written, who may read, which version wins, what a cursor means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import md5

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.core.text import storable as text_is_storable
from palestra.features.storage.contract import (
    CREATE_ONLY,
    READ_OWNER,
    READ_PUBLIC,
    TEXT_CHARS_MAX,
    BadCursor,
    BadOwner,
    BadReadPermission,
    BadWritePermission,
    DeleteRejected,
    Incomplete,
    NotAnObject,
    NotStorable,
    ObjectId,
    ObjectWrite,
    StoredObject,
    VersionRejected,
    WriteDenied,
)
from palestra.features.storage.index_rules import IndexChange

Id = tuple[str, str, str]
"""Collection, key and owner: what names an object."""
FIRST_KEY = ""
"""Sorts before every key, since no key is empty."""

_holds_nul = re.compile(r"(?<!\\)(?:\\\\)*\\u0000").search


class Row(msgspec.Struct, frozen=True):
    """A write that is well formed. `expected` is the version asked for, `version` that of the new value."""

    id: Id
    value: str
    version: str
    permission_read: int
    permission_write: int
    expected: str
    trusted: bool
    index_changes: tuple[IndexChange, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """What is known of an object that exists; without times it was written by the transaction at hand."""

    version: str
    permission_read: int
    permission_write: int
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Expected(msgspec.Struct, frozen=True):
    """A delete that is well formed; an empty version fits any."""

    id: Id
    version: str
    trusted: bool


# -- requests


def row_of(write: ObjectWrite, caller_id: str | None) -> Row:
    """Check a write, in the order that clients know. O(length of the value). Raises StorageError's subclasses."""
    value = write.value
    if not (write.collection and write.key and value):
        raise Incomplete
    if not 0 <= write.permission_read <= 2:
        raise BadReadPermission
    if not 0 <= write.permission_write <= 1:
        raise BadWritePermission
    version = version_of(value)
    owner = write.user_id
    if caller_id is None:
        owner = owner_id(owner) if owner else SYSTEM_USER
    elif owner and owner != caller_id:
        raise WriteDenied
    else:
        owner = caller_id
    if not (storable(write.collection) and storable(write.key)) or ("\\u0000" in value and _holds_nul(value)):
        raise NotStorable
    return Row(
        (write.collection, write.key, owner),
        value,
        version,
        write.permission_read,
        write.permission_write,
        write.version,
        caller_id is None,
    )


def version_of(value: str) -> str:
    """The version of a value: the MD5 of its text in lower-case hex. Raises NotAnObject unless it is a JSON object."""
    try:
        encoded = value.encode()
        decoded = msgspec.json.decode(encoded)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise NotAnObject from None
    if type(decoded) is not dict:
        raise NotAnObject
    return md5(encoded, usedforsecurity=False).hexdigest()


def expected_of(wanted: ObjectId, caller_id: str | None) -> Expected:
    """Check a delete. Raises Incomplete, BadOwner, DeleteRejected."""
    if not (wanted.collection and wanted.key):
        raise Incomplete
    owner = _owner(wanted, caller_id)
    if not (storable(wanted.collection) and storable(wanted.key)) or (caller_id is not None and owner != caller_id):
        raise DeleteRejected
    return Expected((wanted.collection, wanted.key, owner), wanted.version, caller_id is None)


def ids_to_read(wanted: Sequence[ObjectId], caller_id: str | None) -> list[Id]:
    """The objects to look for, without those that cannot exist. Raises Incomplete, BadOwner."""
    ids = []
    for one in wanted:
        if not (one.collection and one.key):
            raise Incomplete
        owner = _owner(one, caller_id)
        if storable(one.collection) and storable(one.key):
            ids.append((one.collection, one.key, owner))
    return ids


def _owner(wanted: ObjectId, caller_id: str | None) -> str:
    if wanted.user_id:
        return owner_id(wanted.user_id)
    return SYSTEM_USER if caller_id is None else caller_id


def owner_id(text: str) -> str:
    """The canonical form of a user id. Raises BadOwner."""
    try:
        return parse_id(text)
    except ValueError:
        raise BadOwner from None


def storable(text: str) -> bool:
    """Whether a collection or key fits its column."""
    return len(text) <= TEXT_CHARS_MAX and text_is_storable(text)


# -- decisions


def changes(standing: Standing | None, row: Row) -> bool:
    """Whether a write changes the object that stands there. Raises VersionRejected or WriteDenied when it may not."""
    if row.expected == CREATE_ONLY:
        if standing is not None:
            raise VersionRejected
        return True
    if standing is None:
        if row.expected:
            raise VersionRejected
        return True
    if standing.permission_write == 0 and not row.trusted:
        raise WriteDenied
    if row.expected and standing.version != row.expected:
        raise VersionRejected
    return not _same(standing, row)


def fold(standing: Mapping[Id, Standing], rows: Sequence[Row]) -> tuple[dict[Id, Row], list[Standing]]:
    """Apply `rows` one after the other, by id and within one id in the given order, to what stands.

    Returns the rows that are to be written, and for every entry of `rows` what stands after it (without times where
    that is still to be written). Raises VersionRejected or WriteDenied as the first entry that may not be applied.
    """
    current = dict(standing)
    last: dict[Id, Row] = {}
    after: list[Standing | None] = [None] * len(rows)
    for index in sorted(range(len(rows)), key=lambda index: rows[index].id):
        row = rows[index]
        if changes(current.get(row.id), row):
            before = standing.get(row.id)
            if before is not None and _same(before, row):
                # Back to what it was before this transaction: nothing is left to write.
                current[row.id] = before
                last.pop(row.id, None)
            else:
                current[row.id] = Standing(row.version, row.permission_read, row.permission_write)
                last[row.id] = row
        after[index] = current[row.id]
    return last, [one for one in after if one is not None]


def _same(standing: Standing, row: Row) -> bool:
    return (
        standing.version == row.version
        and standing.permission_read == row.permission_read
        and standing.permission_write == row.permission_write
    )


def check_deletes(standing: Mapping[Id, Standing], deletes: Sequence[Expected]) -> None:
    """Raise DeleteRejected unless every delete finds its object, of its version and writable, once."""
    left = dict(standing)
    for one in deletes:
        found = left.pop(one.id, None)
        if found is None or (one.version and one.version != found.version):
            raise DeleteRejected
        if found.permission_write == 0 and not one.trusted:
            raise DeleteRejected


def id_of(stored: StoredObject) -> Id:
    """What names an object."""
    return stored.collection, stored.key, stored.user_id


def readable(stored: StoredObject, caller_id: str | None) -> bool:
    """Whether the caller may see an object."""
    return readable_by(stored.permission_read, stored.user_id, caller_id)


def readable_by(permission_read: int, owner_id: str, caller_id: str | None) -> bool:
    """The same, of an object with this permission and owner."""
    if caller_id is None or permission_read == READ_PUBLIC:
        return True
    return permission_read == READ_OWNER and owner_id == caller_id


# -- lists


class OwnerPosition(msgspec.Struct, array_like=True, frozen=True):
    """After which object a list of one owner's objects goes on."""

    permission_read: int
    key: str


class SharedPosition(msgspec.Struct, array_like=True, frozen=True):
    """After which object a list of everybody's objects goes on."""

    key: str
    user_id: str


class _OwnerCursor(msgspec.Struct, array_like=True, frozen=True, tag="owner"):
    collection: str
    owner: str
    lowest: int
    position: OwnerPosition


class _SharedCursor(msgspec.Struct, array_like=True, frozen=True, tag="shared"):
    collection: str
    public: bool
    position: SharedPosition


def lowest_permission(owner: str, caller_id: str | None) -> int:
    """The lowest read permission of an owner's objects that the caller sees in a list."""
    if caller_id is None:
        return 0
    return READ_OWNER if owner == caller_id else READ_PUBLIC


def owner_position(collection: str, owner: str, lowest: int, cursor: str) -> OwnerPosition:
    """Where a list of one owner's objects starts. Raises BadCursor when `cursor` is not this list's."""
    if not cursor:
        return OwnerPosition(lowest, FIRST_KEY)
    try:
        found = open_cursor(cursor, _OwnerCursor)
    except ValueError:
        raise BadCursor from None
    if (found.collection, found.owner, found.lowest) != (collection, owner, lowest):
        raise BadCursor
    # A position below the lowest permission would show what is hidden.
    if not lowest <= found.position.permission_read <= READ_PUBLIC or not storable(found.position.key):
        raise BadCursor
    return found.position


def owner_cursor(collection: str, owner: str, lowest: int, last: StoredObject) -> str:
    """The cursor behind `last` in a list of one owner's objects."""
    return seal_cursor(_OwnerCursor(collection, owner, lowest, OwnerPosition(last.permission_read, last.key)))


def shared_position(collection: str, public: bool, cursor: str) -> SharedPosition:
    """Where a list of everybody's objects starts. Raises BadCursor when `cursor` is not this list's."""
    if not cursor:
        return SharedPosition(FIRST_KEY, SYSTEM_USER)
    try:
        found = open_cursor(cursor, _SharedCursor)
        owner = parse_id(found.position.user_id)
    except ValueError:
        raise BadCursor from None
    if (found.collection, found.public) != (collection, public) or not storable(found.position.key):
        raise BadCursor
    return SharedPosition(found.position.key, owner)


def shared_cursor(collection: str, public: bool, last: StoredObject) -> str:
    """The cursor behind `last` in a list of everybody's objects."""
    return seal_cursor(_SharedCursor(collection, public, SharedPosition(last.key, last.user_id)))
