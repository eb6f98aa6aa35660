"""Tickets of sessions and of parties: limits, withdrawal, and why one still waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import MatchmakerSettings
from palestra.core.tasks import Tasks
from palestra.features.matchmaker.contract import (
    BadBackfill,
    DuplicateSession,
    NotAvailable,
    QueryInvalid,
    TicketNotFound,
    TicketRequest,
    TooManyPlayers,
    TooManyTickets,
)
from palestra.features.matchmaker.service import MatchmakerService
from palestra.features.streams.contract import Member, Presence
from palestra.gateway.operation import Caller
from palestra.gateway.push import Push
from palestra.sdk.bounds import Bounds
from palestra.sdk.runtime import Runtime


class Line:
    """A session that keeps what it is sent, and answers at the test's word."""

    def __init__(self, name: str) -> None:
        self.id = f"session-{name}"
        self.caller = Caller(f"user-{name}", name, {}, "", 0, 0)
        self.language, self.client_ip, self.closing, self.away = "en", "", False, False
        self.node, self.moves = "", 0
        self.sent: list[Push] = []
        self.after: list[Callable[[], None]] = []

    def send(self, push: Push) -> None:
        self.sent.append(push)

    def after_reply(self, callback: Callable[[], None]) -> None:
        self.after.append(callback)

    def close(self, reason: str) -> None:
        self.closing = True

    def answer(self) -> None:
        for callback in self.after:
            callback()
        self.after.clear()

    @property
    def member(self) -> Member:
        return Member(self, Presence(self.caller.user_id, self.id, self.caller.username))


class Tokens:
    def token(self, match_id: str) -> str:
        return f"token of {match_id}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service(clock: ManualClock) -> MatchmakerService:
    matches: Any = Tokens()
    return MatchmakerService(MatchmakerSettings(max_tickets=2), matches, Runtime(Bounds(1)), Tasks(), clock)


PAIR = TicketRequest(2, 2)
FUSSY = TicketRequest(2, 2, "+properties.no:body")


def add(service: MatchmakerService, line: Line, request: TicketRequest = PAIR) -> str:
    ticket = service.add_one(line, request)
    line.answer()
    return ticket


def test_a_ticket_is_not_tried_before_its_reply(service: MatchmakerService) -> None:
    ann, bob = Line("ann"), Line("bob")
    add(service, ann)
    service.add_one(bob, PAIR)
    service.work()
    assert not ann.sent
    bob.answer()
    service.work()
    assert b"matchmaker_matched" in ann.sent[0].envelope()


def test_a_ticket_that_was_withdrawn_before_its_reply_is_never_tried(service: MatchmakerService) -> None:
    ann, bob = Line("ann"), Line("bob")
    service.remove_one(ann, service.add_one(ann, PAIR))
    ann.answer()
    add(service, bob)
    service.work()
    assert not bob.sent


def test_a_party_has_one_ticket_for_all_and_is_matched_as_one(service: MatchmakerService) -> None:
    ann, bob, eve = Line("ann"), Line("bob"), Line("eve")
    ticket = service.add(ann, [ann.member, bob.member], "p.node", TicketRequest(3, 3, string_properties={"a": "b"}))
    ann.answer()
    own = add(service, eve, TicketRequest(3, 3))
    service.work()
    envelopes = [line.sent[0].envelope() for line in (ann, bob, eve)]
    assert envelopes[0].startswith(b'{"matchmaker_matched":{"ticket":"%b","token":"token of ' % ticket.encode())
    assert envelopes[0].count(b'"party_id":"p.node"') == 3
    assert envelopes[2].startswith(b'{"matchmaker_matched":{"ticket":"%b"' % own.encode())


def test_sessions_and_parties_have_so_many_tickets(service: MatchmakerService) -> None:
    ann, bob, eve, may = (Line(name) for name in ("ann", "bob", "eve", "may"))
    for _ in range(2):
        service.add(ann, [ann.member, bob.member], "p", FUSSY)
    with pytest.raises(TooManyTickets, match="matchmaker too many tickets"):
        service.add(bob, [bob.member], "", FUSSY)
    with pytest.raises(TooManyTickets):
        service.add(eve, [eve.member, may.member], "p", FUSSY)
    service.remove_party("p")
    add(service, bob, FUSSY)


