"""What parties refuse, word by word; a refusal ends no socket and changes no party."""

from __future__ import annotations

from typing import Any

import pytest

from palestra.core.ids import new_id
from tests.features.parties.hall import Hall, refusal, silent
from tests.gateway.websocket.node import CLOSE

UNKNOWN = "0b6f6f0e-3f0c-4c59-9f4f-2a6d3a9a1f10.hall"
SOMEBODY = {"user_id": new_id(), "session_id": new_id(), "username": "somebody"}
NAMED = ("party_promote", "party_accept", "party_remove")
PREFIXES = {
    "party_join": "Error joining party: ",
    "party_promote": "Error promoting new party leader: ",
    "party_accept": "Error accepting party join request: ",
    "party_remove": "Error removing party member or join request: ",
    "party_close": "Error closing party: ",
    "party_join_request_list": "Error listing party join requests: ",
    "party_matchmaker_add": "Error adding party to matchmaker: ",
    "party_matchmaker_remove": "Error closing party: ",
    "party_data_send": "Error sending party data: ",
    "party_update": "Error updating party: ",
}


def asked(message: str, party_id: str) -> dict[str, Any]:
    """A request about a party with everything in it that is needed."""
    content: dict[str, Any] = {"party_id": party_id}
    if message in NAMED:
        content["presence"] = SOMEBODY
    elif message == "party_matchmaker_remove":
        content["ticket"] = "ticket"
    elif message == "party_matchmaker_add":
        content |= {"min_count": 2, "max_count": 2}
    return {message: content}


@pytest.mark.parametrize("message", [*PREFIXES, "party_leave"])
async def test_an_id_that_is_none_is_told_from_a_party_that_is_not_there(hall: Hall, message: str) -> None:
    ann = await hall.client("ann")
    for garbage in ("", "garbage", "garbage.hall", UNKNOWN.partition(".")[0], "."):
        assert await refusal(ann, **asked(message, garbage)) == "Invalid party ID"
    for unknown in (UNKNOWN, UNKNOWN.replace("hall", "other"), UNKNOWN.replace("hall", "")):
        if message == "party_leave":
            assert await ann.ask(cid="1", **asked(message, unknown)) == {"cid": "1"}
        else:
            assert await refusal(ann, **asked(message, unknown)) == PREFIXES[message] + "party not found"


@pytest.mark.parametrize("message", PREFIXES)
async def test_strangers_and_members_may_not_do_what_the_leader_does(hall: Hall, message: str) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob")
    cid = await hall.client("cid")
    if message == "party_data_send":
        assert await refusal(cid, **asked(message, party_id)) == PREFIXES[message] + "party member not found"
    elif message != "party_join":
        for other in (bob, cid):
            assert await refusal(other, **asked(message, party_id)) == PREFIXES[message] + "party leader only"
    assert await silent(ann, bob, cid)


@pytest.mark.parametrize("message", NAMED)
@pytest.mark.parametrize("missing", ["user_id", "session_id", "username", "presence"])
async def test_a_presence_is_whole_before_anything_else_is_looked_at(hall: Hall, message: str, missing: str) -> None:
    ann = await hall.client("ann")
    presence = {key: value for key, value in SOMEBODY.items() if key != missing}
    content = {"party_id": "garbage", **({} if missing == "presence" else {"presence": presence})}
    assert await refusal(ann, **{message: content}) == "Invalid presence"


async def test_places_are_from_1_to_256(hall: Hall) -> None:
    ann = await hall.client("ann")
    for max_size in (-1, 0, 257):
        text = await refusal(ann, party_create={"max_size": max_size, "label": "garbage"})
        assert text == "Invalid party max size, must be 1-256"
    for max_size in (1, 256):
        assert (await ann.ask(cid="1", party_create={"max_size": max_size}))["party"]["max_size"] == max_size
        await ann.hear()
        await ann.hear()
    assert len((await hall.parties.list()).parties) == 2


async def test_a_party_is_not_made_with_a_label_that_is_none(hall: Hall) -> None:
    ann = await hall.client("ann")
    too_long = '{"a":"' + "x" * 2048 + '"}'
    wanted = "Error creating party: party label too long"
    assert await refusal(ann, party_create={"max_size": 2, "label": too_long}) == wanted
    wanted = "Error creating party: failed to unmarshal party label: "
    for label in ("garbage", "[]", "null"):
        assert (await refusal(ann, party_create={"max_size": 2, "label": label})).startswith(wanted)
    assert (await hall.parties.list()).parties == []


