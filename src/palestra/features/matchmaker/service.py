"""Tickets of sessions and parties, the driver of the engine, and what players are told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count, islice

from palestra.core.clock import Clock
from palestra.core.config import MatchmakerSettings
from palestra.core.ids import new_id
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.query import BadQuery, Query, parse
from palestra.core.tasks import Tasks
from palestra.core.turns import Turns
from palestra.features.matches.contract import Matches
from palestra.features.matchmaker.contract import (
    BadBackfill,
    Completion,
    DuplicateSession,
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
from palestra.features.matchmaker.engine import Backfill, Engine, Group
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.rules import PLAYERS_MAX, counts, document_of
from palestra.features.matchmaker.why import explain
from palestra.features.matchmaker.wire import matched_pushes
from palestra.features.streams.contract import Member, Presence
from palestra.gateway.operation import Session

log = get_logger(__name__)

SLICE_SECONDS = 0.004
"""How long the engine works before others have their turn."""
COMPLETIONS_MAX = 10
BACKFILLS_MAX = 1_000
LIST_MAX = 10_000


class MatchmakerService:
    """Implements `Matchmaker` and `Matchmaking`. Everything happens on the loop's thread."""

    def __init__(
        self, settings: MatchmakerSettings, matches: Matches, games: MatchmakerGames, tasks: Tasks, clock: Clock
    ) -> None:
        self._settings = settings
        self._matches = matches
        self._games = games
        self._tasks = tasks
        self._clock = clock
        self._turns = Turns(clock.monotonic)
        self._engine = Engine(settings)
        self._numbers = count(1)
        self._tickets: dict[str, Ticket] = {}
        self._by_session: dict[str, dict[str, Ticket]] = {}
        self._by_party: dict[str, dict[str, Ticket]] = {}
        self._completions: deque[Completion] = deque(maxlen=COMPLETIONS_MAX)
        self._woken = asyncio.Event()
        self._accepting = True
        self.matched = 0
        """Players who were matched."""

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
        taken = [self._by_session.get(session, {}) for session in sessions]
        taken.append(self._by_party.get(party_id, {}) if party_id else {})
        if any(len(tickets) >= self._settings.max_tickets for tickets in taken):
            raise TooManyTickets
        ticket = Ticket(
            new_id(),
            next(self._numbers),
            tuple(members),
            party_id,
            wanted,
            query,
            request.string_properties,
            request.numeric_properties,
            self._clock.now(),
            self._clock.monotonic(),
        )
        self._note(ticket)
        # The ticket's own reply comes before anything that it leads to.
        caller.after_reply(lambda: self._enter(ticket))
        return ticket.id

    def add_one(self, session: Session, request: TicketRequest) -> str:
        """A ticket of one session alone. Raises as `add`."""
        caller = session.caller
        return self.add(session, [Member(session, Presence(caller.user_id, session.id, caller.username))], "", request)

    def _enter(self, ticket: Ticket) -> None:
        if ticket.alive:
            self._engine.add(ticket, self._clock.monotonic())
            self._woken.set()

    def remove_one(self, session: Session, ticket_id: str) -> None:
        """Withdraw a session's own ticket. Raises TicketNotFound, in the words of the wire."""
        ticket = self._by_session.get(session.id, {}).get(ticket_id)
        if ticket is None or ticket.party_id:
            raise TicketNotFound("Matchmaker ticket not found")
        self._withdraw(ticket)

    def remove_party(self, party_id: str, ticket: str | None = None) -> None:
        """See Matchmaker.remove_party."""
        tickets = self._by_party.get(party_id, {})
        if ticket is None:
            for one in list(tickets.values()):
                self._withdraw(one)
        elif ticket in tickets:
            self._withdraw(tickets[ticket])
        else:
            raise TicketNotFound

    def session_ended(self, session_id: str) -> None:
        """Withdraw all tickets that a session is in, those of its parties too."""
        for ticket in list(self._by_session.get(session_id, {}).values()):
            self._withdraw(ticket)

    def _withdraw(self, ticket: Ticket) -> None:
        self._forget(ticket)
        self._engine.remove(ticket)

    def _places(self, ticket: Ticket) -> list[tuple[dict[str, dict[str, Ticket]], str]]:
        """The indexes that a ticket stands in, with its key in each."""
        places = [(self._by_session, session) for session in ticket.sessions]
        return [*places, (self._by_party, ticket.party_id)] if ticket.party_id else places

    def _note(self, ticket: Ticket) -> None:
        self._tickets[ticket.id] = ticket
        for index, key in self._places(ticket):
            index.setdefault(key, {})[ticket.id] = ticket

    def _forget(self, ticket: Ticket) -> None:
        del self._tickets[ticket.id]
        for index, key in self._places(ticket):
            tickets = index[key]
            del tickets[ticket.id]
            if not tickets:
                del index[key]

    # -- the driver

    def start(self) -> None:
        """Begin to make matches."""
        self._tasks.spawn(self._run(), "matchmaker")

    def stop(self) -> None:
        """Take no more tickets."""
        self._accepting = False

    def games_changed(self) -> None:
        """Other games are in force, and what they declare."""
        self._engine.relax_by(self._games.relaxations, self._clock.monotonic())
        self._engine.leave_to_others(self._games.forms_every_seconds is not None)
        self._woken.set()

    async def _run(self) -> None:
        while True:
            every_seconds = self._games.forms_every_seconds
            await self._wait(every_seconds)
            try:
                self.work()
                if every_seconds is not None:
                    await self._let_game_form()
            except Exception as error:
                # One search, or what game code made of one, must not end the making of matches.
                log.error("making matches failed", exc_info=error)
            # Others have their turn, however much there is to do.
            await asyncio.sleep(0)

    async def _wait(self, at_most_seconds: float | None) -> None:
        """Wait until the engine has something to do."""
        if at_most_seconds is not None:
            await asyncio.sleep(at_most_seconds)
            return
        at = self._engine.next_at()
        seconds = None if at is None else at - self._clock.monotonic()
        if seconds is None or seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass
        self._woken.clear()

    def work(self) -> None:
        """One slice of the engine's work, and announce what it has formed. Tests that move the clock call it."""
        until = self._clock.monotonic() + SLICE_SECONDS
        for group in self._engine.step(self._clock.monotonic(), lambda: self._clock.monotonic() > until):
            self._announce(group)

    async def _let_game_form(self) -> None:
        waiting = [ticket.info() for ticket in islice(self._engine.pool, LIST_MAX)]
        if not waiting:
            return
        for infos in await self._games.form(waiting):
            tickets = [self._tickets.get(info.ticket) for info in infos]
            found = {ticket.id: ticket for ticket in tickets if ticket is not None and ticket.alive}
            sessions = [session for ticket in found.values() for session in ticket.sessions]
            # Who left meanwhile, or is in another group, takes the group with it; the rest goes on waiting.
            if len(found) == len(infos) > 0 and len(set(sessions)) == len(sessions) <= PLAYERS_MAX:
                self._announce(self._engine.take(found.values()))

    def measure(self, metrics: Metrics) -> None:
        """Show what is going on."""
        metrics.gauge("palestra_matchmaker_tickets", "Tickets that wait", (), lambda: [((), len(self._tickets))])
        metrics.counter("palestra_matchmaker_matched", "Players who were matched", (), lambda: [((), self.matched)])

    # -- what players are told

    def _announce(self, group: Group) -> None:
        now = self._clock.now()
        for ticket in group.tickets:
            self._forget(ticket)
            self._completions.append(Completion(ticket.created_at, now))
            self.matched += ticket.size
        if group.match_id:
            self._tell(group, group.match_id)
        elif self._games.handles_formed:
            self._tasks.spawn(self._ask_game(group), "matched hook")
        else:
            self._tell(group, None)

    async def _ask_game(self, group: Group) -> None:
        entries = tuple(entry for ticket in group.tickets for entry in ticket.entries)
        self._tell(group, await self._games.formed(Formed(entries)))

    def _tell(self, group: Group, match_id: str | None) -> None:
        token = None if match_id else self._matches.token(f"{new_id()}.")
        entries = [entry for ticket in group.tickets for entry in ticket.entries]
        members = [member for ticket in group.tickets for member in ticket.members]
        for member, push in zip(members, matched_pushes(entries, match_id or None, token), strict=True):
            member.session.send(push)

    # -- for game modules

    async def stats(self) -> Stats:
        """See Matchmaking.stats."""
        oldest = next(iter(self._tickets.values()), None)
        return Stats(len(self._tickets), None if oldest is None else oldest.created_at, tuple(self._completions))

    async def tickets(self, limit: int = 100) -> list[TicketInfo]:
        """See Matchmaking.tickets."""
        return [ticket.info() for ticket in islice(self._tickets.values(), min(limit, LIST_MAX))]

    async def explain(self, ticket: str, limit: int = 100) -> WhyNot:
        """See Matchmaking.explain."""
        return await explain(
            self._engine.pool,
            self._known(ticket),
            self._clock.monotonic(),
            limit,
            self._turns,
            mutual=self._settings.mutual_acceptance,
        )

    async def remove(self, ticket: str) -> None:
        """See Matchmaking.remove."""
        self._withdraw(self._known(ticket))

    def _known(self, ticket_id: str) -> Ticket:
        ticket = self._tickets.get(ticket_id)
        if ticket is None:
            raise TicketNotFound
        return ticket

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
        if len(self._engine.backfills) >= BACKFILLS_MAX:
            raise BadBackfill(f"there are {BACKFILLS_MAX} backfills: end some, or let them be shorter")
        backfill = Backfill(
            id=new_id(),
            match_id=match_id,
            query=_query(query),
            document=document_of(properties, {}),
            open=count,
            full=players + count,
            until=self._clock.monotonic() + seconds,
        )
        self._engine.add_backfill(backfill)
        self._woken.set()
        return backfill.id

    async def end_backfill(self, backfill: str) -> int:
        """See Matchmaking.end_backfill."""
        ended = self._engine.backfills.pop(backfill, None)
        return 0 if ended is None else ended.open


def _query(text: str) -> Query:
    try:
        return parse(text)
    except BadQuery as error:
        raise QueryInvalid(error.message) from None
