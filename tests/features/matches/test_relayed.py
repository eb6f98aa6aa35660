"""Relayed matches as players meet them, over real sockets."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import SessionSettings
from palestra.features.matches import feature, wire
from palestra.features.matches.contract import BadListing
from palestra.features.matches.messages import MatchesMessages
from palestra.features.matches.routes import MatchesRoutes
from palestra.features.matches.service import MatchesService
from palestra.features.streams.engine import PresenceEngine
from palestra.gateway.operation import Call
from tests.features.matches.games import running_matches
from tests.gateway.websocket.node import Client, Node

HELLO = base64.b64encode(b"hello").decode()


class Arena(Node):
    """A node with matches."""

    def __init__(self, **settings: Any) -> None:
        self.engine = PresenceEngine()
        self.match_clock = ManualClock()
        running = running_matches(self.engine, self.match_clock)
        self.matches = MatchesService(self.engine, running, SessionSettings(), self.match_clock)
        super().__init__(feature.messages(MatchesMessages(self.matches)), **settings)
        self.gateway.on_close(lambda socket, reason: self.engine.leave_all(socket.id))

    async def match(self, *names: str) -> tuple[str, list[Client], list[dict[str, Any]]]:
        """A match with these players in it, who have heard all joins: its id, their clients and their presences."""
        clients = [await self.client(name) for name in names]
        created = (await clients[0].ask(cid="1", match_create={}))["match"]
        presences = [created["self"]]
        await clients[0].hear()
        for number, client in enumerate(clients[1:], 1):
            joined = (await client.ask(cid="1", match_join={"match_id": created["match_id"]}))["match"]
            presences.append(joined["self"])
            for earlier in clients[: number + 1]:
                assert (await earlier.hear())["match_presence_event"]["joins"] == [joined["self"]]
        return created["match_id"], clients, presences


@pytest.fixture
async def arena() -> AsyncIterator[Arena]:
    async with Arena() as arena:
        yield arena


async def silent(client: Client) -> bool:
    """Whether nothing was sent to the client before the answer to a ping."""
    return await client.ask(cid="quiet?", ping={}) == {"cid": "quiet?", "pong": {}}


async def test_the_reply_comes_first_then_the_presence_event(arena: Arena) -> None:
    ann, bob = await arena.client("ann"), await arena.client("bob")
    reply = await ann.ask(cid="7", match_create={})
    own = reply["match"]["self"]
    match_id = reply["match"]["match_id"]
    assert reply == {"cid": "7", "match": {"match_id": match_id, "size": 1, "self": own}}
    assert match_id.endswith(".")
    assert own["username"] == "ann"
    assert await ann.hear() == {"match_presence_event": {"match_id": match_id, "joins": [own]}}

    reply = await bob.ask(cid="8", match_join={"matchId": match_id, "metadata": {"any": "thing"}})
    bobs = reply["match"]["self"]
    assert reply == {"cid": "8", "match": {"match_id": match_id, "size": 1, "presences": [own], "self": bobs}}
    event = {"match_presence_event": {"match_id": match_id, "joins": [bobs]}}
    assert await bob.hear() == event
    assert await ann.hear() == event

    again = await bob.ask(cid="9", match_join={"match_id": match_id})
    assert again["match"] == {"match_id": match_id, "size": 2, "presences": [own, bobs], "self": bobs}
    assert await silent(bob)
    assert await silent(ann)


async def test_a_named_match_is_shared_by_all_who_name_it(arena: Arena) -> None:
    ann, bob = await arena.client("ann"), await arena.client("bob")
    first = (await ann.ask(match_create={"name": "arena"}))["match"]
    assert first["match_id"] == f"{uuid.uuid5(uuid.NAMESPACE_DNS, 'arena')}."
    assert first["size"] == 1
    assert "presences" not in first
    second = (await bob.ask(match_create={"name": "arena"}))["match"]
    assert second == {
        "match_id": first["match_id"],
        "size": 2,
        "presences": [first["self"]],
        "self": second["self"],
    }


async def test_data_goes_to_everybody_else_and_never_back(arena: Arena) -> None:
    match_id, (ann, bob, eve), (anns, _, _) = await arena.match("ann", "bob", "eve")
    ann.say({"match_data_send": {"match_id": match_id, "op_code": "5", "data": HELLO}})
    for client in (bob, eve):
        data = {"match_id": match_id, "presence": anns, "op_code": "5", "data": HELLO}
        assert await client.hear() == {"match_data": data}
    assert await silent(ann)


@pytest.mark.parametrize(
    ("sent", "heard"),
    [
        ({"op_code": "0", "data": ""}, {}),
        ({"op_code": "9", "data": HELLO, "presences": [], "reliable": True}, {"reliable": True}),
        ({"op_code": 9, "data": HELLO}, {}),
        ({"opCode": "9", "data": HELLO}, {}),
        ({"data": HELLO, "op_code": "9"}, {}),
        ({"op_code": "009", "data": "-_8"}, {"op_code": "9", "data": "+/8="}),
        ({"op_code": "1", "data": "aGl="}, {"data": "aGk="}),
        ({"op_code": "-9223372036854775808"}, {"op_code": "-9223372036854775808"}),
        ({"reliable": None}, {}),
    ],
)
async def test_every_spelling_of_data_means_the_same(arena: Arena, sent: dict[str, Any], heard: dict[str, Any]) -> None:
    match_id, (ann, bob), (anns, _) = await arena.match("ann", "bob")
    expected: dict[str, Any] = {"match_id": match_id, "presence": anns}
    op_code = str(sent.get("op_code", sent.get("opCode", "0")))
    if op_code != "0":
        expected["op_code"] = op_code
    if sent.get("data"):
        expected["data"] = sent["data"]
    expected.update(heard)
    # Without and with a cid, which changes nothing: there is no reply.
    ann.say({"match_data_send": {"match_id": match_id, **sent}})
    ann.say({"cid": "1", "match_data_send": {"match_id": match_id.upper(), **sent}})
    assert await bob.hear() == {"match_data": expected}
    assert await bob.hear() == {"match_data": expected}
    assert await silent(ann)


BYTES = bytes(range(256))


@pytest.mark.parametrize("sender", ["json", "protobuf"])
@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"op_code": "5", "data": HELLO},
        {"op_code": "-1", "data": base64.b64encode(BYTES).decode(), "reliable": True},
        {"op_code": "4611686018427387904", "presences": []},
        {"op_code": "9223372036854775807", "reliable": True},
        {"data": base64.b64encode(BYTES * 9).decode()},
    ],
)
async def test_players_of_both_formats_hear_the_same(arena: Arena, sender: str, sent: dict[str, Any]) -> None:
    ann = await arena.client("ann", protobuf=sender == "protobuf")
    created = (await ann.ask(cid="1", match_create={}))["match"]
    others = []
    for name in ("bob", "eve"):
        other = await arena.client(name, protobuf=name == "eve")
        others.append(other)
        assert (await other.ask(cid="1", match_join={"match_id": created["match_id"]}))["match"]["size"] == len(others)
        await other.hear()
    expected = {"match_id": created["match_id"], "presence": created["self"], **sent}
    expected.pop("presences", None)
    # Without and with a cid: the second way is the decoder's.
    ann.say({"match_data_send": {"match_id": created["match_id"], **sent}})
    ann.say({"cid": "1", "match_data_send": {"match_id": created["match_id"], **sent}})
    await others[0].hear()  # that eve has come
    for other in others:
        assert await other.hear() == {"match_data": expected}
        assert await other.hear() == {"match_data": expected}


async def test_targeted_data_reaches_the_listed_sessions_only_the_sender_if_listed(arena: Arena) -> None:
    match_id, (ann, bob, eve), (anns, bobs, eves) = await arena.match("ann", "bob", "eve")

    def send(*presences: dict[str, Any]) -> None:
        ann.say({"match_data_send": {"match_id": match_id, "op_code": "1", "presences": list(presences)}})

    send(bobs, bobs)
    send(anns, eves)
    send({**bobs, "session_id": "nonsense"}, eves)
    send({**bobs, "user_id": ""})
    data = {"match_data": {"match_id": match_id, "presence": anns, "op_code": "1"}}
    assert await bob.hear() == data
    assert await ann.hear() == data
    assert await eve.hear() == data
    assert await silent(bob)
    assert await silent(ann)
    assert await silent(eve)


async def test_those_who_are_not_in_a_match_cannot_be_heard_there(arena: Arena) -> None:
    match_id, (ann,), _ = await arena.match("ann")
    stranger = await arena.client("stranger")
    stranger.say({"match_data_send": {"match_id": match_id, "op_code": "1", "data": HELLO}})
    stranger.say({"match_data_send": {"match_id": f"{uuid.uuid4()}.", "op_code": "1", "data": HELLO}})
    assert await silent(stranger)
    assert await silent(ann)


async def test_a_malformed_match_id_in_data_is_an_error_without_cid(arena: Arena) -> None:
    ann = await arena.client("ann")
    error = {"error": {"code": 3, "message": "Invalid match ID"}}
    for match_id in ("", "x", str(uuid.uuid4()), "x" * 36 + "."):
        assert await ann.ask(cid="1", match_data_send={"match_id": match_id, "op_code": "1", "data": ""}) == error
        assert await ann.ask(match_data_send={"match_id": match_id, "op_code": "1", "data": ""}) == error


async def test_data_that_is_no_base64_is_malformed(arena: Arena) -> None:
    match_id, (ann,), _ = await arena.match("ann")
    ann.say({"match_data_send": {"match_id": match_id, "op_code": "1", "data": "?"}})
    assert await ann.closed() == (1000, "received malformed payload")


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"match_join": {}}, 3, "No match ID or token found"),
        ({"match_join": {"match_id": ""}}, 3, "Invalid match ID"),
        ({"match_join": {"match_id": "nonsense."}}, 3, "Invalid match ID"),
        ({"match_join": {"match_id": f"{uuid.uuid4()}."}}, 4, "Match not found"),
        ({"match_join": {"match_id": f"{uuid.uuid4()}.node"}}, 4, "Match not found"),
        ({"match_join": {"token": ""}}, 3, "Invalid match token"),
        ({"match_join": {"token": "a.b.c"}}, 3, "Invalid match token"),
        ({"match_leave": {"match_id": "nonsense"}}, 3, "Invalid match ID"),
    ],
)
async def test_a_refused_request_says_why(arena: Arena, request_: dict[str, Any], code: int, message: str) -> None:
    ann = await arena.client("ann")
    assert await ann.ask(cid="1", **request_) == {"cid": "1", "error": {"code": code, "message": message}}


async def test_a_match_is_joined_by_id_or_by_token_not_both(arena: Arena) -> None:
    ann = await arena.client("ann")
    ann.say({"match_join": {"match_id": "a.", "token": "b"}})
    assert await ann.closed() == (1000, "received malformed payload")


async def test_a_token_lets_in_even_if_nobody_is_there_but_not_for_ever(arena: Arena) -> None:
    ann = await arena.client("ann")
    match_id = f"{uuid.uuid4()}."
    token = arena.matches.token(match_id)
    reply = (await ann.ask(match_join={"token": token}))["match"]
    assert reply == {"match_id": match_id, "self": reply["self"]}
    await ann.hear()
    arena.match_clock.advance(31)
    assert (await ann.ask(match_join={"token": token}))["error"]["message"] == "Invalid match token"


async def test_leaving_is_acknowledged_and_told_to_those_who_stay(arena: Arena) -> None:
    match_id, (ann, bob), (anns, _) = await arena.match("ann", "bob")
    assert await ann.ask(cid="1", match_leave={"match_id": match_id}) == {"cid": "1"}
    assert await bob.hear() == {"match_presence_event": {"match_id": match_id, "leaves": [anns]}}
    assert await ann.ask(cid="2", match_leave={"match_id": match_id}) == {"cid": "2"}
    assert await silent(ann)


async def test_a_broken_connection_is_a_leave_and_the_last_one_ends_the_match(arena: Arena) -> None:
    match_id, (ann, bob), (anns, _) = await arena.match("ann", "bob")
    await ann.hang_up()
    assert await bob.hear() == {"match_presence_event": {"match_id": match_id, "leaves": [anns]}}
    await bob.ask(cid="1", match_leave={"match_id": match_id})
    assert (await bob.ask(match_join={"match_id": match_id}))["error"]["message"] == "Match not found"
    assert await arena.matches.list() == []


async def test_the_listing_shows_ids_and_sizes_within_bounds(arena: Arena) -> None:
    large, _, _ = await arena.match("ann", "bob", "eve")
    small, _, _ = await arena.match("dan")
    routes = MatchesRoutes(arena.matches)
    (operation,) = feature.operations(routes)
    call = Call(operation, None)

    async def listed(**query: Any) -> list[tuple[str, int]]:
        return [(one.match_id, one.size) for one in (await routes.list(call, wire.ListMatches(**query))).matches]

    assert await listed() == [(large, 3), (small, 1)]
    assert await listed(authoritative=False, limit=1) == [(large, 3)]
    assert await listed(min_size=2) == [(large, 3)]
    assert await listed(max_size=2, min_size=0) == [(small, 1)]
    assert await listed(authoritative=True) == []
    assert await listed(label="") == []
    assert await listed(query="") == []
    with pytest.raises(BadListing):
        await listed(limit=0)
    assert json.loads(wire.encode(await routes.list(call, wire.ListMatches(min_size=9)))) == {}
