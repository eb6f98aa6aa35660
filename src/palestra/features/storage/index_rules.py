"""Pure decisions about storage indexes: what a value has in one, which rows a query looks at, in which order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import parse_id
from palestra.core.query import (
    Clause,
    Document,
    Number,
    NumberRange,
    Query,
    Text,
    TimeRange,
    Value,
    Wildcard,
    flatten,
)
from palestra.features.storage.contract import (
    INDEX_VALUES_MAX,
    SEARCH_OBJECTS_MAX,
    BadCursor,
    BadSearchLimit,
    Index,
    NotSortable,
    TooManyValues,
    UnknownField,
    Unnarrowed,
)

TEXT_CHARS_MAX = 256
"""How much of a text is looked up; what is longer is compared afterwards."""
LAST_CHAR = "\U0010ffff"
TEXT, NUMBER, TIME, NOTHING = range(4)
ALWAYS = ("key", "user_id")
"""Fields that every index has."""
BY_KEY = ""
"""The field under which all entries are in the order of their keys."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# -- what an object has in an index


class Sort(NamedTuple):
    """A place in the order of a field: texts, numbers, times, then what has no value; each by key and owner."""

    kind: int
    number: float
    text: str
    key: str
    user_id: str


def picked(index: Index, value: str) -> bytes:
    """The part of a value that an index looks at, as JSON."""
    content = msgspec.json.decode(value, type=dict[str, Any])
    found: dict[str, Any] = {}
    for path in index.fields:
        inner: Any = content
        for part in path.split("."):
            inner = inner.get(part) if isinstance(inner, dict) else None
        if inner is not None:
            found[path] = inner
    return msgspec.json.encode(found)


def document(key: str, user_id: str, fields: str | bytes) -> Document:
    """What queries are asked of, from what `picked` picked."""
    found: dict[str, Sequence[Value]] = {"key": [key], "user_id": [user_id]}
    for path, content in msgspec.json.decode(fields, type=dict[str, Any]).items():
        found.update(flatten(content, f"value.{path}"))
    return found


def values(entry: Document) -> Iterator[tuple[str, int, float, str]]:
    """(field, kind, number, text) of all values. Raises TooManyValues."""
    found = {(field, *_placed(value)) for field, several in entry.items() for value in several}
    if len(found) > INDEX_VALUES_MAX:
        raise TooManyValues
    return iter(found)


def sort_of(field: str, entry: Document, key: str, user_id: str) -> Sort:
    """Where an object stands in the order of a field: by its first value."""
    several = () if field == BY_KEY else entry.get(f"value.{field}", ())
    return Sort(*_placed(several[0]), key, user_id) if several else Sort(NOTHING, 0.0, "", key, user_id)


