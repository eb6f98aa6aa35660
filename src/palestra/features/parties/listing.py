"""Which parties a listing shows, in which order, and where its next page begins."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.query import Query, parse
from palestra.features.parties.contract import LIST_LIMIT_MAX, BadListing, PartyPage
from palestra.features.parties.rules import Party

Place = tuple[float, int]
"""Where a party stands in a listing: the better match first, of equals the newer."""


class PartyCursor(msgspec.Struct, array_like=True):
    """The listing that a cursor belongs to, and the place of the last party shown."""

    listing: bytes
    last: Place


@dataclass(slots=True, frozen=True)
class Listing:
    """One page of one listing: what it asks for, and the place behind which it begins."""

    query: Query
    limit: int
    open: bool | None
    show_hidden: bool
    mark: bytes
    """Tells it from other listings."""
    after: Place | None

    def place_of(self, party: Party) -> Place | None:
        """Where a party stands, None if it is not asked for or was shown before. Costs what the query costs."""
        if (party.hidden and not self.show_hidden) or (self.open is not None and party.open is not self.open):
            return None
        score = self.query.score(party.document)
        if score is None:
            return None
        place = (-score, -party.number)
        return place if self.after is None or place > self.after else None

    def page(self, found: list[tuple[Place, Party]]) -> PartyPage:
        """The first of those that were found."""
        first = heapq.nsmallest(self.limit + 1, found, key=lambda one: one[0])
        shown = first[: self.limit]
        cursor = ""
        if len(first) > len(shown):
            cursor = seal_cursor(PartyCursor(self.mark, shown[-1][0]))
        return PartyPage([party.info for _, party in shown], cursor)


def read_listing(limit: int, open: bool | None, show_hidden: bool, query: str, cursor: str, quotes: bool) -> Listing:
    """Raises BadListing for a limit out of range or a cursor of another listing, and BadQuery."""
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise BadListing(f"Invalid limit - limit must be between 1 and {LIST_LIMIT_MAX}.")
    asked = parse(query, quotes=quotes)
    # Not the query itself: it may be longer than a cursor.
    mark = sha256(msgspec.msgpack.encode((query, limit, open))).digest()[:16]
    return Listing(asked, limit, open, show_hidden, mark, _place_after(cursor, mark) if cursor else None)


def _place_after(cursor: str, mark: bytes) -> Place:
    try:
        found = open_cursor(cursor, PartyCursor)
    except ValueError:
        raise BadListing("Cursor is invalid.") from None
    if found.listing != mark:
        raise BadListing("Cursor belongs to a listing with another query, limit or filter.")
    return found.last
