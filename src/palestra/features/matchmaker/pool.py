"""Tickets that wait, indexed by what they are and by what they ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from sortedcontainers import SortedList

from palestra.core.query import EVERYTHING, Clause, Number, NumberRange, Query, Text
from palestra.features.matchmaker.contract import Entry, TicketInfo
from palestra.features.matchmaker.rules import document_of
from palestra.features.streams.contract import Member, Presence

Key = tuple[str, str | float]
"""A field and a value of it."""


class Ticket:
    """One ticket: who waits, for what, since when. `number` is its place in the order of arrival.

    Here it may be one of another node, its `owner`, which answers for it; "" is this node. An own one has `members` to
    be told, is `entered` once it may be matched, and `claim` is the match that it is being given to by another node.
    """

    __slots__ = (
        "alive",
        "asked",
        "changes_at",
        "claim",
        "created_at",
        "document",
        "entered",
        "entered_at",
        "entries",
        "id",
        "keys",
        "least",
        "members",
        "most",
        "multiple",
        "number",
        "owner",
        "party_id",
        "passes",
        "presences",
        "properties",
        "query",
        "relaxed",
        "sessions",
        "size",
    )

    def __init__(
        self,
        id: str,
        number: int,
        presences: tuple[Presence, ...],
        party_id: str,
        counts: tuple[int, int, int],
        query: Query,
        string_properties: Mapping[str, str],
        numeric_properties: Mapping[str, float],
        created_at: float,
        entered_at: float,
    ) -> None:
        self.id = id
        self.number = number
        self.presences = presences
        self.members: tuple[Member, ...] = ()
        self.party_id = party_id
        self.least, self.most, self.multiple = counts
        self.asked = query
        """The query as it was given; `query` is what waiting has made of it."""
        self.query = query
        self.properties = {**string_properties, **numeric_properties}
        self.created_at = created_at
        self.entered_at = entered_at
        """Monotonic seconds, to count what it has waited."""
        self.size = len(presences)
        self.sessions = frozenset(presence.session_id for presence in presences)
        about = {"ticket": id, "party_id": party_id, "min_count": self.least, "max_count": self.most}
        self.document = document_of(self.properties, {**about, "created_at": int(created_at * 1e9)})
        self.entries = tuple(
            Entry(id, presence, self.properties, party_id, created_at, string_properties, numeric_properties)
            for presence in presences
        )
        self.keys: tuple[Key, ...] = ()
        """One of these its query requires; the pool finds it under them."""
        self.relaxed = False
        """Whether it takes fewer players than it likes best."""
        self.changes_at = 0.0
        """When time next changes anything about it, in monotonic seconds."""
        self.passes = 0
        self.alive = True
        self.owner = ""
        self.entered = False
        self.claim = ""

    def allows(self, players: int) -> bool:
        """Whether a match may have so many players."""
        return self.least <= players <= self.most and players % self.multiple == 0

    def contains(self, other: Ticket) -> bool:
        """Whether the other's counts lie within its own."""
        return self.least <= other.least and other.most <= self.most

    def accepts(self, other: Ticket) -> bool:
        """Whether its query accepts the other."""
        return self.query is EVERYTHING or self.query.score(other.document) is not None

    def apart(self, other: Ticket) -> bool:
        """Whether no session and no party is in both."""
        same_party = self.party_id and self.party_id == other.party_id
        return not same_party and self.sessions.isdisjoint(other.sessions)

    def info(self) -> TicketInfo:
        """What others may know of it."""
        return TicketInfo(
            ticket=self.id,
            party_id=self.party_id,
            user_ids=tuple(presence.user_id for presence in self.presences),
            min_count=self.least,
            max_count=self.most,
            count_multiple=self.multiple,
            query=self.query.text,
            properties=self.properties,
            create_time=self.created_at,
        )


