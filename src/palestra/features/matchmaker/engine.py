"""The matchmaker's turn of work: who is tried next, what time changes, whom running matches take."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

import msgspec

from palestra.core.config import MatchmakerSettings
from palestra.core.query import EVERYTHING, Query, Value
from palestra.features.matchmaker.contract import Relaxation
from palestra.features.matchmaker.pool import Pool, Ticket
from palestra.features.matchmaker.rules import next_change, query_after
from palestra.features.matchmaker.search import around, by_searcher


class Backfill(msgspec.Struct, eq=False):
    """A running match that takes more players: until when (monotonic seconds), how many, and how many it then has."""

    id: str
    match_id: str
    query: Query
    document: Mapping[str, Sequence[Value]]
    open: int
    full: int
    until: float
    properties: Mapping[str, str | float] = {}
    owner: str = ""
    """The node it was begun on, which answers for it; "" is this one."""
    ended: bool = False

    def takes(self, ticket: Ticket) -> bool:
        """Whether the ticket may join."""
        return (
            ticket.size <= self.open
            and ticket.allows(self.full)
            and (self.query is EVERYTHING or self.query.score(ticket.document) is not None)
            and (ticket.query is EVERYTHING or ticket.query.score(self.document) is not None)
        )


class Group(msgspec.Struct, frozen=True):
    """Tickets that were matched, the oldest first; with the running match that they join, None for a new one."""

    tickets: tuple[Ticket, ...]
    backfill: Backfill | None = None

    @property
    def match_id(self) -> str:
        """The running match's id, "" for a new one."""
        return "" if self.backfill is None else self.backfill.match_id


Search = Generator[Group | None, None, Group | None]
"""Yields wherever it may be interrupted, and every match as soon as it is made."""
CHANGES_SPARE_MAX = 1_000
"""Changes of tickets that are gone which are kept until their time, beside as many as there are tickets."""


