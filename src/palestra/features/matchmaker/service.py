"""Tickets of sessions and parties, and what players are told. Matches are made here, or by the node that makes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from heapq import nsmallest
from itertools import chain, islice
from typing import Protocol

from palestra.core.clock import Clock
from palestra.core.config import MatchmakerSettings
from palestra.core.ids import new_id
from palestra.core.metrics import Metrics
from palestra.core.query import BadQuery, Query, parse
from palestra.core.tasks import Tasks
from palestra.core.turns import Turns
from palestra.features.matches.contract import Matches
from palestra.features.matchmaker.contract import (
    BadBackfill,
    Completion,
    DuplicateSession,
    Entry,
    Formed,
    MatchmakerGames,
    NotAvailable,
    QueryInvalid,
    Stats,
    TicketInfo,
    TicketNotFound,
    TicketRequest,
    TooManyTickets,
    WhyNot,
)
from palestra.features.matchmaker.engine import Backfill, Group
from palestra.features.matchmaker.maker import LIST_MAX, Maker
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.rules import PLAYERS_MAX, counts, document_of
from palestra.features.matchmaker.tickets import Tickets
from palestra.features.matchmaker.why import explain
from palestra.features.matchmaker.wire import matched_pushes
from palestra.features.streams.contract import Member, Presence
from palestra.gateway.operation import Session

COMPLETIONS_MAX = 10
BACKFILLS_MAX = 1_000


class Sharing(Protocol):
    """The way to the other nodes, of which one makes the matches of all."""

    def entered(self, ticket: Ticket) -> None:
        """A ticket of this node may be matched."""
        ...

    def withdrawn(self, ticket: Ticket) -> None:
        """A ticket of this node is to be matched no more."""
        ...

    def concerns(self, group: Group) -> bool:
        """Whether others have a say in a match that was formed here."""
        ...

    def settle(self, group: Group) -> None:
        """Ask them, and carry the match out if all agree."""
        ...

    def filling(self, backfill: Backfill) -> None:
        """A backfill of this node has begun."""
        ...

    def filled(self, backfill: Backfill) -> None:
        """A backfill of this node has ended."""
        ...

    def away(self, session_id: str) -> None:
        """A session of this node has been away for longer than its tickets wait for it."""
        ...

    def stop(self) -> None:
        """Let another node make the matches."""
        ...

    def others(self) -> Sequence[Ticket]:
        """Tickets of other nodes, on the node that makes the matches."""
        ...

    def find(self, ticket_id: str) -> Ticket | None:
        """One of these."""
        ...


class Asking(Protocol):
    """Questions about the tickets of all nodes."""

    def stats(self) -> Awaitable[Stats]:
        """As Matchmaking.stats. Raises Unavailable while nobody makes matches."""
        ...

    def tickets(self, limit: int) -> Awaitable[list[TicketInfo]]:
        """As Matchmaking.tickets. Raises Unavailable."""
        ...

    def explain(self, ticket: str, limit: int) -> Awaitable[WhyNot]:
        """As Matchmaking.explain. Raises Unavailable."""
        ...

    def remove(self, ticket: str) -> Awaitable[bool]:
        """Whether another node has withdrawn a ticket of its own."""
        ...

    def end_backfill(self, backfill: str) -> Awaitable[int]:
        """Places that were still open in a backfill of another node."""
        ...


class MatchmakerService:
    """Implements `Matchmaker` and `Matchmaking`. Everything happens on the loop's thread.

    With `sharing`, one node makes the matches of all, and this one answers for its own tickets.
    """

    def __init__(
        self, settings: MatchmakerSettings, matches: Matches, games: MatchmakerGames, tasks: Tasks, clock: Clock
    ) -> None:
        self._settings = settings
        self._matches = matches
        self._games = games
        self._tasks = tasks
        self._clock = clock
        self._turns = Turns(clock.monotonic)
        self.maker = Maker(settings, games, tasks, clock)
        self.maker.formed = self._formed
        self.own = Tickets()
        self.sharing: Sharing | None = None
        self.asking: Asking | None = None
        self._number = 0
        self._completions: deque[Completion] = deque(maxlen=COMPLETIONS_MAX)
        self._accepting = True
        self.matched = 0
        """Players of this node's tickets who were matched."""

    # -- tickets

    def add(self, caller: Session, members: Sequence[Member], party_id: str, request: TicketRequest) -> str:
        """See Matchmaker.add."""
        wanted = counts(request.min_count, request.max_count, request.count_multiple)
        query = _query(request.query)
        sessions = [member.presence.session_id for member in members]
        if len(set(sessions)) < len(sessions):
            raise DuplicateSession
        if not self._accepting or caller.closing or any(member.session.closing for member in members):
            raise NotAvailable
        taken = [self.own.of_session(session) for session in sessions]
        taken.append(self.own.of_party(party_id) if party_id else {})
        if any(len(tickets) >= self._settings.max_tickets for tickets in taken):
            raise TooManyTickets
        now = self._clock.now()
        # The order of arrival, which is to be the same on all nodes.
        self._number = max(self._number + 1, int(now * 1e9))
        ticket = Ticket(
            new_id(),
            self._number,
            tuple(member.presence for member in members),
            party_id,
            wanted,
            query,
            request.string_properties,
            request.numeric_properties,
            now,
            self._clock.monotonic(),
        )
        ticket.members = tuple(members)
        self.own.add(ticket)
        # The ticket's own reply comes before anything that it leads to.
        caller.after_reply(lambda: self._enter(ticket))
        return ticket.id

    def add_one(self, session: Session, request: TicketRequest) -> str:
        """A ticket of one session alone. Raises as `add`."""
        caller = session.caller
        return self.add(session, [Member(session, Presence(caller.user_id, session.id, caller.username))], "", request)

    def adopt(self, ticket: Ticket) -> None:
        """A ticket has come from another node, with its session."""
        self.own.add(ticket)
        self._enter(ticket)

    def _enter(self, ticket: Ticket) -> None:
        if ticket.alive:
            self.own.enter(ticket)
            if self.sharing is None:
                self.maker.add(ticket)
            else:
                self.sharing.entered(ticket)

    def remove_one(self, session: Session, ticket_id: str) -> None:
        """Withdraw a session's own ticket. Raises TicketNotFound, in the words of the wire."""
        ticket = self.own.of_session(session.id).get(ticket_id)
        if ticket is None or ticket.party_id:
            raise TicketNotFound("Matchmaker ticket not found")
        self.withdraw(ticket)

    def remove_party(self, party_id: str, ticket: str | None = None) -> None:
        """See Matchmaker.remove_party."""
        tickets = self.own.of_party(party_id)
        if ticket is None:
            for one in list(tickets.values()):
                self.withdraw(one)
        elif ticket in tickets:
            self.withdraw(tickets[ticket])
        else:
            raise TicketNotFound

    def session_ended(self, session_id: str) -> None:
        """Withdraw all tickets of this node that a session is in, those of its parties too."""
        for ticket in list(self.own.of_session(session_id).values()):
            self.withdraw(ticket)

    def session_away(self, session_id: str) -> None:
        """The same on all nodes, for a session of this one that is not heard of."""
        self.session_ended(session_id)
        if self.sharing is not None:
            self.sharing.away(session_id)

    def drop(self) -> None:
        """Withdraw everything."""
        for ticket in list(self.own):
            self.withdraw(ticket)
        for backfill in list(self.own.backfills):
            self.end_own_backfill(backfill)

    def withdraw(self, ticket: Ticket) -> None:
        """A ticket of this node is to be matched no more."""
        self.own.remove(ticket)
        self.maker.remove(ticket)
        if self.sharing is not None:
            self.sharing.withdrawn(ticket)

    # -- making matches

    def start(self) -> None:
        """Begin to make matches."""
        self.maker.start()

    def stop(self) -> None:
        """Take no more tickets, and leave it to other nodes to make matches."""
        self._accepting = False
        if self.sharing is not None:
            self.sharing.stop()

    def games_changed(self) -> None:
        """Other games are in force, and what they declare."""
        self.maker.games_changed()

    def work(self) -> None:
        """One slice of work, for tests that move the clock."""
        self.maker.work()

    def measure(self, metrics: Metrics) -> None:
        """Show what is going on."""
        metrics.gauge("palestra_matchmaker_tickets", "Tickets that wait", (), lambda: [((), len(self.own))])
        metrics.counter("palestra_matchmaker_matched", "Players who were matched", (), lambda: [((), self.matched)])

    def _formed(self, group: Group) -> None:
        if self.sharing is not None and self.sharing.concerns(group):
            self.sharing.settle(group)
            return
        self.conclude(group.tickets)
        self.note_completions(group)
        if group.match_id or not self._games.handles_formed:
            self._tell(group, group.match_id)
        else:
            self._tasks.spawn(self._ask_game(group), "matched hook")

    async def _ask_game(self, group: Group) -> None:
        self._tell(group, await self._games.formed(Formed(entries_of(group))))

    def _tell(self, group: Group, match_id: str | None) -> None:
        members = [member for ticket in group.tickets for member in ticket.members]
        self.tell(entries_of(group), members, match_id or None, None if match_id else self._token())

    def _token(self) -> str:
        return self._matches.token(f"{new_id()}.")

    async def place_of(self, group: Group) -> tuple[str | None, str | None]:
        """Where a group meets: the id of a match that is there, or a token. Asks the game. Raises nothing."""
        match_id: str | None = group.match_id
        if not match_id and self._games.handles_formed:
            match_id = await self._games.formed(Formed(entries_of(group)))
        return (match_id, None) if match_id else (None, self._token())

    def note_completions(self, group: Group) -> None:
        """Remember how long these have waited."""
        now = self._clock.now()
        self._completions.extend(Completion(ticket.created_at, now) for ticket in group.tickets)

    def conclude(self, tickets: Sequence[Ticket]) -> None:
        """Tickets of this node are matched."""
        for ticket in tickets:
            self.own.remove(ticket)
            self.matched += ticket.size

    def tell(
        self, entries: Sequence[Entry], members: Sequence[Member | None], match_id: str | None, token: str | None
    ) -> None:
        """Tell the players of a match, of which the members that are not None are ours to tell."""
        for member, push in zip(members, matched_pushes(entries, match_id, token), strict=True):
            if member is not None:
                member.session.send(push)

    # -- for game modules

    async def stats(self) -> Stats:
        """See Matchmaking.stats."""
        return self.stats_here() if self.asking is None else await self.asking.stats()

    def stats_here(self) -> Stats:
        """Figures of all tickets that this node knows."""
        oldest = next(iter(self._oldest(1)), None)
        others = len(self.sharing.others()) if self.sharing is not None else 0
        since = None if oldest is None else oldest.created_at
        return Stats(len(self.own) + others, since, tuple(self._completions))

    async def tickets(self, limit: int = 100) -> list[TicketInfo]:
        """See Matchmaking.tickets."""
        return self.tickets_here(limit) if self.asking is None else await self.asking.tickets(limit)

    def tickets_here(self, limit: int) -> list[TicketInfo]:
        """The oldest tickets that this node knows."""
        return [ticket.info() for ticket in self._oldest(min(limit, LIST_MAX))]

    def _oldest(self, limit: int) -> list[Ticket]:
        others = self.sharing.others() if self.sharing is not None else ()
        if not others:
            return list(islice(self.own, limit))
        return nsmallest(limit, chain(self.own, others), key=lambda ticket: ticket.number)

    async def explain(self, ticket: str, limit: int = 100) -> WhyNot:
        """See Matchmaking.explain."""
        return await (self.explain_here if self.asking is None else self.asking.explain)(ticket, limit)

    async def explain_here(self, ticket_id: str, limit: int) -> WhyNot:
        """Why a ticket that this node knows still waits. Raises TicketNotFound."""
        ticket = self.own.get(ticket_id)
        if ticket is None and self.sharing is not None:
            ticket = self.sharing.find(ticket_id)
        if ticket is None:
            raise TicketNotFound
        return await explain(
            self.maker.engine.pool,
            ticket,
            self._clock.monotonic(),
            limit,
            self._turns,
            mutual=self._settings.mutual_acceptance,
        )

    async def remove(self, ticket: str) -> None:
        """See Matchmaking.remove."""
        if not self.remove_own(ticket) and not (self.asking is not None and await self.asking.remove(ticket)):
            raise TicketNotFound

    def remove_own(self, ticket_id: str) -> bool:
        """Withdraw a ticket if it is of this node."""
        ticket = self.own.get(ticket_id)
        if ticket is not None:
            self.withdraw(ticket)
        return ticket is not None

    async def backfill(
        self,
        match_id: str,
        count: int,
        *,
        players: int,
        query: str = "*",
        properties: Mapping[str, str | float] = {},
        seconds: float = 300.0,
    ) -> str:
        """See Matchmaking.backfill."""
        if not match_id or count < 1 or players < 0 or players + count > PLAYERS_MAX or seconds <= 0:
            raise BadBackfill(
                f"a backfill has a match, a count of 1 or more, seconds above 0, and at most {PLAYERS_MAX} players"
            )
        self.own.forget_filled(self._clock.monotonic())
        if len(self.own.backfills) >= BACKFILLS_MAX:
            raise BadBackfill(f"there are {BACKFILLS_MAX} backfills: end some, or let them be shorter")
        backfill = Backfill(
            id=new_id(),
            match_id=match_id,
            query=_query(query),
            document=document_of(properties, {}),
            open=count,
            full=players + count,
            until=self._clock.monotonic() + seconds,
            properties=properties,
        )
        self.own.backfills[backfill.id] = backfill
        if self.sharing is None:
            self.maker.add_backfill(backfill)
        else:
            self.sharing.filling(backfill)
        return backfill.id

    async def end_backfill(self, backfill: str) -> int:
        """See Matchmaking.end_backfill."""
        open = self.end_own_backfill(backfill)
        if open is None:
            return 0 if self.asking is None else await self.asking.end_backfill(backfill)
        return open

    def end_own_backfill(self, backfill_id: str) -> int | None:
        """End a backfill of this node; how many places were still open. None if it is not of this node."""
        backfill = self.own.backfills.pop(backfill_id, None)
        if backfill is None:
            return None
        backfill.ended = True
        self.maker.remove_backfill(backfill_id)
        if self.sharing is not None:
            self.sharing.filled(backfill)
        return backfill.open if backfill.until > self._clock.monotonic() else 0


def entries_of(group: Group) -> tuple[Entry, ...]:
    """The players of a group."""
    return tuple(entry for ticket in group.tickets for entry in ticket.entries)


def _query(text: str) -> Query:
    try:
        return parse(text)
    except BadQuery as error:
        raise QueryInvalid(error.message) from None
