"""Finding authoritative matches by label, size and query."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from palestra.core.clock import utc
from palestra.core.query import Document, Query, Value, flatten, parse
from palestra.core.turns import Turns
from palestra.features.matches.actor import Actor
from palestra.features.matches.desk import Desk


def document(actor: Actor) -> Document:
    """What queries are asked of: made when first asked for, and again after a change of label."""
    known = actor.indexed
    if known is None or known[0] != actor.desk.label_version:
        known = actor.indexed = (actor.desk.label_version, document_of(actor.desk))
    return known[1]


def document_of(desk: Desk) -> Document:
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
    newest_first: Iterable[Actor],
    size_of: Callable[[Actor], int],
    turns: Turns,
    *,
    limit: int,
    label: str | None,
    query: str | None,
    min_size: int | None,
    max_size: int | None,
    quotes: bool,
) -> list[tuple[Actor, int]]:
    """At most `limit` matches and their sizes: by a query's score and then the newest first.

    Raises BadQuery, TooCostly.
    """
    asked: Query | None = None if query is None else parse(query, quotes=quotes)
    found: list[tuple[float, Actor, int]] = []

    def enough(actor: Actor) -> bool:
        if actor.over or (asked is None and label is not None and actor.desk.label != label):
            return False
        size = size_of(actor)
        if size < (min_size or 0) or (max_size is not None and size > max_size):
            return False
        score = 1.0 if asked is None else asked.score(document(actor))
        if score is not None:
            found.append((score, actor, size))
        return asked is None and len(found) == limit

    await turns.each(newest_first, enough)
    found.sort(key=lambda one: -one[0])
    return [(actor, size) for _, actor, size in found[:limit]]
