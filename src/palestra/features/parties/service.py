"""Parties of this node: who may do what is the party's word, here it is carried out and told to whom it concerns.

Members may be on any node.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from palestra.core.clock import Clock
from palestra.core.config import PartySettings
from palestra.core.ids import new_id
from palestra.core.metrics import Metrics
from palestra.core.turns import Turns
from palestra.features.matchmaker.contract import InvalidTicket, Matchmaker, TicketRequest
from palestra.features.parties import wire
from palestra.features.parties.contract import PartyNotFound, PartyPage, RequesterGone, TooManyParties
from palestra.features.parties.listing import Found, Listing, ListingRequest
from palestra.features.parties.rules import Party, check_max_size, check_presence, split_party_id
from palestra.features.parties.snapshot import PartySnapshot
from palestra.features.streams.contract import PARTY, Member, Presence, Presences, SessionClosing, Stream
from palestra.gateway.operation import Session
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import Push


class PartyService:
    """Implements `Parties`. A party lives in memory, from its maker's coming to the last one's going.

    While it is handed over to another node it is set aside: nothing finds it but listings.

    Whether somebody is in a party is for the presence engine to say: its joins and leaves are what changes the members,
    so whoever is in a party is on its stream. Tickets are for those who were in it when they were made: each coming and
    going withdraws them. Nothing but listings ever waits, so a party without members does not exist between two steps,
    and none has to be looked for later.
    """

    def __init__(
        self,
        presences: Presences,
        matchmaker: Matchmaker,
        settings: PartySettings,
        node: str,
        clock: Clock,
        *,
        single: bool = False,
    ) -> None:
        self._presences = presences
        self._matchmaker = matchmaker
        self._per_session_max = settings.per_session_max
        self._node = node
        self._clock = clock
        self._single = single
        self._turns = Turns(clock.monotonic)
        self._number = 0
        self._parties: dict[Stream, Party] = {}
        self._aside: dict[Stream, Party] = {}
        self.node_of: Callable[[Stream], str] = lambda stream: stream.label
        """Which node a party is on that is not here."""
        self.on_end: Callable[[Stream], None] = lambda stream: None
        self.send_to: Callable[[Session, Push], None] = lambda session, push: session.send(push)
        self._moves = Counter(given=0, taken=0)
        self.find_elsewhere: Callable[[ListingRequest], Awaitable[list[Found]]] | None = None
        """Looks for the parties of other nodes, where there may be any."""
        # Its presence events are told from here as well, to members on all nodes, in order with all else.
        presences.watch(PARTY, self._moved)

    # -- coming and going

    def create(self, session: Session, *, open: bool, max_size: int, label: str, hidden: bool) -> Party:
        """A new party, led by the session. Raises InvalidMaxSize, LabelTooLong, LabelNotObject, TooManyParties."""
        check_max_size(max_size)
        now = self._clock.now()
        self._number = max(self._number + 1, int(now * 1e9))
        stream = Stream(PARTY, new_id(), label=self._node)
        party = Party(stream, self._number, int(now), session, max_size)
        party.describe(label, open=open, hidden=hidden)
        self._parties[stream] = party
        try:
            self._enter(party, session)
        except (SessionClosing, TooManyParties):
            del self._parties[stream]
            raise
        return party

    def join(self, session: Session, party_id: str) -> None:
        """Come in, or ask the leader to be let in.

        Raises PartyNotFound, PartyFull, RequestsFull, RequestDuplicate, AlreadyMember, TooManyParties.
        """
        party = self._find(party_id)
        if party.knock(session):
            self._enter(party, session)
        else:
            self.send_to(party.leader, Push("party_join_request", wire.join_requests(party, (session,))))

    def accept(self, session: Session, party_id: str, target: UserPresence | None) -> None:
        """Let one in who has asked. Raises LeaderOnly, RequestNotFound, PartyFull, RequesterGone."""
        named = check_presence(target)
        party = self._find(party_id)
        requester = party.accept(session, named)
        try:
            self._enter(party, requester)
        except (SessionClosing, TooManyParties):
            raise RequesterGone from None

    def leave(self, session: Session, party_id: str) -> None:
        """Go, in it or not."""
        self._presences.leave(session.id, split_party_id(party_id))

    def remove(self, session: Session, party_id: str, target: UserPresence | None) -> None:
        """Send a member away or drop a request. Raises LeaderOnly, CannotRemoveSelf, MemberNotFound."""
        named = check_presence(target)
        party = self._find(party_id)
        member = party.remove(session, named)
        if member is not None:
            self._presences.leave(member.id, party.stream)
            self.send_to(member, wire.close_push(party.stream))

    def close(self, session: Session, party_id: str) -> None:
        """End the party. Raises LeaderOnly."""
        party = self._find(party_id)
        party.require_leader(session)
        members = list(party.members.values())
        self._presences.close(party.stream)
        for member in members:
            self._gone(party, member)
        self._tell(members, wire.close_push(party.stream), session)

    # -- what members do

    def promote(self, session: Session, party_id: str, target: UserPresence | None) -> None:
        """Let another lead. Raises LeaderOnly, MemberNotFound."""
        named = check_presence(target)
        party = self._find(party_id)
        party.promote(session, named)
        self._tell(party.members.values(), wire.leader_push(party), session)

    def update(self, session: Session, party_id: str, label: str, *, open: bool, hidden: bool) -> None:
        """Describe the party anew. Raises LeaderOnly, LabelTooLong, HiddenWithLabel, LabelNotObject."""
        party = self._find(party_id)
        party.update(session, label, open=open, hidden=hidden)
        self._tell(party.members.values(), wire.update_push(party), session)

    def requests(self, session: Session, party_id: str) -> wire.PartyJoinRequest:
        """Who asks to come in. Raises LeaderOnly."""
        party = self._find(party_id)
        party.require_leader(session)
        return wire.join_requests(party, party.requests.values())

    def send(self, session: Session, party_id: str, op_code: int, data: bytes) -> None:
        """Send to all other members; `data` in canonical base64. Raises MemberNotFound."""
        party = self._find(party_id)
        party.require_member(session)
        self._tell_others(party, session, wire.data_push(party, session, op_code, data))

    # -- looking for a match

    def matchmaker_add(self, session: Session, party_id: str, request: TicketRequest) -> wire.PartyTicket:
        """One ticket for all who are in it now. Raises LeaderOnly, and what `Matchmaker.add` raises."""
        party = self._find(party_id)
        party.require_leader(session)
        audience = self._presences.audience(party.stream)
        members = [audience[one] for one in party.members]
        ticket = wire.PartyTicket(party.id, self._matchmaker.add(session, members, party.id, request))
        self._tell_others(party, session, Push("party_matchmaker_ticket", ticket))
        return ticket

    def matchmaker_remove(self, session: Session, party_id: str, ticket: str) -> None:
        """Withdraw a ticket of the party. Raises InvalidTicket, LeaderOnly, TicketNotFound."""
        if not ticket:
            raise InvalidTicket
        party = self._find(party_id)
        party.require_leader(session)
        self._matchmaker.remove_party(party.id, ticket)

    # -- for everybody

    async def list(
        self,
        *,
        limit: int = 10,
        open: bool | None = None,
        show_hidden: bool = False,
        query: str = "",
        cursor: str = "",
        quotes: bool = True,
    ) -> PartyPage:
        """A page of the parties of all nodes. Raises BadListing, BadQuery, TooCostly."""
        asked = ListingRequest(limit, open, show_hidden, query, cursor, quotes)
        listing = asked.read()
        if self.find_elsewhere is None:
            return listing.page(await self.find(listing))
        own, others = await asyncio.gather(self.find(listing), self.find_elsewhere(asked))
        # One that moves at this moment may have been found on both nodes.
        return listing.page(list(dict(own + others).items()))

    async def find(self, listing: Listing) -> list[Found]:
        """The first parties of a listing that live here. Raises TooCostly."""
        found: list[Found] = []

        def look_at(party: Party) -> bool:
            if (place := listing.place_of(party)) is not None:
                found.append((place, party.info))
            return False

        await self._turns.each([*self._parties.values(), *self._aside.values()], look_at)
        return listing.first(found)

    # -- parties that move

    def here(self) -> list[Party]:
        """The parties of this node."""
        return list(self._parties.values())

    def has(self, stream: Stream) -> bool:
        """Whether a party is on this node."""
        return stream in self._parties

    def set_aside(self, stream: Stream) -> Party | None:
        """Do nothing with a party from now on, if it is here still."""
        party = self._parties.pop(stream, None)
        if party is not None:
            self._aside[stream] = party
        return party

    def put_back(self, stream: Stream) -> bool:
        """Go on with a party, if it is aside still."""
        party = self._aside.pop(stream, None)
        if party is None:
            return False
        self._parties[stream] = party
        gone = [one for one in party.members.values() if one.id not in self._presences.audience(stream)]
        led_anew = [self._gone(party, one) for one in gone]
        self._meet(party, [wire.presence_of(one) for one in gone], led_anew=any(led_anew))
        return True

    def let_go(self, stream: Stream) -> None:
        """A party that is aside is another node's."""
        if self._aside.pop(stream, None) is not None:
            self._moves["given"] += 1

    def end(self, stream: Stream) -> None:
        """End a party that is aside, and tell all."""
        party = self._aside.pop(stream, None)
        if party is not None:
            self._presences.close(stream)
            self._matchmaker.remove_party(party.id)
            self.on_end(stream)
            for member in party.members.values():
                self.send_to(member, wire.close_push(stream))

    def adopt(self, snapshot: PartySnapshot, sessions: Mapping[str, Session]) -> bool:
        """Go on with a party of another node; False if all have left. `sessions` are those of all nodes.

        Who has left since is not among the presences any more. Whoever is there and no member is on the way out.
        """
        stream = snapshot.stream
        audience = self._presences.audience(stream)
        known = {one.session_id: one for one in snapshot.members}
        for session_id in [one for one in audience if one not in known]:
            self._presences.leave(session_id, stream)
        members = {one: audience[one].session for one in known if one in audience}
        if not members:
            return False
        leader = members.get(snapshot.leader)
        requests = {one: sessions[one] for one in snapshot.requests if one in sessions}
        party = Party(
            stream,
            snapshot.number,
            snapshot.created_at,
            leader or next(iter(members.values())),
            snapshot.max_size,
            members,
            requests,
        )
        party.describe(snapshot.label, open=snapshot.open, hidden=snapshot.hidden)
        self._parties[stream] = party
        self._moves["taken"] += 1
        self._meet(party, [one for name, one in known.items() if name not in members], led_anew=leader is None)
        return True

    def forget(self, stream: Stream) -> None:
        """A party has ended, and its members know."""
        party = self._parties.pop(stream, None)
        if party is not None:
            self._matchmaker.remove_party(party.id)
            self.on_end(stream)

    def _meet(self, party: Party, gone: Sequence[UserPresence], *, led_anew: bool) -> None:
        """Tell those in a party who went while it was aside."""
        pushes = [wire.leader_push(party)] if led_anew else []
        if gone:
            pushes.append(wire.gone_push(party, gone))
        for member in party.members.values():
            for push in pushes:
                self.send_to(member, push)

    # -- nodes that go

    def node_gone(self, node: str) -> None:
        """A node is no more, and its parties with it: our players among their members are told."""
        for party in self.here():
            if not self._presences.audience(party.stream):
                # It was that node's to end, which did not reach us.
                self.forget(party.stream)
        for stream, audience in list(self._presences.of_mode(PARTY).items()):
            if stream not in self._parties and self.node_of(stream) == node:
                for member in [one for one in audience.values() if not one.node]:
                    self._presences.leave(member.session.id, stream)
                    self.send_to(member.session, wire.close_push(stream))

    def drop(self) -> None:
        """The others take our parties for gone, and have told their members so."""
        for party in [*self._parties.values(), *self._aside.values()]:
            self._presences.close(party.stream)
            self._matchmaker.remove_party(party.id)
        self._parties.clear()
        self._aside.clear()

    def measure(self, metrics: Metrics) -> None:
        """Show how many there are."""
        metrics.gauge("palestra_parties", "Parties", (), lambda: [((), len(self._parties))])
        metrics.counter(
            "palestra_party_moves",
            "Parties that were handed over",
            ("what",),
            lambda: [((what,), count) for what, count in self._moves.items()],
        )

    # -- within

    def _find(self, party_id: str) -> Party:
        party = self._parties.get(split_party_id(party_id))
        if party is None:
            raise PartyNotFound
        return party

    def _enter(self, party: Party, session: Session) -> None:
        parties = sum(stream.mode == PARTY for stream in self._presences.of_session(session.id))
        if parties >= self._per_session_max and session.id not in party.members:
            raise TooManyParties
        self._presences.join(session, party.stream, persistence=False)
        if self._single:
            self._presences.leave_mode(session.id, PARTY, but=party.stream)

    def _moved(self, stream: Stream, joins: Sequence[Member], leaves: Sequence[Member]) -> None:
        """Follow the presence engine."""
        party = self._parties.get(stream)
        if party is None:
            # It lives on another node.
            return
        for member in joins:
            self._come(party, member.session)
            member.session.after_reply(partial(self._announce, stream, member, (member.presence,), ()))
        for member in leaves:
            self._go(party, member.session)
            member.session.after_reply(partial(self._announce, stream, member, (), (member.presence,)))

    def _announce(self, stream: Stream, member: Member, joins: Sequence[Presence], leaves: Sequence[Presence]) -> None:
        """Tell who came or went to whoever is in the party then."""
        audience = self._presences.audience(stream)
        if audience and not member.silent:
            push = wire.party_presence_event(stream, joins, leaves)
            for one in audience.values():
                self.send_to(one.session, push)

    def _come(self, party: Party, session: Session) -> None:
        party.came(session)
        self._matchmaker.remove_party(party.id)
        session.after_reply(partial(self._show, party, session))

    def _show(self, party: Party, session: Session) -> None:
        """Show the party to one who came: as it is now, for what happened meanwhile has been told to that one too."""
        if session.id in party.members:
            session.send(Push("party", wire.party_state(party, session)))

    def _go(self, party: Party, session: Session) -> None:
        if self._gone(party, session):
            self._tell(party.members.values(), wire.leader_push(party), session)

    def _gone(self, party: Party, session: Session) -> bool:
        """Note that a session is out; the last one ends the party. Whether another leads now."""
        led_anew = party.went(session)
        self._matchmaker.remove_party(party.id)
        if not party.members:
            del self._parties[party.stream]
            self.on_end(party.stream)
        return led_anew

    def _tell(self, members: Iterable[Session], push: Push, asker: Session) -> None:
        """Send to members; whoever asked for it reads the reply first."""
        for member in members:
            if member.id == asker.id:
                asker.after_reply(partial(asker.send, push))
            else:
                self.send_to(member, push)

    def _tell_others(self, party: Party, session: Session, push: Push) -> None:
        for member in party.members.values():
            if member.id != session.id:
                self.send_to(member, push)
