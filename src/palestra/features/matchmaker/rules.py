"""What tickets may ask for, and how what they ask for relaxes while they wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from palestra.core.query import EVERYTHING, Clause, NumberRange, Query, Value, time_of
from palestra.features.matchmaker.contract import Drop, InvalidCounts, Relaxation, TooManyPlayers, Window

PLAYERS_MAX = 256
"""Of one match that is formed: each of its players is told of all."""


def counts(min_count: int, max_count: int, multiple: int | None) -> tuple[int, int, int]:
    """Counts as they are used: the largest is what a match can have. Raises InvalidCounts, TooManyPlayers."""
    if min_count < 2:
        raise InvalidCounts("Invalid minimum count, must be >= 2")
    if max_count < min_count:
        raise InvalidCounts("Invalid maximum count, must be >= minimum count")
    multiple = 1 if multiple is None else multiple
    if multiple < 1:
        raise InvalidCounts("Invalid count multiple, must be >= 1")
    if min_count % multiple:
        raise InvalidCounts("Invalid count multiple for minimum count, must divide")
    if max_count % multiple:
        raise InvalidCounts("Invalid count multiple for maximum count, must divide")
    if min_count > PLAYERS_MAX:
        raise TooManyPlayers(PLAYERS_MAX)
    return min_count, min(max_count, PLAYERS_MAX // multiple * multiple), multiple


def document_of(properties: Mapping[str, str | float], others: Mapping[str, Value]) -> dict[str, tuple[Value, ...]]:
    """What queries are asked of for a ticket; texts that stand for a time are times there."""
    found: dict[str, tuple[Value, ...]] = {name: (value,) for name, value in others.items()}
    for name, value in properties.items():
        found[f"properties.{name}"] = ((time_of(value) or value) if isinstance(value, str) else value,)
    return found


def query_after(
    query: Query, properties: Mapping[str, str | float], relaxations: Sequence[Relaxation], waited_seconds: float
) -> Query:
    """The query that is in force for a ticket which has waited so long."""
    dropped = {one.field for one in relaxations if isinstance(one, Drop) and waited_seconds >= one.after_seconds}
    near = [
        clause
        for one in relaxations
        if isinstance(one, Window) and isinstance(own := properties.get(one.property), int | float)
        for clause in _window(one, own, waited_seconds)
    ]
    if not near and not any(clause.field in dropped for clause in _clauses(query)):
        return query
    required = (*_kept(query.required, dropped), *near)
    optional, excluded = _kept(query.optional, dropped), _kept(query.excluded, dropped)
    text = " ".join(clause.text for clause in (*required, *optional, *excluded))
    return Query(text, required, optional, excluded) if text else EVERYTHING


def width(window: Window, waited_seconds: float) -> float:
    """How far from the ticket's own number another may be."""
    return min(window.most, window.start + window.step * int(waited_seconds / window.every_seconds))


def next_change(
    query: Query, properties: Mapping[str, str | float], relaxations: Sequence[Relaxation], waited_seconds: float
) -> float | None:
    """After how many seconds of waiting, more than these, the query in force changes next; None: never again."""
    changes: list[float] = []
    for one in relaxations:
        if isinstance(one, Drop):
            if one.after_seconds > waited_seconds and any(clause.field == one.field for clause in _clauses(query)):
                changes.append(one.after_seconds)
        elif isinstance(properties.get(one.property), int | float) and width(one, waited_seconds) < one.most:
            changes.append((int(waited_seconds / one.every_seconds) + 1) * one.every_seconds)
    return min(changes, default=None)


def _clauses(query: Query) -> Iterable[Clause]:
    return (*query.required, *query.optional, *query.excluded)


def _kept(clauses: tuple[Clause, ...], dropped: set[str]) -> tuple[Clause, ...]:
    return tuple(clause for clause in clauses if clause.field not in dropped)


def _window(window: Window, own: float, waited_seconds: float) -> Iterable[Clause]:
    far = width(window, waited_seconds)
    field = f"properties.{window.property}"
    for operator, bound in ((">=", own - far), ("<=", own + far)):
        yield Clause(field, NumberRange(operator, bound), 0.0, f"+{field}:{operator}{bound:g}")
