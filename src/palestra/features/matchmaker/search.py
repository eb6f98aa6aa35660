"""How a match is found around a ticket.

Searches are generators that yield wherever they may be interrupted, so that a node can do them a slice at a time. They
return the tickets of a match, or None. What is found may be gone when a search goes on: whoever gets the result looks.
"""

from __future__ import annotations

from collections.abc import Generator

from palestra.features.matchmaker.pool import Pool, Ticket

BACKTRACKS_MAX = 64
"""How often one choice is taken back before the rest is given up as unlikely."""

Match = list[Ticket]
Search = Generator[None, None, Match | None]


def around(pool: Pool, ticket: Ticket, *, mutual: bool) -> Search:
    """Any match that the ticket makes possible, be it the one that searches or one that is found.

    A match has two tickets or more, and one that searches: its counts contain those of all others. It takes its largest
    count; a relaxed one also takes fewer, down to its smallest. With `mutual`, all accept each other, else the
    searching one accepts all.
    """
    if mutual:
        return (yield from _mutual(pool, ticket))
    found = yield from by_searcher(pool, ticket, None, mutual=False)
    if found is not None:
        return found
    for older in pool.asking(ticket):
        yield
        if older.alive and older is not ticket and older.contains(ticket) and older.accepts(ticket):
            found = yield from by_searcher(pool, older, ticket, mutual=False)
            if found is not None:
                return found
    return None


def by_searcher(pool: Pool, searcher: Ticket, included: Ticket | None, *, mutual: bool) -> Search:
    """A match for one ticket that searches, with another one in it if that is given."""
    start = [searcher] if included is None else [searcher, included]
    if included is not None and not searcher.apart(included):
        return None
    others: list[Ticket] = []
    for other in (yield from _preferred(pool, searcher, mutual=mutual)):
        if other in start or not searcher.contains(other):
            continue
        yield
        if (
            other.alive
            and searcher.apart(other)
            and searcher.accepts(other)
            and (not mutual or other.accepts(searcher))
        ):
            others.append(other)
    least = searcher.least if searcher.relaxed else searcher.most
    return (yield from _largest(start, others, searcher.most, least, mutual=mutual))


def _mutual(pool: Pool, ticket: Ticket) -> Search:
    """As `around`, where all who fit the ticket are gathered once, whoever searches."""
    least, most = ticket.least, ticket.most
    fitting: list[Ticket] = []
    missing, look_at = most - ticket.size, 0
    for other in (yield from _preferred(pool, ticket, mutual=True)):
        low, high = other.least, other.most
        if other is ticket or not (high == most or (low >= least and high <= most) or (low <= least and high >= most)):
            # Counts that do not go together; looking at queries takes long enough to be interrupted.
            continue
        yield
        if not (other.alive and ticket.accepts(other) and other.accepts(ticket) and ticket.apart(other)):
            continue
        fitting.append(other)
        missing -= other.size if other.allows(most) and other.most == most else 0
        # Enough of them for a full match: see, and after a failure again when there are twice as many.
        if missing <= 0 and len(fitting) >= look_at:
            found = yield from _full(ticket, fitting)
            if found is not None:
                return found
            look_at = 2 * len(fitting)
    if missing <= 0 and look_at != 2 * len(fitting):
        found = yield from _full(ticket, fitting)
        if found is not None:
            return found
    return (yield from _relaxed(ticket, fitting))


def _full(ticket: Ticket, fitting: list[Ticket]) -> Search:
    """A match of the ticket's largest count, which is then that of all."""
    same = [other for other in fitting if other.most == ticket.most]
    return (yield from _largest([ticket], same, ticket.most, ticket.most, mutual=True))


def _relaxed(ticket: Ticket, fitting: list[Ticket]) -> Search:
    """A match for a relaxed ticket: this one, else any other that contains it, the longest waiting first."""
    containing = (other for other in fitting if other.relaxed and other.contains(ticket))
    searchers = sorted(containing, key=lambda other: other.number)
    if ticket.relaxed:
        searchers.insert(0, ticket)
    hopeless: set[tuple[int, int]] = set()
    for searcher in searchers:
        yield
        if (searcher.least, searcher.most) in hopeless or not searcher.alive:
            continue
        inside = [other for other in fitting if other is not searcher and searcher.contains(other)]
        start = [ticket] if searcher is ticket else [ticket, searcher]
        if sum(one.size for one in start) + sum(one.size for one in inside) < searcher.least:
            hopeless.add((searcher.least, searcher.most))
            continue
        found = yield from _largest(start, inside, searcher.most, searcher.least, mutual=True)
        if found is not None:
            return found
    return None


def _preferred(pool: Pool, ticket: Ticket, *, mutual: bool) -> Generator[None, None, list[Ticket]]:
    """Who may fit, in the order that the ticket prefers: by its query's score, then the longest waiting first."""
    likely = pool.likely(ticket, mutual=mutual)
    if not ticket.query.optional:
        # All that match score alike.
        return likely
    scores: dict[int, float] = {}
    for other in likely:
        yield
        scores[other.number] = ticket.query.score(other.document) or 0.0
    return sorted(likely, key=lambda other: -scores[other.number])


def _largest(start: Match, others: list[Ticket], most: int, least: int, *, mutual: bool) -> Search:
    """The largest match of the counts from `most` down to `least` that has all of `start` and another ticket in it."""
    taken = sum(ticket.size for ticket in start)
    top = min(most, taken + sum(ticket.size for ticket in others))
    for players in range(top, max(least, taken + (len(start) == 1)) - 1, -1):
        yield
        if all(ticket.allows(players) for ticket in start):
            allowing = [ticket for ticket in others if ticket.allows(players)]
            found = yield from _exactly(start, allowing, players, mutual=mutual)
            if found is not None:
                return found
    return None


def _exactly(start: Match, others: list[Ticket], players: int, *, mutual: bool) -> Search:
    """A match of exactly so many players: all of `start`, and the first of `others` that go together.

    Depth first in the order given. Whoever is first is kept as long as something can be made of it.
    """
    left = [0] * (len(others) + 1)
    for place in range(len(others) - 1, -1, -1):
        left[place] = left[place + 1] + others[place].size
    chosen, places = list(start), [0]
    wanted = players - sum(ticket.size for ticket in start)
    backtracks = 0
    while wanted:
        place = places[-1]
        while place < len(others) and left[place] >= wanted:
            yield
            if others[place].size <= wanted and (yield from _fits(others[place], chosen, mutual=mutual)):
                break
            place += 1
        else:
            # Nothing more to add to these: take the last of the others back and go on after it.
            places.pop()
            backtracks += 1
            if not places or backtracks > BACKTRACKS_MAX:
                return None
            wanted += chosen.pop().size
            places[-1] += 1
            continue
        chosen.append(others[place])
        wanted -= others[place].size
        places[-1] = place
        places.append(place + 1)
    return chosen


def _fits(ticket: Ticket, chosen: Match, *, mutual: bool) -> Generator[None, None, bool]:
    """Whether a ticket goes together with all that are chosen."""
    for one in chosen:
        if not ticket.apart(one):
            return False
        if mutual:
            # Two queries may take milliseconds, and a match has up to 256 players.
            yield
            if not (ticket.accepts(one) and one.accepts(ticket)):
                return False
    return ticket.alive
