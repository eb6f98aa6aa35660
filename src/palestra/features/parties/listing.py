"""Which parties a listing shows, in which order, and where its next page begins."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.query import Query, parse
from palestra.features.parties.contract import LIST_LIMIT_MAX, BadListing, PartyInfo, PartyPage
from palestra.features.parties.rules import Party

Place = tuple[float, int, str]
"""Where a party stands in a listing: the better match first, of equals the newer; then by node, to be exact."""
Found = tuple[Place, PartyInfo]


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
        place = (-score, -party.number, party.stream.label)
        return place if self.after is None or place > self.after else None

    def first(self, found: list[Found]) -> list[Found]:
        """Those that a page may need: one more than it shows tells that there is another."""
        return heapq.nsmallest(self.limit + 1, found, key=lambda one: one[0])

    def page(self, found: list[Found]) -> PartyPage:
        """The first of those that were found."""
        first = self.first(found)
        shown = first[: self.limit]
        cursor = ""
        if len(first) > len(shown):
            cursor = seal_cursor(PartyCursor(self.mark, shown[-1][0]))
        return PartyPage([info for _, info in shown], cursor)


class ListingRequest(msgspec.Struct, array_like=True):
    """What is asked of a listing."""

    limit: int
    open: bool | None
    show_hidden: bool
    query: str
    cursor: str
    quotes: bool

    def read(self) -> Listing:
        """Raises BadListing for a limit out of range or a cursor of another listing, and BadQuery."""
        if not 1 <= self.limit <= LIST_LIMIT_MAX:
            raise BadListing(f"Invalid limit - limit must be between 1 and {LIST_LIMIT_MAX}.")
        asked = parse(self.query, quotes=self.quotes)
        # Not the query itself: it may be longer than a cursor.
        mark = sha256(msgspec.msgpack.encode((self.query, self.limit, self.open))).digest()[:16]
        after = _place_after(self.cursor, mark) if self.cursor else None
        return Listing(asked, self.limit, self.open, self.show_hidden, mark, after)


def _place_after(cursor: str, mark: bytes) -> Place:
    try:
        found = open_cursor(cursor, PartyCursor)
    except ValueError:
        raise BadListing("Cursor is invalid.") from None
    if found.listing != mark:
        raise BadListing("Cursor belongs to a listing with another query, limit or filter.")
    return found.last
