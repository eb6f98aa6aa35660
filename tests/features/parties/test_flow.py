"""Parties as players meet them, over real sockets: who is told what, and in which order."""

from __future__ import annotations

import base64
import json

import pytest

from tests.features.parties.hall import Hall, enter, joined, left, refusal, silent

HELLO = base64.b64encode(b"hello").decode()


async def test_the_maker_reads_the_reply_then_the_party_then_its_own_coming(hall: Hall) -> None:
    ann = await hall.client("ann")
    label = json.dumps({"mode": "duo"})
    reply = await ann.ask(cid="7", party_create={"open": True, "max_size": 4, "label": label, "hidden": True})
    party = reply["party"]
    own = party["self"]
    assert own["username"] == "ann"
    assert set(own) == {"user_id", "session_id", "username"}
    assert party["party_id"].endswith(".hall")
    wanted = {"open": True, "hidden": True, "max_size": 4, "label": label, "leader": own, "presences": [own]}
    assert party == {"party_id": party["party_id"], "self": own, **wanted}
    assert await ann.hear() == {"party": party}
    assert await ann.hear() == joined(party["party_id"], own)


async def test_what_is_not_set_is_not_sent(hall: Hall) -> None:
    ann = await hall.client("ann")
    party = (await ann.ask(cid="7", party_create={"max_size": 1}))["party"]
    assert set(party) == {"party_id", "max_size", "self", "leader", "presences"}


async def test_who_joins_an_open_party_reads_ack_party_and_own_coming_and_the_others_the_coming(hall: Hall) -> None:
    party_id, (ann,), (anns,) = await hall.party("ann", label='{"a":1}', hidden=True)
    bob = await hall.client("bob")
    assert await bob.ask(cid="3", party_join={"party_id": party_id}) == {"cid": "3"}
    party = (await bob.hear())["party"]
    bobs = party["self"]
    assert party == {
        "party_id": party_id,
        "open": True,
        "hidden": True,
        "max_size": 8,
        "self": bobs,
        "leader": anns,
        "presences": [anns, bobs],
        "label": '{"a":1}',
    }
    assert await bob.hear() == joined(party_id, bobs)
    assert await ann.hear() == joined(party_id, bobs)
    assert await silent(ann, bob)


async def test_joining_again_changes_nothing_and_tells_nobody(hall: Hall) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob")
    assert await bob.ask(cid="2", party_join={"party_id": party_id}) == {"cid": "2"}
    assert await silent(ann, bob)


async def test_two_sockets_of_a_player_are_two_members(hall: Hall) -> None:
    party_id, (ann, other), (first, second) = await hall.party("ann", "ann")
    assert first["user_id"] == second["user_id"]
    assert first["session_id"] != second["session_id"]
    assert await ann.ask(cid="2", party_leave={"party_id": party_id}) == {"cid": "2"}
    assert await other.hear() == {"party_leader": {"party_id": party_id, "presence": second}}
    assert await other.hear() == left(party_id, first)


async def test_a_closed_party_asks_its_leader_and_lets_in_whom_the_leader_accepts(hall: Hall) -> None:
    party_id, (ann,), (anns,) = await hall.party("ann", open=False)
    bob = await hall.client("bob")
    assert await bob.ask(cid="3", party_join={"party_id": party_id}) == {"cid": "3"}
    asked = await ann.hear()
    (bobs,) = asked["party_join_request"]["presences"]
    assert asked == {"party_join_request": {"party_id": party_id, "presences": [bobs]}}
    assert await silent(bob)
    assert await ann.ask(cid="4", party_join_request_list={"party_id": party_id}) == {"cid": "4", **asked}

    assert await ann.ask(cid="5", party_accept={"party_id": party_id, "presence": bobs}) == {"cid": "5"}
    assert await ann.hear() == joined(party_id, bobs)
    party = (await bob.hear())["party"]
    assert (party["self"], party["leader"], party["presences"]) == (bobs, anns, [anns, bobs])
    assert await bob.hear() == joined(party_id, bobs)
    reply = await ann.ask(cid="6", party_join_request_list={"party_id": party_id})
    assert reply == {"cid": "6", "party_join_request": {"party_id": party_id}}