def _placed(value: Value) -> tuple[int, float, str]:
    if isinstance(value, str):
        return TEXT, 0.0, value[:TEXT_CHARS_MAX]
    if isinstance(value, datetime):
        return TIME, float((value - _EPOCH) // _MICROSECOND), ""
    return NUMBER, _float(value), ""


def _float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


class IndexChange(NamedTuple):
    """What a write does to an index: what is entered, or that nothing is any more."""

    index_id: str
    key: str
    user_id: str
    permission_read: int = 0
    fields: str = ""
    found_by: tuple[tuple[str, int, float, str], ...] = ()
    sorted_by: tuple[tuple[str, int, float, str], ...] = ()

    @property
    def enters(self) -> bool:
        """Whether the object is in the index afterwards."""
        return bool(self.fields)


def entered(index: Index, key: str, user_id: str, value: str, permission_read: int) -> IndexChange:
    """What an object is entered as. Raises TooManyValues."""
    fields = picked(index, value).decode()
    entry = document(key, user_id, fields)
    sorts = tuple((field, *sort_of(field, entry, key, user_id)[:3]) for field in (BY_KEY, *index.sortable))
    return IndexChange(index.id, key, user_id, permission_read, fields, tuple(values(entry)), sorts)


# -- what a query looks at


class Stretch(NamedTuple):
    """Values of a field that lie side by side: all that can fulfil a condition, and perhaps a few that do not."""

    field: str
    kind: int
    low: float
    high: float
    first: str
    last: str


def stretches(clause: Clause) -> list[Stretch] | None:
    """Where the values lie that a clause asks for; None if they are not side by side."""
    field, condition = clause.field, clause.condition
    if isinstance(condition, Text):
        return [_texts(field, condition.text, condition.text)]
    if isinstance(condition, Number):
        number = _float(condition.number)
        return [Stretch(field, NUMBER, number, number, "", ""), _texts(field, condition.text, condition.text)]
    if isinstance(condition, NumberRange | TimeRange):
        bound = condition.bound
        kind, at, _ = _placed(bound)
        upwards = condition.operator in (">", ">=")
        return [Stretch(field, kind, at if upwards else -math.inf, math.inf if upwards else at, "", "")]
    if isinstance(condition, Wildcard) and (start := _literal_start(condition.pattern)):
        return [_texts(field, start, start + LAST_CHAR)]
    return None


def _texts(field: str, first: str, last: str) -> Stretch:
    return Stretch(field, TEXT, 0.0, 0.0, first[:TEXT_CHARS_MAX], last[: TEXT_CHARS_MAX + 1])


def _literal_start(pattern: str) -> str:
    start, escaped = "", False
    for letter in pattern:
        if escaped or letter not in "*?\\":
            start, escaped = start + letter, False
        elif letter == "\\":
            escaped = True
        else:
            break
    return start


def narrowings(index: Index, query: Query) -> list[list[Stretch]]:
    """Ways to narrow a query down, each enough by itself; none if it asks for everything, less what is excluded.

    Raises UnknownField, and Unnarrowed when there is no way although the query asks for something.
    """
    known = (*ALWAYS, *(f"value.{path}" for path in index.fields))
    for clause in (*query.required, *query.optional, *query.excluded):
        if clause.field not in known and not clause.field.startswith(tuple(f"{field}." for field in known)):
            raise UnknownField(clause.field, index.name, known)
    if query.required:
        found = [ways for clause in query.required if (ways := stretches(clause)) is not None]
    else:
        ways = [stretches(clause) for clause in query.optional]
        found = [[one for way in ways if way for one in way]] if ways and None not in ways else []
    if not found and (query.required or query.optional):
        raise Unnarrowed
    return found


# -- pages


class SearchCursor(msgspec.Struct, frozen=True, tag="storage search"):
    """Where a page of a search ended."""

    asked: bytes
    """A hash of the index, the query, the order and the caller."""
    kind: int
    number: float
    text: str
    key: str
    user_id: str


def order_of(index: Index, order: str) -> tuple[str, bool]:
    """The field by which to sort, BY_KEY for none, and whether downwards. Raises NotSortable."""
    field = order.removeprefix("-")
    if field not in index.sortable and field != BY_KEY:
        raise NotSortable(field, index.name, index.sortable)
    return field, order.startswith("-")


def check_limit(limit: int) -> None:
    """Raises BadSearchLimit."""
    if not 1 <= limit <= SEARCH_OBJECTS_MAX:
        raise BadSearchLimit


def _asked(index: Index, query: str, order: str, caller_id: str | None) -> bytes:
    return blake2b(msgspec.json.encode((index.id, query, order, caller_id)), digest_size=16).digest()


def search_start(index: Index, query: str, order: str, caller_id: str | None, cursor: str) -> Sort | None:
    """Behind which place a page starts. Raises BadCursor."""
    if not cursor:
        return None
    try:
        found = open_cursor(cursor, SearchCursor)
        user_id = parse_id(found.user_id)
    except ValueError:
        raise BadCursor from None
    if found.asked != _asked(index, query, order, caller_id) or not 0 <= found.kind <= NOTHING:
        raise BadCursor
    if "\0" in found.text or "\0" in found.key:
        raise BadCursor
    return Sort(found.kind, found.number, found.text, found.key, user_id)


def search_cursor(index: Index, query: str, order: str, caller_id: str | None, last: Sort) -> str:
    """The cursor behind a place."""
    return seal_cursor(SearchCursor(_asked(index, query, order, caller_id), *last))
