"""What others may know of stored objects: records, errors and the `Storage` protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol, TypeVar, overload

import msgspec

from palestra.core.errors import InvalidArgument, SetupError, Unavailable
from palestra.core.ids import SYSTEM_USER

READ_NOBODY, READ_OWNER, READ_PUBLIC = 0, 1, 2
WRITE_NOBODY, WRITE_OWNER = 0, 1
TEXT_CHARS_MAX = 128
"""Longest collection or key."""
OBJECTS_MAX = 10_000
"""Most objects in one call; a request reaches its body limit before this one."""
PAGE_OBJECTS_MAX = 100
CREATE_ONLY = "*"
"""The `version` of a write that must not find an object."""

INDEX_FIELDS_MAX = 16
INDEX_VALUES_MAX = 256
"""Most values that an index looks at in one object."""
SEARCH_OBJECTS_MAX = 1_000
CANDIDATES_MAX = 10_000
"""Most objects that a search looks at for one page."""

T = TypeVar("T")


class ObjectId(msgspec.Struct, frozen=True):
    """Names one object. An empty `user_id` is the caller, or the platform itself where the server is the caller.

    `version` matters to deletes only: when given, the stored version must equal it.
    """

    collection: str
    key: str
    user_id: str = ""
    version: str = ""


class ObjectWrite(msgspec.Struct, frozen=True):
    """One object to be written; `value` is the text of a JSON object.

    `version`: "" overwrites whatever is there, "*" only creates, anything else must equal the stored version.
    `user_id` as in ObjectId.
    """

    collection: str
    key: str
    value: str
    user_id: str = ""
    version: str = ""
    permission_read: int = READ_OWNER
    permission_write: int = WRITE_OWNER


class StoredObject(msgspec.Struct, frozen=True):
    """An object as it is stored: `value` is JSON text as PostgreSQL writes it, `version` the MD5 of what was sent."""

    collection: str
    key: str
    user_id: str
    value: str
    version: str
    permission_read: int
    permission_write: int
    created_at: datetime
    updated_at: datetime


class Ack(msgspec.Struct, frozen=True):
    """The outcome of one write."""

    collection: str
    key: str
    user_id: str
    version: str
    created_at: datetime
    updated_at: datetime


class Page(msgspec.Struct, frozen=True):
    """Some objects of a list; `cursor` leads to the next page and is empty on the last."""

    objects: list[StoredObject]
    cursor: str = ""


Keep = Callable[[ObjectWrite], bool]


class Index(msgspec.Struct, frozen=True):
    """A declared index. `fields` and `sortable` are paths into values, `key` is the only one it takes, "" for all.

    `keep` says which objects are in it, and `keep_text` is its code: another one makes another index. Raises SetupError
    when it cannot be.
    """

    name: str
    collection: str
    key: str
    fields: tuple[str, ...]
    sortable: tuple[str, ...] = ()
    keep: Keep | None = None
    keep_text: str = ""

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= TEXT_CHARS_MAX and 0 < len(self.collection) <= TEXT_CHARS_MAX):
            raise SetupError(f"an index has a name and a collection of 1 to {TEXT_CHARS_MAX} characters")
        if not 1 <= len(self.fields) <= INDEX_FIELDS_MAX or len(set(self.fields)) < len(self.fields):
            raise SetupError(f"index {self.name!r}: an index has 1 to {INDEX_FIELDS_MAX} different fields")
        if any(not 0 < len(path) <= TEXT_CHARS_MAX or "" in path.split(".") for path in self.fields):
            raise SetupError(f"index {self.name!r}: a field is a path such as level or stats.level")
        if strange := set(self.sortable) - set(self.fields):
            raise SetupError(f"index {self.name!r}: {min(strange)!r} is sortable and none of the fields")

    @property
    def id(self) -> str:
        """The name, and a hash of all that it depends on."""
        told = msgspec.json.encode((self.collection, self.key, self.fields, self.sortable, self.keep_text))
        return f"{self.name}:{blake2b(told, digest_size=8).hexdigest()}"


class StorageError(InvalidArgument):
    """A request about stored objects that cannot be carried out; its text is the default message."""

    text = "Error writing storage objects."

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.text)


class NotStorable(StorageError):
    """A collection or key that is too long, or text that the database cannot hold."""


class Incomplete(StorageError):
    """Collection, key or value is empty."""

    text = "Invalid collection or key value supplied. They must be set."


class BadReadPermission(StorageError):
    """A read permission outside 0–2."""

    text = "Invalid Read permission supplied. It must be either 0, 1 or 2."


class BadWritePermission(StorageError):
    """A write permission outside 0–1."""

    text = "Invalid Write permission supplied. It must be either 0 or 1."


class NotAnObject(StorageError):
    """A value that is not the text of a JSON object."""

    text = "Value must be a JSON object."


class BadOwner(StorageError):
    """An owner that is no user id."""

    text = "Invalid user ID - make sure user ID is a valid UUID."


class BadLimit(StorageError):
    """A page size outside 1–100."""

    text = "Invalid limit - limit must be between 1 and 100."


class BadCursor(StorageError):
    """A cursor that was not given out for this list."""

    text = "Malformed cursor was used."


class TooManyObjects(StorageError):
    """More objects in one call than OBJECTS_MAX."""

    text = f"At most {OBJECTS_MAX} objects fit into one call."


class TooManyValues(StorageError):
    """An object has more values in the fields of an index than INDEX_VALUES_MAX."""

    text = f"An index takes at most {INDEX_VALUES_MAX} values of one object."


class UnknownIndex(StorageError):
    """No game declares an index of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no index {name!r}: declare it with @game.index.")