async def test_whoever_asked_and_is_gone_cannot_be_accepted_and_the_request_is_consumed(hall: Hall) -> None:
    party_id, (ann,), _ = await hall.party("ann", open=False)
    bob = await hall.client("bob")
    await bob.ask(cid="3", party_join={"party_id": party_id})
    (bobs,) = (await ann.hear())["party_join_request"]["presences"]
    await bob.hang_up()
    while hall.gateway.of_user(bobs["user_id"]):
        assert await silent(ann)
    accept = {"party_id": party_id, "presence": bobs}
    failed = "Error accepting party join request: "
    assert await refusal(ann, party_accept=accept) == failed + "party could not accept request"
    assert await refusal(ann, party_accept=accept) == failed + "party join request not found"


async def test_the_removed_is_told_that_it_is_over_and_the_others_that_it_went(hall: Hall) -> None:
    party_id, (ann, bob, cid), (_, bobs, _) = await hall.party("ann", "bob", "cid")
    assert await ann.ask(cid="9", party_remove={"party_id": party_id, "presence": bobs}) == {"cid": "9"}
    assert await bob.hear() == {"party_close": {"party_id": party_id}}
    assert await ann.hear() == left(party_id, bobs)
    assert await cid.hear() == left(party_id, bobs)
    assert await silent(bob)
    await enter(bob, party_id)


async def test_a_request_is_dropped_silently_and_may_be_made_again(hall: Hall) -> None:
    party_id, (ann,), _ = await hall.party("ann", open=False)
    bob = await hall.client("bob")
    for _ in range(2):
        await bob.ask(cid="3", party_join={"party_id": party_id})
        (bobs,) = (await ann.hear())["party_join_request"]["presences"]
        assert await ann.ask(cid="4", party_remove={"party_id": party_id, "presence": bobs}) == {"cid": "4"}
        assert await silent(ann, bob)


async def test_a_new_leader_is_told_to_everybody_the_old_one_after_the_ack(hall: Hall) -> None:
    party_id, (ann, bob, cid), (_, bobs, _) = await hall.party("ann", "bob", "cid")
    told = {"party_leader": {"party_id": party_id, "presence": bobs}}
    assert await ann.ask(cid="5", party_promote={"party_id": party_id, "presence": bobs}) == {"cid": "5"}
    for client in (ann, bob, cid):
        assert await client.hear() == told
    assert await refusal(ann, party_close={"party_id": party_id}) == "Error closing party: party leader only"
    assert await bob.ask(cid="6", party_close={"party_id": party_id}) == {"cid": "6"}


@pytest.mark.parametrize("way", ["leave", "hang up"])
async def test_when_the_leader_goes_the_one_longest_there_leads_and_that_is_told_first(hall: Hall, way: str) -> None:
    party_id, (ann, bob, cid), (anns, bobs, _) = await hall.party("ann", "bob", "cid")
    if way == "leave":
        assert await ann.ask(cid="5", party_leave={"party_id": party_id}) == {"cid": "5"}
        assert await silent(ann)
    else:
        await ann.hang_up()
    for client in (bob, cid):
        assert await client.hear() == {"party_leader": {"party_id": party_id, "presence": bobs}}
        assert await client.hear() == left(party_id, anns)


async def test_who_is_not_the_leader_goes_without_a_new_one(hall: Hall) -> None:
    party_id, (ann, bob), (_, bobs) = await hall.party("ann", "bob")
    await bob.ask(cid="5", party_leave={"party_id": party_id})
    assert await ann.hear() == left(party_id, bobs)
    assert await silent(ann, bob)


async def test_the_last_one_out_ends_the_party(hall: Hall) -> None:
    party_id, (ann,), _ = await hall.party("ann")
    assert await ann.ask(cid="5", party_leave={"party_id": party_id}) == {"cid": "5"}
    assert await refusal(ann, party_join={"party_id": party_id}) == "Error joining party: party not found"
    assert await ann.ask(cid="6", party_leave={"party_id": party_id}) == {"cid": "6"}
    assert (await hall.parties.list()).parties == []


