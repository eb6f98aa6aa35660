"""What nodes say to each other about tickets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from palestra.core.query import parse
from palestra.features.matchmaker.contract import Entry
from palestra.features.matchmaker.engine import Backfill
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.rules import document_of
from palestra.features.streams.contract import Presence

TICKETS_IN_PART = 16
"""Tickets in one message; each is as long as a message of a client may be, and every player of its party."""


class About(msgspec.Struct, array_like=True):
    """Whose a ticket is, as other players are told."""

    id: str
    presences: tuple[Presence, ...]
    party_id: str
    string_properties: Mapping[str, str]
    numeric_properties: Mapping[str, float]
    created_at: float

    def entries(self) -> list[Entry]:
        """Its players."""
        properties = {**self.string_properties, **self.numeric_properties}
        texts, numbers = self.string_properties, self.numeric_properties
        return [
            Entry(self.id, presence, properties, self.party_id, self.created_at, texts, numbers)
            for presence in self.presences
        ]


class Waiting(msgspec.Struct, array_like=True):
    """A ticket that waits for the node that makes matches, and how long it has waited so far."""

    about: About
    number: int
    counts: tuple[int, int, int]
    query: str
    waited_seconds: float

    def ticket(self, owner: str, now: float) -> Ticket:
        """The ticket, at a monotonic second."""
        about = self.about
        ticket = Ticket(
            about.id,
            self.number,
            about.presences,
            about.party_id,
            self.counts,
            parse(self.query),
            about.string_properties,
            about.numeric_properties,
            about.created_at,
            now - self.waited_seconds,
        )
        ticket.owner = owner
        return ticket


class Filling(msgspec.Struct, array_like=True):
    """A backfill, and how long it still lasts."""

    id: str
    match_id: str
    query: str
    properties: Mapping[str, str | float]
    open: int
    full: int
    seconds: float

    def backfill(self, owner: str, now: float) -> Backfill:
        """The backfill, at a monotonic second."""
        return Backfill(
            self.id,
            self.match_id,
            parse(self.query),
            document_of(self.properties, {}),
            self.open,
            self.full,
            now + self.seconds,
            self.properties,
            owner,
        )


class Wanted(msgspec.Struct, array_like=True):
    """What a match needs of a node."""

    match: str
    tickets: list[str]
    backfill: str = ""
    places: int = 0


class Matched(msgspec.Struct, array_like=True):
    """A match is made. Its tickets come in so many parts; this is one of them."""

    match: str
    match_id: str | None
    token: str | None
    part: int
    parts: int
    tickets: list[About]


def about(ticket: Ticket) -> About:
    """What others are told of a ticket."""
    texts, numbers = ticket.entries[0].string_properties, ticket.entries[0].numeric_properties
    return About(ticket.id, ticket.presences, ticket.party_id, texts, numbers, ticket.created_at)


def waiting(ticket: Ticket, now: float) -> Waiting:
    """What the node that makes matches is told of a ticket, at a monotonic second."""
    counts = ticket.least, ticket.most, ticket.multiple
    return Waiting(about(ticket), ticket.number, counts, ticket.asked.text, now - ticket.entered_at)


def filling(backfill: Backfill, now: float) -> Filling:
    """What it is told of a backfill."""
    return Filling(
        backfill.id,
        backfill.match_id,
        backfill.query.text,
        backfill.properties,
        backfill.open,
        backfill.full,
        backfill.until - now,
    )


def parts_of(match: str, match_id: str | None, token: str | None, tickets: list[About]) -> list[Matched]:
    """A match in messages that the bus can carry."""
    starts = range(0, len(tickets), TICKETS_IN_PART)
    return [
        Matched(match, match_id, token, part, len(starts), tickets[start : start + TICKETS_IN_PART])
        for part, start in enumerate(starts)
    ]
