"""The life of a party as the protocol tells it, sentence by sentence, on a whole node; in both formats of sockets."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from palestra import Game
from palestra.core.config import MatchmakerSettings, Settings
from palestra.testing import Bot, BotError, Platform

HELLO = base64.b64encode(b"\x00hello\xff").decode()
Json = dict[str, Any]


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    settings = Settings(node="n1", matchmaker=MatchmakerSettings(max_tickets=1))
    async with Platform.start(Game("walk"), settings=settings, database_url=database_url) as running:
        yield running


@pytest.fixture(params=["json", "protobuf"])
async def four(request: pytest.FixtureRequest, platform: Platform) -> list[Bot]:
    """Ann, Bob, Cid and Dan on sockets of one format."""
    bots = [await platform.bot(name) for name in ("ann", "bob", "cid", "dan")]
    for bot in bots:
        await bot.connect(format=request.param)
    return bots


async def heard(*bots: Bot) -> list[list[Json]]:
    """What each was sent since the last look, once all that was asked has been dealt with."""
    for _ in range(2):
        for bot in bots:
            await bot.settle()
    sent = [list(bot.pushes) for bot in bots]
    for bot in bots:
        bot.pushes.clear()
    return sent


async def no(bot: Bot, **message: Any) -> str:
    """The text of a refusal, whose code must be 3."""
    with pytest.raises(BotError) as refused:
        await bot.ask(**message)
    assert refused.value.code == 3
    return refused.value.message


async def test_a_closed_party_from_its_making_to_its_end(four: list[Bot]) -> None:
    ann, bob, cid, dan = four
    # The creator is leader and first member; the reply shows self, leader and presences; a push of the same follows.
    party = (await ann.ask(party_create={"max_size": 3}))["party"]
    named = {"party_id": party["party_id"]}
    anns = party["self"]
    assert party == {**named, "max_size": 3, "self": anns, "leader": anns, "presences": [anns]}
    assert await heard(ann) == [[{"party": party}, {"party_presence_event": {**named, "joins": [anns]}}]]

    # Closed: the request is stored and acknowledged, the leader is told, and nothing else happens.
    for bot in (bob, cid, dan):
        assert await bot.ask(party_join=named) == {}
    asked = await heard(ann, bob, cid, dan)
    bobs, cids, dans = (one["party_join_request"]["presences"][0] for one in asked[0])
    assert [one["username"] for one in (bobs, cids, dans)] == ["bob", "cid", "dan"]
    assert asked[1:] == [[], [], []]
    assert await ann.ask(party_join_request_list=named) == {
        "party_join_request": {**named, "presences": [bobs, cids, dans]}
    }
    assert await no(bob, party_join_request_list=named) == "Error listing party join requests: party leader only"

    # Accepted: in as if the party were open; the request is freed.
    assert await ann.ask(party_accept={**named, "presence": bobs}) == {}
    coming = {"party_presence_event": {**named, "joins": [bobs]}}
    seen = {"party": {**named, "max_size": 3, "self": bobs, "leader": anns, "presences": [anns, bobs]}}
    assert await heard(ann, bob) == [[coming], [seen, coming]]
    assert await ann.ask(party_accept={**named, "presence": cids}) == {}
    await heard(ann, bob, cid)
    assert await no(ann, party_accept={**named, "presence": dans}) == "Error accepting party join request: party full"

    # A pending request is dropped silently; a removed member is told of the end, the others of the going.
    assert await ann.ask(party_remove={**named, "presence": dans}) == {}
    assert await heard(ann, bob, cid, dan) == [[], [], [], []]
    assert await ann.ask(party_remove={**named, "presence": cids}) == {}
    going = {"party_presence_event": {**named, "leaves": [cids]}}
    assert await heard(ann, bob, cid) == [[going], [going], [{"party_close": named}]]

    # A promotion is told to all, the old leader included.
    assert await ann.ask(party_promote={**named, "presence": bobs}) == {}
    led = {"party_leader": {**named, "presence": bobs}}
    assert await heard(ann, bob) == [[led], [led]]
    assert await no(ann, party_update=named) == "Error updating party: party leader only"

    # Data goes to all others, op code 0 and empty data included.
    assert await ann.ask(party_data_send={**named, "op_code": "7", "data": HELLO}) == {}
    assert await ann.ask(party_data_send=named) == {}
    data = {"party_data": {**named, "presence": anns, "op_code": "7", "data": HELLO}}
    assert await heard(ann, bob) == [[], [data, {"party_data": {**named, "presence": anns}}]]

    # An update sets all three, and is told to all, the leader included.
    update = {**named, "label": '{"a":1}', "open": True}
    assert await bob.ask(party_update=update) == {}
    assert await heard(ann, bob) == [[{"party_update": update}]] * 2
    assert await bob.ask(party_update=named) == {}
    assert await heard(ann, bob) == [[{"party_update": named}]] * 2

    # The leader goes: the one who has been there longest leads, told before the going.
    assert await bob.ask(party_leave=named) == {}
    led = {"party_leader": {**named, "presence": anns}}
    assert await heard(ann, bob) == [[led, {"party_presence_event": {**named, "leaves": [bobs]}}], []]

    # Closing is told to all, without presence events.
    await bob.ask(party_join=named)
    await ann.ask(party_accept={**named, "presence": bobs})
    await heard(ann, bob)
    assert await ann.ask(party_close=named) == {}
    assert await heard(ann, bob) == [[{"party_close": named}]] * 2
    assert await no(bob, party_join=named) == "Error joining party: party not found"


async def test_a_party_is_matched_as_one(four: list[Bot]) -> None:
    ann, bob, cid, dan = four
    party = (await ann.ask(party_create={"open": True, "max_size": 3}))["party"]
    named = {"party_id": party["party_id"]}
    await bob.ask(party_join=named)
    await heard(ann, bob)

    # One ticket for all members: a reply to the leader, a push to the others; as many tickets as one may have.
    add = {**named, "min_count": 3, "max_count": 3, "string_properties": {"mode": "trio"}}
    ticket = (await ann.ask(party_matchmaker_add=add))["party_matchmaker_ticket"]
    assert await heard(ann, bob) == [[], [{"party_matchmaker_ticket": ticket}]]
    too_many = "Error adding party to matchmaker: matchmaker too many tickets"
    assert await no(ann, party_matchmaker_add=add) == too_many
    wrong = {**add, "min_count": 1}
    assert await no(ann, party_matchmaker_add=wrong) == "Invalid minimum count, must be >= 2"
    withdrawn = {**named, "ticket": ticket["ticket"]}
    assert await no(bob, party_matchmaker_remove=withdrawn) == "Error closing party: party leader only"
    assert await ann.ask(party_matchmaker_remove=withdrawn) == {}
    assert await no(ann, party_matchmaker_remove=withdrawn) == "Error closing party: matchmaker ticket not found"

    # A coming and a going cancel what runs, silently.
    for change in ("party_join", "party_leave"):
        await ann.ask(party_matchmaker_add=add)
        await cid.ask(**{change: named})
    await ann.ask(party_matchmaker_add=add)
    await heard(ann, bob, cid)

    # With a third player all three are matched; both of the party have its ticket, its id and its properties.
    await dan.ask(matchmaker_add={"min_count": 3, "max_count": 3, "query": "+properties.mode:trio"})
    matched = [await bot.push("matchmaker_matched") for bot in (ann, bob, dan)]
    assert matched[0]["ticket"] == matched[1]["ticket"] != matched[2]["ticket"]
    assert len({one["token"] for one in matched}) == 1
    for one in matched:
        parties = {user["presence"]["username"]: user.get("party_id") for user in one["users"]}
        assert parties == {"ann": named["party_id"], "bob": named["party_id"], "dan": None}
    assert matched[1]["self"]["string_properties"] == {"mode": "trio"}
    match = (await ann.ask(match_join={"token": matched[0]["token"]}))["match"]
    assert match["self"] == party["self"]
