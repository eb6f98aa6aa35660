"""The tickets and backfills of this node: whose they are, and which of them a match of another node has claimed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from palestra.features.matchmaker.between import About
from palestra.features.matchmaker.engine import Backfill
from palestra.features.matchmaker.pool import Ticket


class Claim(msgspec.Struct, eq=False):
    """What another node wants to make a match of: until it says what became of it, nobody else gets these."""

    claimant: str
    tickets: list[Ticket]
    backfill: Backfill | None
    places: int
    parts: dict[int, list[About]] = {}
    """Those parts of the message about the match that have come."""


class Tickets:
    """What this node answers for. A ticket is here from its making until it is matched or withdrawn."""

    def __init__(self) -> None:
        self._by_id: dict[str, Ticket] = {}
        self._by_session: dict[str, dict[str, Ticket]] = {}
        self._by_party: dict[str, dict[str, Ticket]] = {}
        self.backfills: dict[str, Backfill] = {}
        self.claims: dict[str, Claim] = {}
        """By the id that the claimant has given to the match."""
        self._mark = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Ticket]:
        """All of them, the oldest first."""
        return iter(self._by_id.values())

    def get(self, ticket_id: str) -> Ticket | None:
        """A ticket that is neither matched nor withdrawn."""
        return self._by_id.get(ticket_id)

    def of_session(self, session_id: str) -> dict[str, Ticket]:
        """Those that a session is in, by id."""
        return self._by_session.get(session_id, {})

    def of_party(self, party_id: str) -> dict[str, Ticket]:
        """Those of a party, by id."""
        return self._by_party.get(party_id, {})

    def mark(self, now: float) -> int:
        """Stands for what others should know of: tickets that have entered, and backfills at a monotonic second."""
        mark = self._mark
        for backfill in self.backfills.values():
            if backfill.until > now:
                mark ^= mark_of(backfill.id)
        return mark

    # -- coming and going

    def _places(self, ticket: Ticket) -> list[tuple[dict[str, dict[str, Ticket]], str]]:
        """The indexes that a ticket stands in, with its key in each."""
        places = [(self._by_session, session) for session in ticket.sessions]
        return [*places, (self._by_party, ticket.party_id)] if ticket.party_id else places

    def add(self, ticket: Ticket) -> None:
        """A ticket was made."""
        self._by_id[ticket.id] = ticket
        for index, key in self._places(ticket):
            index.setdefault(key, {})[ticket.id] = ticket

    def enter(self, ticket: Ticket) -> None:
        """Its player was answered: it may be matched."""
        ticket.entered = True
        self._mark ^= mark_of(ticket.id)

    def remove(self, ticket: Ticket) -> None:
        """It is matched or withdrawn."""
        del self._by_id[ticket.id]
        if ticket.entered:
            self._mark ^= mark_of(ticket.id)
        for index, key in self._places(ticket):
            tickets = index[key]
            del tickets[ticket.id]
            if not tickets:
                del index[key]

    def forget_filled(self, now: float) -> None:
        """Backfills whose places are taken for good, or whose time is over, are none any more."""
        claimed = {claim.backfill.id for claim in self.claims.values() if claim.backfill is not None}
        for backfill in list(self.backfills.values()):
            if backfill.until <= now or (not backfill.open and backfill.id not in claimed):
                del self.backfills[backfill.id]

    # -- matches of other nodes

    def claim(self, match: str, claimant: str, ticket_ids: list[str], backfill_id: str, places: int) -> bool:
        """Give tickets, and places of a backfill, to a match: all of them, or none."""
        tickets = [ticket for one in ticket_ids if (ticket := self._by_id.get(one)) is not None and not ticket.claim]
        backfill = self.backfills.get(backfill_id)
        if len(tickets) < len(ticket_ids) or (backfill_id and (backfill is None or backfill.open < places)):
            return False
        if backfill is not None:
            backfill.open -= places
        self.hold(match, claimant, tickets, backfill, places)
        return True

    def hold(self, match: str, claimant: str, tickets: list[Ticket], backfill: Backfill | None, places: int) -> None:
        """Keep what a match has got for it."""
        for ticket in tickets:
            ticket.claim = match
        self.claims[match] = Claim(claimant, tickets, backfill, places)

    def release(self, match: str) -> Claim | None:
        """The match does not come about, or has: what it had claimed is free, and is given back."""
        claim = self.claims.pop(match, None)
        if claim is not None:
            for ticket in claim.tickets:
                ticket.claim = ""
        return claim


def mark_of(id: str) -> int:
    """A number that stands for an id; put together by exclusive or they stand for a set of ids."""
    return int(id[-12:], 16)