class Pool:
    """All waiting tickets, in the order of arrival."""

    def __init__(self) -> None:
        self._by_number: dict[int, Ticket] = {}
        self._by_value: dict[Key, dict[int, Ticket]] = {}
        self._by_property: dict[str, SortedList] = {}
        self._by_key: dict[Key, dict[int, Ticket]] = {}
        self._keyless: dict[int, Ticket] = {}
        self._latest = 0
        self._in_order = True

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Ticket]:
        if not self._in_order:
            self._by_number = dict(sorted(self._by_number.items()))
            self._in_order = True
        return iter(self._by_number.values())

    def __contains__(self, ticket: Ticket) -> bool:
        return self._by_number.get(ticket.number) is ticket

    def numbered(self, number: int) -> Ticket | None:
        """A waiting ticket by its number."""
        return self._by_number.get(number)

    def add(self, ticket: Ticket) -> None:
        """A ticket begins to wait. One that was made at the same moment as another counts as made after it."""
        while ticket.number in self._by_number:
            ticket.number += 1
        self._in_order = self._in_order and ticket.number > self._latest
        self._latest = max(self._latest, ticket.number)
        self._by_number[ticket.number] = ticket
        for key in _values(ticket):
            self._by_value.setdefault(key, {})[ticket.number] = ticket
        for field, value in _numbers(ticket):
            self._by_property.setdefault(field, SortedList()).add((value, ticket.number))
        self._file(ticket)

    def discard(self, ticket: Ticket) -> None:
        """It is matched or withdrawn, if it was here at all."""
        ticket.alive = False
        if ticket not in self:
            return
        del self._by_number[ticket.number]
        for key in _values(ticket):
            _take(self._by_value, key, ticket)
        for field, value in _numbers(ticket):
            values = self._by_property[field]
            values.remove((value, ticket.number))
            if not values:
                del self._by_property[field]
        self._unfile(ticket)

    def change(self, ticket: Ticket, query: Query) -> None:
        """What a ticket asks for has changed."""
        self._unfile(ticket)
        ticket.query = query
        self._file(ticket)

    def _file(self, ticket: Ticket) -> None:
        # The rarest of what it requires tells most.
        ticket.keys = min(_required(ticket.query), key=self._offered, default=())
        for key in ticket.keys:
            self._by_key.setdefault(key, {})[ticket.number] = ticket
        if not ticket.keys:
            self._keyless[ticket.number] = ticket

    def _unfile(self, ticket: Ticket) -> None:
        self._keyless.pop(ticket.number, None)
        for key in ticket.keys:
            _take(self._by_key, key, ticket)

    def _offered(self, keys: tuple[Key, ...]) -> int:
        """How many tickets have one of these values."""
        return sum(len(self._by_value.get(key, ())) for key in keys)

    def likely(self, ticket: Ticket, *, mutual: bool) -> list[Ticket]:
        """All tickets that this one's query may accept, and some more, the oldest first.

        The smallest of what the indexes offer: a text that is required, a range of a number, or, if acceptance has to
        be mutual, those whose query may accept this ticket.
        """
        count = len(self._by_number)
        chosen: Iterable[Ticket] = self._by_number.values()
        for keys in _required(ticket.query):
            if (offered := self._offered(keys)) < count:
                count = offered
                chosen = [one for key in keys for one in self._by_value.get(key, {}).values()]
        for field, (low, high) in _ranges(ticket.query.required).items():
            values = self._by_property.get(field)
            if values is None:
                return []
            first, last = values.bisect_left((low, -1)), values.bisect_right((high, math.inf))
            if last - first < count:
                count = last - first
                chosen = [self._by_number[number] for _, number in values[first:last]]
        if mutual and (asking := self._asking(ticket, count)) is not None:
            chosen = asking
        return sorted(chosen, key=_number)

    def asking(self, ticket: Ticket) -> list[Ticket]:
        """All tickets whose query may accept this one, and some more, the oldest first."""
        return sorted(self._asking(ticket, len(self._by_number) + 1) or (), key=_number)

    def _asking(self, ticket: Ticket, fewer_than: int) -> list[Ticket] | None:
        places = [self._keyless, *(self._by_key.get(key, {}) for key in _values(ticket))]
        if sum(map(len, places)) >= fewer_than:
            return None
        return [other for place in places for other in place.values()]


def _number(ticket: Ticket) -> int:
    return ticket.number


def _values(ticket: Ticket) -> Iterator[Key]:
    """What can be looked up of a ticket: the texts and numbers among its properties."""
    for name in ticket.properties:
        field = f"properties.{name}"
        for value in ticket.document[field]:
            if isinstance(value, str | int | float):
                yield field, value


def _required(query: Query) -> Iterator[tuple[Key, ...]]:
    """For each value of the properties that a query requires: the keys, one of which others have."""
    for clause in query.required:
        if clause.field.startswith("properties."):
            if isinstance(clause.condition, Text):
                yield ((clause.field, clause.condition.text),)
            elif isinstance(clause.condition, Number):
                yield ((clause.field, clause.condition.number), (clause.field, clause.condition.text))


def _numbers(ticket: Ticket) -> Iterator[tuple[str, float]]:
    for name, value in ticket.properties.items():
        if not isinstance(value, str) and value == value:
            yield f"properties.{name}", value


def _ranges(clauses: Iterable[Clause]) -> dict[str, tuple[float, float]]:
    """The numbers that required clauses leave over, by field of the properties; bounds count as inside."""
    found: dict[str, tuple[float, float]] = {}
    for clause in clauses:
        if isinstance(clause.condition, NumberRange) and clause.field.startswith("properties."):
            low, high = found.get(clause.field, (-math.inf, math.inf))
            bound = clause.condition.bound
            upward = clause.condition.operator[0] == ">"
            found[clause.field] = (max(low, bound), high) if upward else (low, min(high, bound))
    return found


def _take(index: dict[Key, dict[int, Ticket]], key: Key, ticket: Ticket) -> None:
    place = index[key]
    del place[ticket.number]
    if not place:
        del index[key]