def test_requests_that_cannot_be_are_refused(service: MatchmakerService) -> None:
    ann = Line("ann")
    with pytest.raises(DuplicateSession, match="matchmaker duplicate session"):
        service.add(ann, [ann.member, ann.member], "p", PAIR)
    with pytest.raises(QueryInvalid, match="matchmaker query invalid"):
        service.add_one(ann, TicketRequest(2, 2, '"'))
    with pytest.raises(TooManyPlayers):
        service.add_one(ann, TicketRequest(257, 300))
    ann.close("")
    with pytest.raises(NotAvailable, match="matchmaker not available"):
        service.add_one(ann, PAIR)
    service.stop()
    with pytest.raises(NotAvailable):
        service.add_one(Line("bob"), PAIR)


def test_a_party_withdraws_its_own_tickets_only(service: MatchmakerService) -> None:
    ann, bob = Line("ann"), Line("bob")
    tickets = [service.add(ann, [ann.member, bob.member], "p", FUSSY) for _ in range(2)]
    with pytest.raises(TicketNotFound, match="matchmaker ticket not found"):
        service.remove_party("q", tickets[0])
    with pytest.raises(TicketNotFound, match="Matchmaker ticket not found"):
        service.remove_one(ann, tickets[0])
    service.remove_party("p", tickets[0])
    service.remove_party("p")
    service.remove_party("p")
    add(service, ann)


async def test_a_session_that_ends_takes_the_tickets_of_its_party_with_it(service: MatchmakerService) -> None:
    ann, bob = Line("ann"), Line("bob")
    service.add(ann, [ann.member, bob.member], "p", FUSSY)
    ann.answer()
    own = add(service, ann, FUSSY)
    service.session_ended(bob.id)
    assert [info.ticket for info in await service.tickets()] == [own]
    service.session_ended(ann.id)
    assert (await service.stats()).ticket_count == 0


async def test_it_tells_what_keeps_two_tickets_apart(service: MatchmakerService, clock: ManualClock) -> None:
    ann = Line("ann")
    others = {name: Line(name) for name in "bcdefg"}
    ticket = add(service, ann, TicketRequest(2, 4, "+properties.rank:>5", numeric_properties={"rank": 9}))
    same = add(service, ann, TicketRequest(2, 4))
    told = {
        same: ("same session", "a player is in both"),
        add(service, others["b"], TicketRequest(3, 5)): ("counts", "2 to 4 and 3 to 5: neither lies within the other"),
        add(service, others["c"], TicketRequest(3, 3, numeric_properties={"rank": 1})): (
            "query",
            "+properties.rank:>5 does not hold for the other",
        ),
        add(service, others["d"], TicketRequest(2, 4, "-properties.rank:9", numeric_properties={"rank": 7})): (
            "acceptance",
            "-properties.rank:9 of the other does not hold for this one",
        ),
        add(service, others["e"], TicketRequest(3, 3, numeric_properties={"rank": 7})): (
            "too few players",
            "they fit; a match takes 4, or 2 once it has relaxed",
        ),
    }
    service.work()
    clock.advance(7)
    found = await service.explain(ticket)
    assert {one.other: (one.reason, one.detail) for one in found.reasons} == told
    assert found.waited_seconds == 7
    assert found.counts == dict.fromkeys(("same session", "counts", "query", "acceptance", "too few players"), 1)
    assert len((await service.explain(ticket, limit=2)).reasons) == 2
    with pytest.raises(TicketNotFound):
        await service.explain("nothing")


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"players": -1}, {"count": 200, "players": 57}, {"seconds": 0}, {"match_id": ""}]
)
async def test_backfills_that_cannot_be_are_refused(service: MatchmakerService, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadBackfill):
        await service.backfill(**{"match_id": "m", "count": 1, "players": 1, **wrong})


async def test_there_are_so_many_backfills_at_a_time(service: MatchmakerService) -> None:
    for _ in range(1_000):
        await service.backfill("m", 1, players=1)
    with pytest.raises(BadBackfill, match="1000"):
        await service.backfill("m", 1, players=1)