class Engine:
    """Decides who plays with whom. Nothing in here waits; `step` works until it is told to stop, and goes on later."""

    def __init__(self, settings: MatchmakerSettings) -> None:
        self._settings = settings
        self._mutual = settings.mutual_acceptance
        self._immediate = settings.mode == "immediate"
        self._relax_seconds = settings.interval_seconds * (settings.max_intervals - 1)
        self.pool = Pool()
        self._relaxations: Sequence[Relaxation] = ()
        self._custom = False
        self.backfills: dict[str, Backfill] = {}
        self._due: dict[int, Ticket] = {}
        self._due_numbers: list[int] = []
        self._untried: dict[int, None] = {}
        """Of those due, who has not been tried yet, the latest last."""
        self._behind = False
        self._changes: list[tuple[float, int]] = []
        """When a ticket changes next, by its number: nothing of tickets that are gone is held on to."""
        self._pass_at: float | None = None
        self._at_work: Search | None = None
        self._fresh: list[Backfill] = []

    # -- what comes and goes

    def add(self, ticket: Ticket, now: float) -> None:
        """A ticket begins to wait, at a monotonic second; it may have waited elsewhere before."""
        self.pool.add(ticket)
        if ticket.least < ticket.most:
            passed = (now - ticket.entered_at) // max(self._settings.interval_seconds, 0.001)
            ticket.passes = min(int(passed), self._settings.max_intervals - 1)
        self._age(ticket, now)
        if self._immediate:
            self._search(ticket)
        elif self._pass_at is None:
            self._pass_at = now + self._settings.interval_seconds

    def remove(self, ticket: Ticket) -> None:
        """A ticket waits no more, or is not to begin."""
        self.pool.discard(ticket)

    def put_back(self, ticket: Ticket, now: float) -> None:
        """Nothing came of a ticket's match: it waits on, as old as it is, and searches once more."""
        ticket.alive = True
        ticket.passes = 0
        self.add(ticket, now)

    def add_backfill(self, backfill: Backfill) -> None:
        """A running match begins to take players: those who wait, then those who come."""
        self.backfills[backfill.id] = backfill
        self._fresh.append(backfill)

    def take(self, tickets: Iterable[Ticket], backfill: Backfill | None = None) -> Group:
        """Make a match of waiting tickets."""
        ordered = tuple(sorted(tickets, key=lambda ticket: ticket.number))
        for ticket in ordered:
            self.pool.discard(ticket)
        return Group(ordered, backfill)

    def leave_to_others(self, custom: bool) -> None:
        """Whether somebody else forms new matches; here running ones are filled all the same."""
        if self._custom and not custom:
            for ticket in self.pool:
                self._search(ticket)
        self._custom = custom

    def relax_by(self, relaxations: Sequence[Relaxation], now: float) -> None:
        """How queries relax from now on, those of waiting tickets too."""
        self._relaxations = relaxations
        for ticket in self.pool:
            self._change_at(ticket, now)

    # -- time

    def next_at(self) -> float | None:
        """From when on `step` has something to do: 0 for at once, None for not before something comes."""
        if self._at_work or self._fresh or self._due:
            return 0.0
        times = [self._changes[0][0]] if self._changes else []
        if self._pass_at is not None:
            times.append(self._pass_at)
        return min(times, default=None)

    def step(self, now: float, enough: Callable[[], bool]) -> list[Group]:
        """Work through what is due at a monotonic second until it is done or `enough` says so; the matches formed.

        The oldest come first. Where there is more to do than time, every other step goes to the latest: a search has no
        bound but its queries', and whoever is easily matched need not wait for those who are not.
        """
        formed: list[Group] = []
        if not self._pass_time(now, enough):
            return formed
        if self._behind:
            self._behind = False
            if self._try_latest(formed, enough):
                return formed
        while (work := self._at_work or self._next()) is not None:
            self._at_work = None
            try:
                group = next(work)
                self._at_work = work
            except StopIteration as done:
                group = done.value
            if group is not None:
                formed.append(group)
            if enough():
                self._behind = True
                break
        return formed

    def _try_latest(self, formed: list[Group], enough: Callable[[], bool]) -> bool:
        """Search for those who came last, for each once; a search that takes too long begins anew in its turn."""
        while self._untried:
            ticket = self._due.pop(self._untried.popitem()[0])
            work = self._place(ticket) if ticket.alive else None
            while work is not None:
                try:
                    next(work)
                except StopIteration as done:
                    work = None
                    if done.value is not None:
                        formed.append(done.value)
                if enough():
                    if work is not None:
                        self._due[ticket.number] = ticket
                    return True
        return False

    def _pass_time(self, now: float, enough: Callable[[], bool]) -> bool:
        """What has changed because time went by; False if it was too much for now."""
        while self._changes and self._changes[0][0] <= now:
            at, number = heapq.heappop(self._changes)
            ticket = self._changing(at, number)
            if ticket is not None and self._age(ticket, now) and self._immediate:
                self._search(ticket)
            if enough():
                return False
        if self._pass_at is not None and self._pass_at <= now:
            self._pass_at = now + self._settings.interval_seconds if len(self.pool) else None
            for ticket in self.pool:
                if ticket.passes < (1 if ticket.least == ticket.most else self._settings.max_intervals):
                    ticket.passes += 1
                    ticket.relaxed = ticket.passes == self._settings.max_intervals
                    self._search(ticket)
        for backfill in [one for one in self.backfills.values() if one.until <= now]:
            del self.backfills[backfill.id]
        return True

    def _age(self, ticket: Ticket, now: float) -> bool:
        """Let a ticket be as old as it is, and note when that changes next; whether anything about it changed."""
        waited = now - ticket.entered_at
        query = query_after(ticket.asked, ticket.properties, self._relaxations, waited)
        relaxed = ticket.relaxed or (self._immediate and waited >= self._relax_seconds)
        changed = query != ticket.query or relaxed != ticket.relaxed
        ticket.relaxed = relaxed
        if query != ticket.query:
            self.pool.change(ticket, query)
        later = next_change(ticket.asked, ticket.properties, self._relaxations, waited)
        if self._immediate and not relaxed and ticket.least < ticket.most:
            later = min(self._relax_seconds, self._relax_seconds if later is None else later)
        if later is not None:
            # A hair later: what is due must have come, whatever rounding says.
            self._change_at(ticket, ticket.entered_at + later + 1e-6)
        return changed

    def _change_at(self, ticket: Ticket, at: float) -> None:
        ticket.changes_at = at
        heapq.heappush(self._changes, (at, ticket.number))
        if len(self._changes) > 2 * len(self.pool) + CHANGES_SPARE_MAX:
            self._changes = [change for change in self._changes if self._changing(*change) is not None]
            heapq.heapify(self._changes)

    def _changing(self, at: float, number: int) -> Ticket | None:
        """The ticket that changes at that time, if it still waits and nothing has put the time off."""
        ticket = self.pool.numbered(number)
        return ticket if ticket is not None and ticket.changes_at == at else None

    # -- searching

    def _search(self, ticket: Ticket) -> None:
        if ticket.number not in self._due:
            self._due[ticket.number] = ticket
            self._untried[ticket.number] = None
            heapq.heappush(self._due_numbers, ticket.number)
            if len(self._due_numbers) > 2 * len(self._due) + CHANGES_SPARE_MAX:
                self._due_numbers = sorted(self._due)

    def _next(self) -> Search | None:
        """The next search: for the first running match that is new, else for the oldest ticket that is due."""
        while self._fresh:
            backfill = self._fresh.pop(0)
            if backfill.id in self.backfills:
                return self._fill(backfill)
        while self._due:
            number = heapq.heappop(self._due_numbers)
            self._untried.pop(number, None)
            # Numbers stay behind of those who were tried out of turn.
            ticket = self._due.pop(number, None)
            if ticket is not None and ticket.alive:
                return self._place(ticket)
        return None

    def _fill(self, backfill: Backfill) -> Search:
        """Those who wait and may join a running match."""
        for ticket in list(self.pool):
            yield
            if backfill.open and backfill.id in self.backfills and ticket.alive and backfill.takes(ticket):
                # Told at once: by the end of the search its players may be gone.
                yield self._join(backfill, ticket)
        return None

    def _join(self, backfill: Backfill, ticket: Ticket) -> Group:
        backfill.open -= ticket.size
        if not backfill.open:
            del self.backfills[backfill.id]
        return self.take([ticket], backfill)

    def _place(self, ticket: Ticket) -> Search:
        """A running match or a new one for a ticket."""
        for backfill in list(self.backfills.values()):
            yield
            if ticket.alive and backfill.id in self.backfills and backfill.takes(ticket):
                return self._join(backfill, ticket)
        if self._custom:
            return None
        if self._immediate:
            found = yield from around(self.pool, ticket, mutual=self._mutual)
        else:
            found = yield from by_searcher(self.pool, ticket, None, mutual=self._mutual)
        if found is None:
            return None
        if all(one.alive for one in found):
            return self.take(found)
        if ticket.alive:
            # Somebody went while the search was interrupted.
            self._search(ticket)
        return None
