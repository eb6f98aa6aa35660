"""Tickets that wait, indexed by what they are and by what they ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from sortedcontainers import SortedList

from palestra.core.query import EVERYTHING, Clause, NumberRange, Query, Text
from palestra.features.matchmaker.contract import Entry, TicketInfo
from palestra.features.matchmaker.rules import document_of
from palestra.features.streams.contract import Member

TextKey = tuple[str, str]


class Ticket:
    """One ticket: who waits, for what, since when. `number` is its place in the order of arrival."""

    __slots__ = (
        "alive",
        "asked",
        "created_at",
        "document",
        "entered_at",
        "entries",
        "id",
        "key",
        "least",
        "members",
        "most",
        "multiple",
        "number",
        "party_id",
        "passes",
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
        members: tuple[Member, ...],
        party_id: str,
        counts: tuple[int, int, int],
        query: Query,
        properties: Mapping[str, str | float],
        created_at: float,
        entered_at: float,
    ) -> None:
        self.id = id
        self.number = number
        self.members = members
        self.party_id = party_id
        self.least, self.most, self.multiple = counts
        self.asked = query
        """The query as it was given; `query` is what waiting has made of it."""
        self.query = query
        self.properties = properties
        self.created_at = created_at
        self.entered_at = entered_at
        """Monotonic seconds, to count what it has waited."""
        self.size = len(members)
        self.sessions = frozenset(member.presence.session_id for member in members)
        about = {"ticket": id, "party_id": party_id, "min_count": self.least, "max_count": self.most}
        self.document = document_of(properties, {**about, "created_at": int(created_at * 1e9)})
        self.entries = tuple(Entry(id, member.presence, properties, party_id, created_at) for member in members)
        self.key: TextKey | None = None
        """A text that its query requires, under which the pool finds it."""
        self.relaxed = False
        """Whether it takes fewer players than it likes best."""
        self.passes = 0
        self.alive = True

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
            user_ids=tuple(member.presence.user_id for member in self.members),
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
        self._by_text: dict[TextKey, dict[int, Ticket]] = {}
        self._by_property: dict[str, SortedList] = {}
        self._by_key: dict[TextKey, dict[int, Ticket]] = {}
        self._keyless: dict[int, Ticket] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._by_number.values())

    def add(self, ticket: Ticket) -> None:
        """A ticket begins to wait."""
        self._by_number[ticket.number] = ticket
        for key in _texts(ticket):
            self._by_text.setdefault(key, {})[ticket.number] = ticket
        for field, value in _numbers(ticket):
            self._by_property.setdefault(field, SortedList()).add((value, ticket.number))
        self._file(ticket)

    def remove(self, ticket: Ticket) -> None:
        """It is matched or withdrawn."""
        ticket.alive = False
        del self._by_number[ticket.number]
        for key in _texts(ticket):
            _take(self._by_text, key, ticket)
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
        keys = [(c.field, c.condition.text) for c in ticket.query.required if isinstance(c.condition, Text)]
        # The rarest text tells most.
        ticket.key = min(keys, key=lambda key: len(self._by_text.get(key, ())), default=None)
        place = self._keyless if ticket.key is None else self._by_key.setdefault(ticket.key, {})
        place[ticket.number] = ticket

    def _unfile(self, ticket: Ticket) -> None:
        if ticket.key is None:
            del self._keyless[ticket.number]
        else:
            _take(self._by_key, ticket.key, ticket)

    def likely(self, ticket: Ticket, *, mutual: bool) -> list[Ticket]:
        """All tickets that this one's query may accept, and some more, the oldest first.

        The smallest of what the indexes offer: a text that is required, a range of a number, or, if acceptance has to
        be mutual, those whose query may accept this ticket.
        """
        best: Mapping[int, Ticket] = self._by_number
        for clause in ticket.query.required:
            if isinstance(clause.condition, Text) and clause.field.startswith("properties."):
                offered = self._by_text.get((clause.field, clause.condition.text), {})
                if len(offered) < len(best):
                    best = offered
        count = len(best)
        chosen: Iterable[Ticket] = best.values()
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
        places = [self._keyless, *(self._by_key.get(key, {}) for key in _texts(ticket))]
        if sum(map(len, places)) >= fewer_than:
            return None
        return [other for place in places for other in place.values()]


def _number(ticket: Ticket) -> int:
    return ticket.number


def _texts(ticket: Ticket) -> Iterator[TextKey]:
    for field, values in ticket.document.items():
        for value in values:
            if isinstance(value, str):
                yield field, value


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


def _take(index: dict[TextKey, dict[int, Ticket]], key: TextKey, ticket: Ticket) -> None:
    place = index[key]
    del place[ticket.number]
    if not place:
        del index[key]