class UnknownField(StorageError):
    """A query asks for a field that the index does not have."""

    def __init__(self, field: str, index: str, known: Sequence[str]) -> None:
        super().__init__(f"The index {index!r} has no field {field!r}, but {', '.join(known)}.")


class NotSortable(StorageError):
    """An order by a field that was not declared sortable."""

    def __init__(self, field: str, index: str, sortable: Sequence[str]) -> None:
        super().__init__(
            f"The index {index!r} cannot be sorted by {field!r}, but by {', '.join(sortable) or 'nothing'}."
        )


class Unnarrowed(StorageError):
    """A query that no index narrows down."""

    text = (
        "A query needs a + clause that an index serves: a value, a number, a range, or a pattern with a beginning;"
        " without any + clause, all others have to be such."
    )


class BadSearchLimit(StorageError):
    """A page size outside 1–1,000."""

    text = f"Invalid limit - limit must be between 1 and {SEARCH_OBJECTS_MAX}."


class IndexBuilding(Unavailable):
    """The index does not hold all objects yet."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The index {name!r} is being built, try again.", retry_after_seconds=1.0)


class VersionRejected(StorageError):
    """The object is not, or no longer, of the version that the write expects."""

    text = "Storage write rejected - version check failed."


class WriteDenied(StorageError):
    """The object belongs to someone else or only the server may write it."""

    text = "Storage write rejected - permission denied."


class DeleteRejected(StorageError):
    """An object to be deleted is missing, of another version or not writable by the caller; nothing was deleted."""

    text = "Storage delete rejected - not found, version check failed, or permission denied."


class Contended(Unavailable):
    """Others kept changing the same objects at the same time; nothing was written."""


class Storage(Protocol):
    """Reads and writes stored objects.

    `caller_id` None is the server: it sees and changes everything. With a user id the call has that player's rights:
    the player reads own and public objects and writes only own ones. Every call raises Unavailable while the database
    is away and Overloaded when its queue is full.
    """

    async def read(self, ids: Sequence[ObjectId], *, caller_id: str | None = None) -> list[StoredObject]:
        """The objects among `ids` that exist and that the caller may read, each once, in no particular order.

        One round trip, shared with concurrent readers. Raises Incomplete, BadOwner, TooManyObjects.
        """
        ...

    async def write(self, writes: Sequence[ObjectWrite], *, caller_id: str | None = None) -> list[Ack]:
        """Write all or nothing; the acks come in the order of `writes`.

        One object may stand in `writes` several times: the later entry is applied after the earlier. A single write
        without a version, or with "*", shares a round trip with concurrent writers; others cost a transaction of
        five. Raises StorageError's subclasses, Contended.
        """
        ...

    async def delete(self, ids: Sequence[ObjectId], *, caller_id: str | None = None) -> None:
        """Delete all or nothing, in one transaction. Raises DeleteRejected, Incomplete, BadOwner, Contended."""
        ...

    async def list(
        self,
        collection: str,
        user_id: str | None = None,
        limit: int = PAGE_OBJECTS_MAX,
        cursor: str = "",
        *,
        caller_id: str | None = None,
    ) -> Page:
        """Up to `limit` (1–100) objects of a collection: one owner's, or with `user_id` None everybody's.

        A player sees own objects by (read permission, key), another's public ones by key and everybody's public ones
        by (key, owner); the server sees all. Cost O(limit). Raises BadLimit, BadOwner, BadCursor.
        """
        ...

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
        """Up to `limit` (1–1,000) objects of a declared index that match a query and that the caller may read.

        By a sortable field, "-" in front for downwards, or by key. Looks at no more than CANDIDATES_MAX objects: a page
        of a query that matches few among many may be short, even empty, and have a cursor all the same.
        Raises BadQuery, TooCostly, and the errors of indexes above, IndexBuilding.
        """
        ...

    @overload
    async def get(self, collection: str, key: str, user_id: str = ..., kind: None = None) -> dict[str, Any] | None: ...

    @overload
    async def get(self, collection: str, key: str, user_id: str = ..., *, kind: type[T]) -> T | None: ...

    async def get(self, collection: str, key: str, user_id: str = SYSTEM_USER, kind: Any = None) -> Any:
        """The decoded value of one object, read as the server, or None; `kind` asks for another type than dict.

        Raises msgspec.ValidationError when the value does not fit `kind`.
        """
        ...

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
        """Encode `value` and write it as the server. Raises as `write`."""
        ...
