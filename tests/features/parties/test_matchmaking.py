"""A party looks for a match: one ticket for all who are in it, until somebody comes or goes."""

from __future__ import annotations

import pytest

from palestra.core.errors import PalestraError
from palestra.features.matchmaker.contract import (
    DuplicateSession,
    InvalidCounts,
    NotAvailable,
    QueryInvalid,
    TicketRequest,
    TooManyPlayers,
    TooManyTickets,
)
from tests.features.parties.hall import Hall, enter, refusal, silent

ADD = {"min_count": 2, "max_count": 4}


async def test_the_leader_reads_the_ticket_as_a_reply_and_the_others_are_told(hall: Hall) -> None:
    party_id, (ann, bob, cid), _ = await hall.party("ann", "bob", "cid")
    asked = {
        **ADD,
        "query": "+properties.mode:duo",
        "string_properties": {"mode": "duo"},
        "numeric_properties": {"skill": 1.5},
        "count_multiple": 2,
    }
    told = {"party_matchmaker_ticket": {"party_id": party_id, "ticket": "ticket-1"}}
    assert await ann.ask(cid="7", party_matchmaker_add={"party_id": party_id, **asked}) == {"cid": "7", **told}
    assert await bob.hear() == told
    assert await cid.hear() == told
    assert await silent(ann)
    names, request = hall.tickets.waiting[party_id]["ticket-1"]
    assert names == ["ann", "bob", "cid"]
    assert request == TicketRequest(2, 4, "+properties.mode:duo", {"mode": "duo"}, {"skill": 1.5}, 2)


async def test_the_leader_withdraws_a_ticket_and_nobody_is_told(hall: Hall) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob")
    for _ in range(2):
        await ann.ask(cid="7", party_matchmaker_add={"party_id": party_id, **ADD})
        await bob.hear()
    remove = {"party_id": party_id, "ticket": "ticket-1"}
    assert await ann.ask(cid="8", party_matchmaker_remove=remove) == {"cid": "8"}
    assert list(hall.tickets.waiting[party_id]) == ["ticket-2"]
    assert await silent(bob)
    assert await refusal(ann, party_matchmaker_remove=remove) == "Error closing party: matchmaker ticket not found"
    nameless = {"party_id": party_id}
    assert await refusal(ann, party_matchmaker_remove=nameless) == "Invalid matchmaker ticket"


async def test_only_the_leader_adds_and_withdraws(hall: Hall) -> None:
    party_id, (_, bob), _ = await hall.party("ann", "bob")
    add = {"party_id": party_id, **ADD}
    assert await refusal(bob, party_matchmaker_add=add) == "Error adding party to matchmaker: party leader only"
    remove = {"party_id": party_id, "ticket": "ticket-1"}
    assert await refusal(bob, party_matchmaker_remove=remove) == "Error closing party: party leader only"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidCounts("Invalid minimum count, must be >= 2"), "Invalid minimum count, must be >= 2"),
        (QueryInvalid("a quote is open"), "Error adding party to matchmaker: matchmaker query invalid"),
        (DuplicateSession(), "Error adding party to matchmaker: matchmaker duplicate session"),
        (TooManyTickets(), "Error adding party to matchmaker: matchmaker too many tickets"),
        (TooManyPlayers(8), "Error adding party to matchmaker: a match has at most 8 players"),
        (NotAvailable(), "Error adding party to matchmaker: matchmaker not available"),
    ],
)
async def test_what_the_matchmaker_refuses_is_said_in_its_words(hall: Hall, error: PalestraError, text: str) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob")
    hall.tickets.refusal = error
    assert await refusal(ann, party_matchmaker_add={"party_id": party_id, **ADD}) == text
    assert await silent(bob)


@pytest.mark.parametrize("change", ["join", "leave", "hang up", "remove", "close"])
async def test_every_coming_and_going_withdraws_the_tickets_silently(hall: Hall, change: str) -> None:
    party_id, (ann, bob), (_, bobs) = await hall.party("ann", "bob")
    await ann.ask(cid="7", party_matchmaker_add={"party_id": party_id, **ADD})
    await bob.hear()
    assert hall.tickets.waiting[party_id]
    if change == "join":
        await enter(await hall.client("cid"), party_id)
    elif change == "leave":
        await bob.ask(cid="8", party_leave={"party_id": party_id})
    elif change == "hang up":
        await bob.hang_up()
    elif change == "remove":
        await ann.ask(cid="8", party_remove={"party_id": party_id, "presence": bobs})
    else:
        await ann.ask(cid="8", party_close={"party_id": party_id})
    assert list(await ann.hear()) == ["party_close" if change == "close" else "party_presence_event"]
    assert not hall.tickets.waiting[party_id]
    assert await silent(ann)


async def test_letting_somebody_in_withdraws_the_tickets_but_asking_does_not(hall: Hall) -> None:
    party_id, (ann,), _ = await hall.party("ann", open=False)
    await ann.ask(cid="7", party_matchmaker_add={"party_id": party_id, **ADD})
    bob = await hall.client("bob")
    await bob.ask(cid="3", party_join={"party_id": party_id})
    (bobs,) = (await ann.hear())["party_join_request"]["presences"]
    assert hall.tickets.waiting[party_id]
    await ann.ask(cid="8", party_accept={"party_id": party_id, "presence": bobs})
    assert not hall.tickets.waiting[party_id]


async def test_what_changes_nobody_leaves_the_ticket_alone(hall: Hall) -> None:
    party_id, (ann, bob), (_, bobs) = await hall.party("ann", "bob")
    await ann.ask(cid="7", party_matchmaker_add={"party_id": party_id, **ADD})
    await bob.hear()
    await bob.ask(cid="1", party_join={"party_id": party_id})
    await ann.ask(cid="2", party_update={"party_id": party_id})
    await ann.hear()
    await ann.ask(cid="4", party_promote={"party_id": party_id, "presence": bobs})
    assert list(hall.tickets.waiting[party_id]) == ["ticket-1"]
