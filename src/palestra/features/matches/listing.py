"""Finding authoritative matches by label, size and query."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from palestra.core.clock import utc
from palestra.core.query import Document, Query, Value, flatten, parse
from palestra.core.turns import Turns
from palestra.features.streams.contract import Stream


class Shown(Protocol):
    """What there is to be seen of an authoritative match: its desk, or what its node tells of it."""

    id: str
    name: str
    node: str
    ticks_per_second: int
    started_at: float
    label: str
    label_version: int


class Findable(Protocol):
    """A match of this node or of another one."""

    indexed: tuple[int, Document] | None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        ...

    @property
    def stream(self) -> Stream:
        """Where its members are."""
        ...

    @property
    def desk(self) -> Shown:
        """What it shows."""
        ...


def document(match: Findable) -> Document:
    """What queries are asked of: made when first asked for, and again after a change of label."""
    known = match.indexed
    if known is None or known[0] != match.desk.label_version:
        known = match.indexed = (match.desk.label_version, document_of(match.desk))
    return known[1]


def document_of(desk: Shown) -> Document:
    """What a query can ask of a match: `label.*` where the label is a JSON object, and what every match has."""
    fields: dict[str, list[Value]] = {}
    if desk.label.startswith("{"):
        try:
            fields = flatten(msgspec.json.decode(desk.label), "label")
        except (msgspec.DecodeError, RecursionError):
            fields = {}
    return {
        **fields,
        "label_string": [desk.label],
        "node": [desk.node],
        "handler_name": [desk.name],
        "tick_rate": [desk.ticks_per_second],
        "create_time": [utc(desk.started_at)],
    }


async def choose(
    newest_first: Iterable[Findable],
    size_of: Callable[[Findable], int],
    turns: Turns,
    *,
    limit: int,
    label: str | None,
    query: str | None,
    min_size: int | None,
    max_size: int | None,
    quotes: bool,
) -> list[tuple[Findable, int]]:
    """At most `limit` matches and their sizes: by a query's score and then the newest first.

    Raises BadQuery, TooCostly.
    """
    asked: Query | None = None if query is None else parse(query, quotes=quotes)
    found: list[tuple[float, Findable, int]] = []

    def enough(match: Findable) -> bool:
        if match.over or (asked is None and label is not None and match.desk.label != label):
            return False
        size = size_of(match)
        if size < (min_size or 0) or (max_size is not None and size > max_size):
            return False
        score = 1.0 if asked is None else asked.score(document(match))
        if score is not None:
            found.append((score, match, size))
        return asked is None and len(found) == limit

    await turns.each(newest_first, enough)
    found.sort(key=lambda one: -one[0])
    return [(match, size) for _, match, size in found[:limit]]