async def test_an_update_with_a_wrong_label_changes_nothing(hall: Hall) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob", label='{"a":1}')
    before = await hall.parties.list()
    for label, hidden, cause in (
        ('{"a":"' + "x" * 2048 + '"}', False, "party label too long"),
        ("garbage", False, "failed to unmarshal party label: a JSON object is expected"),
        ('{"a":2}', True, "party is hidden and label is not empty, invalid operation"),
    ):
        update = {"party_id": party_id, "label": label, "hidden": hidden}
        assert await refusal(ann, party_update=update) == f"Error updating party: {cause}"
    assert await hall.parties.list() == before
    assert await silent(ann, bob)


async def test_a_full_party_takes_nobody_open_or_closed(hall: Hall) -> None:
    party_id, (ann, bob), _ = await hall.party("ann", "bob", max_size=2)
    cid = await hall.client("cid")
    assert await refusal(cid, party_join={"party_id": party_id}) == "Error joining party: party full"
    await ann.ask(cid="1", party_update={"party_id": party_id})
    assert await refusal(cid, party_join={"party_id": party_id}) == "Error joining party: party full"
    await bob.ask(cid="1", party_leave={"party_id": party_id})


async def test_a_closed_party_has_as_many_places_for_requests_as_for_members_one_for_each_player(hall: Hall) -> None:
    party_id, (ann,), _ = await hall.party("ann", max_size=2, open=False)
    join = {"party_id": party_id}
    bob, again, cid, dan = [await hall.client(name) for name in ("bob", "bob", "cid", "dan")]
    assert await bob.ask(cid="1", party_join=join) == {"cid": "1"}
    assert list(await ann.hear()) == ["party_join_request"]
    for client in (bob, again):
        assert await refusal(client, party_join=join) == "Error joining party: party join request duplicate"
    assert await refusal(ann, party_join=join) == "Error joining party: party join request already member"
    assert await cid.ask(cid="1", party_join=join) == {"cid": "1"}
    assert list(await ann.hear()) == ["party_join_request"]
    for client in (dan, bob, ann):
        assert await refusal(client, party_join=join) == "Error joining party: party join requests full"


async def test_a_request_that_finds_no_place_waits_on(hall: Hall) -> None:
    party_id, (ann,), _ = await hall.party("ann", max_size=2, open=False)
    presences = []
    for name in ("bob", "cid"):
        await (await hall.client(name)).ask(cid="1", party_join={"party_id": party_id})
        presences += (await ann.hear())["party_join_request"]["presences"]
    bobs, cids = ({"party_id": party_id, "presence": one} for one in presences)
    assert await ann.ask(cid="2", party_accept=bobs) == {"cid": "2"}
    await ann.hear()
    assert await refusal(ann, party_accept=cids) == "Error accepting party join request: party full"
    await ann.ask(cid="3", party_remove=bobs)
    await ann.hear()
    assert await ann.ask(cid="4", party_accept=cids) == {"cid": "4"}


async def test_who_is_meant_must_be_there_by_user_session_and_name(hall: Hall) -> None:
    party_id, (ann, bob), (anns, bobs) = await hall.party("ann", "bob")
    for wrong in ("user_id", "session_id", "username"):
        meant = {"party_id": party_id, "presence": {**bobs, wrong: "other"}}
        nobody = "party member not found"
        assert await refusal(ann, party_promote=meant) == PREFIXES["party_promote"] + nobody
        assert await refusal(ann, party_remove=meant) == PREFIXES["party_remove"] + nobody
        unasked = PREFIXES["party_accept"] + "party join request not found"
        assert await refusal(ann, party_accept=meant) == unasked
    oneself = {"party_id": party_id, "presence": anns}
    assert await refusal(ann, party_remove=oneself) == PREFIXES["party_remove"] + "party cannot remove self"
    assert await silent(ann, bob)


async def test_whoever_has_gone_asks_no_more_and_may_ask_again(hall: Hall) -> None:
    ann = await hall.client("ann")
    party = (await ann.ask(cid="1", party_create={"max_size": 2}))["party"]["party_id"]
    for name in ("bob", "cid", "bob"):
        asking = await hall.client(name)
        assert await asking.ask(cid="1", party_join={"party_id": party}) == {"cid": "1"}
        asking.write(asking.frame(b"\x03\xe8", CLOSE))
        await asking.closed()
