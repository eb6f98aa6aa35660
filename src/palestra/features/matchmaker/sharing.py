"""One node makes the matches of all: who that is, what it is told of tickets, and how their owners agree to a match."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.clock import Clock
from palestra.core.errors import Unavailable
from palestra.core.ids import new_id
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.features.matchmaker.between import (
    About,
    Filling,
    Matched,
    Waiting,
    Wanted,
    about,
    filling,
    parts_of,
    waiting,
)
from palestra.features.matchmaker.engine import Backfill, Group
from palestra.features.matchmaker.pool import Ticket
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.matchmaker.views import Views
from palestra.features.nodes.contract import Lease, Leases

LEASE = "matchmaker"
LOOK_SECONDS = 0.1
"""How often a node looks whether it is the one."""
ANEW_SECONDS = 1.0
"""How long a node is not asked again for all its tickets; what is lost meanwhile is seen by its heartbeats."""
CLAIM_SECONDS = 2.0
RETRY_SECONDS = 0.2

log = get_logger(__name__)

_encode = msgspec.msgpack.Encoder().encode


class _Attempt(msgspec.Struct, eq=False):
    """A match that was formed here, and that the owners of its tickets have not yet agreed to."""

    match: str
    group: Group
    wanted: dict[str, Wanted]
    life: int
    spoiled: bool = False


class TicketSharing:
    """Implements `Sharing`.

    Each ticket is answered for by the node it was made on, which announces it to the maker of matches. Of a match that
    it has formed, the maker asks every owner to claim the tickets; an owner gives a ticket to one match at a time. When
    all have agreed the match is made, else all are released. Whatever is lost on the way, a ticket is with its owner,
    who announces it again: to a new maker, and after a claim of which nothing came.
    """

    def __init__(
        self, cluster: Cluster, leases: Leases, service: MatchmakerService, tasks: Tasks, clock: Clock
    ) -> None:
        self._bus, self._calls, self._members = cluster.bus, cluster.calls, cluster.members
        self._me = cluster.node
        self._leases = leases
        self._lease: Lease | None = None
        self._service, self._own, self._maker = service, service.own, service.maker
        self._tasks = tasks
        self._now = clock.monotonic
        self.maker = ""
        """The node that makes matches, "" when it is not known."""
        self._term = 0
        """Tells one time of a node as the maker from another."""
        self._terms = self._life = 0
        self.follows: Callable[[Ticket], bool] = lambda ticket: False
        """Is given a ticket that is free again; whether it has gone to another node, where its session is by now."""
        self._views = Views(service.maker, clock)
        self._asked_at: dict[str, float] = {}
        self._attempts: dict[str, _Attempt] = {}
        service.sharing = self
        self._listen()
        cluster.on_start.append(self._begin)

    def _listen(self) -> None:
        for topic, kind, hear in (
            ("tickets.waits", Waiting, self._waits),
            ("tickets.gone", str, self._gone),
            ("tickets.fills", Filling, self._fills),
            ("tickets.filled", str, self._filled),
            ("tickets.away", str, self._is_away),
            ("tickets.anew", None, self._asked_anew),
        ):
            self._bus.on(topic, partial(self._heard, msgspec.msgpack.Decoder(kind).decode, hear))
        for name, request, answer in (
            ("tickets.claim", Wanted, self._claimed),
            ("tickets.release", Wanted, self._released),
            ("tickets.matched", Matched, self._matched),
        ):
            self._calls.serve(name, request, answer)
        members = self._members
        members.state.append(self._state)
        members.on_beat(self._beat)
        members.on_leave(lambda info: self._node_gone(info.name))
        members.on_fenced(self._fenced)
        self._bus.on_gap(self._missed)

    def _heard(
        self, decode: Callable[[bytes], Any], hear: Callable[[str, Any], None], sender: str, data: bytes
    ) -> None:
        if sender in self._members:
            hear(sender, decode(data))

    # -- who makes matches

    def _begin(self) -> None:
        if self._members.serves:
            self._lease = self._leases.lease(LEASE)
        self._tasks.spawn(self._look(), "maker of matches")

    def stop(self) -> None:
        """See Sharing.stop."""
        self._lease = None
        self.look()
        self._tasks.spawn(self._leases.give_up(LEASE), "leaving the making of matches")

    async def _look(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Begin or end to make matches, as the lease says."""
        held = self._lease is not None and self._lease.held
        if held and self.maker != self._me:
            self._terms += 1
            self._begin_to_make()
        elif not held and self.maker == self._me:
            log.info("this node makes no more matches", node=self._me)
            self._end_to_make()
            self._members.say()

    def _begin_to_make(self) -> None:
        log.info("this node makes matches", node=self._me)
        self._views.clear()
        self._maker.begin_anew()
        self._follow(self._me, self._terms)
        self._members.say()

    def _end_to_make(self) -> None:
        self.maker = ""
        self._views.clear()
        self._maker.begin_anew()

    def _state(self) -> dict[str, int]:
        leads = self.maker == self._me
        return {"matchmaker": self._terms if leads else 0, "tickets": self._own.mark(self._now())}

    def _beat(self, info: NodeInfo) -> None:
        if self.maker == self._me:
            if self._views.differs(info.name, info.state.get("tickets", 0)):
                self._missed(info.name)
            return
        term = info.state.get("matchmaker", 0)
        if term and (info.name, term) != (self.maker, self._term):
            self._follow(info.name, term)
        elif not term and info.name == self.maker:
            self.maker = ""

    def _follow(self, node: str, term: int) -> None:
        """Announce all that is ours to a new maker."""
        self.maker, self._term = node, term
        for ticket in self._own:
            self._offer(ticket)
        for backfill in self._own.backfills.values():
            self._offer_places(backfill)

    def _node_gone(self, node: str) -> None:
        if node == self.maker:
            self.maker = ""
        self._views.drop(node)
        self._asked_at.pop(node, None)
        for match, claim in list(self._own.claims.items()):
            if claim.claimant == node:
                self._give_back(match)

    def _fenced(self) -> None:
        """The others have taken our tickets and matches for gone."""
        self._life += 1
        self._end_to_make()
        for match in list(self._own.claims):
            self._give_back(match)
        self._service.drop()

    # -- what is ours, told to the maker

    def _offer(self, ticket: Ticket) -> None:
        """Let a ticket be matched, unless it is being matched already."""
        if ticket.entered and not ticket.claim:
            if self.maker == self._me:
                self._maker.put_back(ticket)
            elif self.maker:
                self._bus.send(self.maker, "tickets.waits", _encode(waiting(ticket, self._now())))

    def _offer_places(self, backfill: Backfill) -> None:
        if self.maker == self._me:
            if backfill.open:
                self._maker.add_backfill(backfill)
        elif self.maker:
            self._bus.send(self.maker, "tickets.fills", _encode(filling(backfill, self._now())))

    def entered(self, ticket: Ticket) -> None:
        """See Sharing.entered."""
        self._offer(ticket)

    def withdrawn(self, ticket: Ticket) -> None:
        """See Sharing.withdrawn."""
        self._spoil(ticket.id)
        if self.maker != self._me and self.maker:
            self._bus.send(self.maker, "tickets.gone", _encode(ticket.id))

    def filling(self, backfill: Backfill) -> None:
        """See Sharing.filling."""
        self._offer_places(backfill)

    def filled(self, backfill: Backfill) -> None:
        """See Sharing.filled."""
        if self.maker != self._me and self.maker:
            self._bus.send(self.maker, "tickets.filled", _encode(backfill.id))

    def away(self, session_id: str) -> None:
        """See Sharing.away."""
        self._bus.broadcast("tickets.away", _encode(session_id))

    def _is_away(self, sender: str, session_id: str) -> None:
        self._service.session_ended(session_id)

    def _asked_anew(self, sender: str, _: None) -> None:
        if sender == self.maker:
            self._follow(sender, self._term)

    # -- what is others', known to the maker

    def others(self) -> Sequence[Ticket]:
        """See Sharing.others."""
        return self._views.tickets()

    def find(self, ticket_id: str) -> Ticket | None:
        """See Sharing.find."""
        return self._views.find(ticket_id)

    def _waits(self, sender: str, told: Waiting) -> None:
        if self.maker == self._me:
            self._views.waits(sender, told)

    def _gone(self, sender: str, ticket_id: str) -> None:
        self._spoil(ticket_id)
        self._views.lose(sender, ticket_id)

    def _fills(self, sender: str, told: Filling) -> None:
        if self.maker == self._me:
            self._views.fills(sender, told)

    def _filled(self, sender: str, backfill_id: str) -> None:
        self._views.stops(sender, backfill_id)

    def _missed(self, node: str) -> None:
        """Something that a node said was lost: it is to say all of it again, unless it was asked a moment ago."""
        now = self._now()
        if self.maker != self._me or node not in self._members:
            return
        if now - self._asked_at.get(node, -ANEW_SECONDS) >= ANEW_SECONDS:
            self._asked_at[node] = now
            self._views.drop(node)
            self._bus.send(node, "tickets.anew", _encode(None))

    # -- a match, as its maker sees it

    def concerns(self, group: Group) -> bool:
        """See Sharing.concerns."""
        backfill = group.backfill
        return any(ticket.owner for ticket in group.tickets) or (backfill is not None and bool(backfill.owner))

    def settle(self, group: Group) -> None:
        """See Sharing.settle."""
        match = new_id()
        wanted: dict[str, Wanted] = {}
        for ticket in group.tickets:
            wanted.setdefault(ticket.owner, Wanted(match, [])).tickets.append(ticket.id)
        if group.backfill is not None:
            part = wanted.setdefault(group.backfill.owner, Wanted(match, []))
            part.backfill, part.places = group.backfill.id, sum(ticket.size for ticket in group.tickets)
        own = wanted.pop("", None)
        if own is not None:
            tickets = [ticket for ticket in group.tickets if not ticket.owner]
            backfill = group.backfill if own.backfill else None
            self._own.hold(match, self._me, tickets, backfill, own.places)
        attempt = _Attempt(match, group, wanted, self._life)
        for ticket in group.tickets:
            self._attempts[ticket.id] = attempt
        self._tasks.spawn(self._agree(attempt), "agreement on a match")

    def _spoil(self, ticket_id: str) -> None:
        if (attempt := self._attempts.get(ticket_id)) is not None:
            attempt.spoiled = True

    async def _agree(self, attempt: _Attempt) -> None:
        """Get the tickets from their owners; make the match, or give all of them back."""
        try:
            agreed = await asyncio.gather(*[self._ask_owner(node, part) for node, part in attempt.wanted.items()])
            if all(agreed) and not attempt.spoiled and attempt.life == self._life:
                match_id, token = await self._service.place_of(attempt.group)
                if attempt.life == self._life:
                    self._carry_out(attempt, match_id, token)
                    return
        except Exception as error:
            log.error("agreeing on a match failed", exc_info=error)
        self._give_up(attempt)

    async def _ask_owner(self, node: str, wanted: Wanted) -> bool:
        try:
            return await self._calls.call(node, "tickets.claim", wanted, bool, CLAIM_SECONDS)
        except Unavailable:
            return False

    def _carry_out(self, attempt: _Attempt, match_id: str | None, token: str | None) -> None:
        self._forget(attempt)
        self._service.note_completions(attempt.group)
        tickets = [about(ticket) for ticket in attempt.group.tickets]
        parts = parts_of(attempt.match, match_id, token, tickets)
        for node, wanted in attempt.wanted.items():
            self._tasks.spawn(self._tell_owner(node, attempt, wanted, parts), "telling of a match")
        self._conclude(attempt.match, tickets, match_id, token)

    def _give_up(self, attempt: _Attempt) -> None:
        """Owners announce again what is free. So they do even if they have not heard of the match."""
        self._forget(attempt)
        for node, wanted in attempt.wanted.items():
            for ticket_id in wanted.tickets:
                self._views.lose(node, ticket_id)
            self._views.stops(node, wanted.backfill)
            self._tasks.spawn(self._deliver(node, attempt.life, "tickets.release", wanted), "giving tickets back")
        self._give_back(attempt.match)

    def _forget(self, attempt: _Attempt) -> None:
        for ticket in attempt.group.tickets:
            self._attempts.pop(ticket.id, None)

    async def _tell_owner(self, node: str, attempt: _Attempt, wanted: Wanted, parts: list[Matched]) -> None:
        for part in parts:
            await self._deliver(node, attempt.life, "tickets.matched", part)
        for ticket_id in wanted.tickets:
            self._views.lose(node, ticket_id)

    async def _deliver(self, node: str, life: int, name: str, message: Any) -> None:
        """Say it until it is heard; an owner that is gone has no tickets any more, and we have none once given up."""
        while node in self._members and life == self._life:
            try:
                await self._calls.call(node, name, message, type(None))
                return
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)

    # -- a match, as the owners see it

    async def _claimed(self, sender: str, wanted: Wanted) -> bool:
        if sender != self.maker:
            return False
        return self._own.claim(wanted.match, sender, wanted.tickets, wanted.backfill, wanted.places)

    async def _released(self, sender: str, wanted: Wanted) -> None:
        if wanted.match in self._own.claims:
            self._give_back(wanted.match)
            return
        for ticket_id in wanted.tickets:
            if (ticket := self._own.get(ticket_id)) is not None:
                self._offer(ticket)
        if (backfill := self._own.backfills.get(wanted.backfill)) is not None:
            self._offer_places(backfill)

    def _give_back(self, match: str) -> None:
        """Nothing comes of a match: what it had claimed of ours may be matched again."""
        claim = self._own.release(match)
        if claim is None:
            return
        for ticket in claim.tickets:
            if self._own.get(ticket.id) is ticket and not self.follows(ticket):
                self._offer(ticket)
        backfill = claim.backfill
        if backfill is not None:
            backfill.open += claim.places
            if not backfill.ended:
                self._offer_places(backfill)

    async def _matched(self, sender: str, told: Matched) -> None:
        claim = self._own.claims.get(told.match)
        if claim is None or claim.claimant != sender:
            return
        claim.parts[told.part] = told.tickets
        if len(claim.parts) == told.parts:
            tickets = [ticket for _, part in sorted(claim.parts.items()) for ticket in part]
            self._conclude(told.match, tickets, told.match_id, told.token)

    def _conclude(self, match: str, tickets: list[About], match_id: str | None, token: str | None) -> None:
        """A match is made: those of our tickets that were not withdrawn are told."""
        claim = self._own.release(match)
        if claim is None:
            return
        ours = [ticket for ticket in claim.tickets if self._own.get(ticket.id) is ticket]
        self._service.conclude(ours)
        members = {(ticket.id, one.presence.session_id): one for ticket in ours for one in ticket.members}
        entries = [entry for ticket in tickets for entry in ticket.entries()]
        told = [members.get((entry.ticket, entry.presence.session_id)) for entry in entries]
        self._service.tell(entries, told, match_id, token)