async def test_closing_is_told_to_everybody_and_nothing_else_is(hall: Hall) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob")
    assert await ann.ask(cid="5", party_close={"party_id": party_id}) == {"cid": "5"}
    for client in (ann, bob):
        assert await client.hear() == {"party_close": {"party_id": party_id}}
    assert await silent(ann, bob)
    assert await refusal(bob, party_join={"party_id": party_id}) == "Error joining party: party not found"


async def test_data_goes_to_all_others_and_the_sender_gets_an_ack(hall: Hall) -> None:
    party_id, (ann, bob, cid), (_, bobs, _) = await hall.party("ann", "bob", "cid")
    sent = {"party_id": party_id, "op_code": "9007199254740993", "data": HELLO.rstrip("=")}
    assert await bob.ask(cid="5", party_data_send=sent) == {"cid": "5"}
    heard = {"party_id": party_id, "presence": bobs, "op_code": "9007199254740993", "data": HELLO}
    assert await ann.hear() == {"party_data": heard}
    assert await cid.hear() == {"party_data": heard}
    bob.say({"party_data_send": {"party_id": party_id}})
    assert await ann.hear() == {"party_data": {"party_id": party_id, "presence": bobs}}
    assert await silent(ann, bob)


async def test_data_that_is_no_base64_ends_the_socket(hall: Hall) -> None:
    party_id, (ann,), _ = await hall.party("ann")
    ann.say({"party_data_send": {"party_id": party_id, "data": "?"}})
    assert await ann.closed() == (1000, "received malformed payload")


async def test_an_update_sets_all_three_and_is_told_to_everybody(hall: Hall) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob", label='{"a":1}')
    update = {"party_id": party_id, "label": '{"b":2}'}
    assert await ann.ask(cid="5", party_update=update) == {"cid": "5"}
    for client in (ann, bob):
        assert await client.hear() == {"party_update": update}
    cid = await hall.client("cid")
    await cid.ask(cid="6", party_join={"party_id": party_id})
    assert list(await ann.hear()) == ["party_join_request"]
    (listed,) = (await hall.parties.list()).parties
    assert (listed.open, listed.label) == (False, '{"b":2}')


async def test_with_single_party_whoever_comes_in_leaves_the_other_one() -> None:
    async with Hall(single=True) as hall:
        first, (ann, bob), (anns, _) = await hall.party("ann", "bob")
        second = (await ann.ask(cid="5", party_create={"max_size": 2}))["party"]["party_id"]
        assert await bob.hear() == {"party_leader": {"party_id": first, "presence": (await told_self(hall, first))}}
        assert await bob.hear() == left(first, anns)
        await ann.hear()
        await ann.hear()
        assert await bob.ask(cid="6", party_join={"party_id": second}) == {"cid": "6"}
        (bobs,) = (await ann.hear())["party_join_request"]["presences"]
        await ann.ask(cid="7", party_accept={"party_id": second, "presence": bobs})
        assert await ann.hear() == joined(second, bobs)
        assert [one.party_id for one in (await hall.parties.list()).parties] == [second]


async def told_self(hall: Hall, party_id: str) -> dict[str, str]:
    """The only one left in a party."""
    ((only,),) = [
        list(audience.values())
        for stream, audience in hall.engine.of_mode(7).items()
        if party_id.startswith(stream.subject)
    ]
    one = only.presence
    return {"user_id": one.user_id, "session_id": one.session_id, "username": one.username}


async def test_a_socket_is_in_so_many_parties_and_no_more() -> None:
    async with Hall(per_session_max=2) as hall:
        third, (ann,), _ = await hall.party("ann")
        bob = await hall.client("bob")
        ids = []
        for _ in range(2):
            ids.append((await bob.ask(cid="1", party_create={"max_size": 2}))["party"]["party_id"])
            await bob.hear()
            await bob.hear()
        cause = "too many parties, leave one first"
        assert await refusal(bob, party_create={"max_size": 2}) == f"Error creating party: {cause}"
        assert await refusal(bob, party_join={"party_id": third}) == f"Error joining party: {cause}"
        assert len((await hall.parties.list()).parties) == 3
        assert await bob.ask(cid="2", party_leave={"party_id": ids[0]}) == {"cid": "2"}
        await enter(bob, third)
        assert list(await ann.hear()) == ["party_presence_event"]
