"""The rules of envelopes, as a client meets them."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from palestra.core.errors import GameError
from tests.gateway.websocket.node import BINARY, Node
from tests.gateway.websocket.talk import Talk

MALFORMED = (1000, "received malformed payload")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"hello",
        b"[]",
        b'"ping"',
        b"null",
        b'{"ping":{}',
        b'{"ping":{}} x',
        b'{"ping":{}}{}',
        b'{"ping":{},"pong":{}}',
        b'{"ping":{},"ping":{}}',
        b'{"status_update":{},"statusUpdate":{}}',
        b'{"cid":"1","cid":"2","ping":{}}',
        b'{"cid":1,"ping":{}}',
        b'{"unheard_of":{}}',
        b'{"unheard_of":null,"ping":{}}',
        b'{"ping":{"a":1}}',
        b'{"ping":[]}',
        b'{"ping":true}',
        b'{"match":1}',
        b'{"rpc":{"id":1}}',
        b'{"rpc":{"id":"a","id":"b"}}',
        b'{"rpc":{"Id":"a"}}',
        b'{"rpc":{"id":"a","httpKey":"","http_key":""}}',
        b'{"rpc":{"id":"\\ud800"}}',
        b'{"rpc":{"id":"\xff"}}',
        b'{"matchmaker_remove":{"min_count":1.5}}',
    ],
)
async def test_what_is_no_envelope_ends_the_socket(payload: bytes) -> None:
    async with Node(Talk().messages) as node:
        client = await node.client()
        client.write(client.frame(payload))
        assert await client.closed() == MALFORMED


async def test_a_binary_frame_ends_the_socket() -> None:
    async with Node() as node:
        client = await node.client()
        client.write(client.frame(b'{"ping":{}}', BINARY))
        assert await client.closed() == (1000, "received unexpected WebSocket message type")


@pytest.mark.parametrize(
    ("envelope", "reply"),
    [
        ({}, {"error": {"code": 2, "message": "Missing message."}}),
        ({"cid": "7"}, {"cid": "7", "error": {"code": 2, "message": "Missing message."}}),
        ({"cid": "7", "ping": None}, {"cid": "7", "error": {"code": 2, "message": "Missing message."}}),
        ({"cid": "7", "match": {}}, {"cid": "7", "error": {"code": 1, "message": "Unrecognized message."}}),
        ({"matchData": {"op_code": "1"}}, {"error": {"code": 1, "message": "Unrecognized message."}}),
    ],
)
async def test_an_envelope_that_asks_for_nothing_is_answered_and_ends_the_socket(
    envelope: dict[str, Any], reply: dict[str, Any]
) -> None:
    async with Node(Talk().messages) as node:
        client = await node.client()
        assert await client.ask(**envelope) == reply
        assert await client.closed() == (1000, "error processing message")


@pytest.mark.parametrize(
    ("envelope", "reply"),
    [
        ({"cid": "1", "ping": {}}, {"cid": "1", "pong": {}}),
        ({"ping": {}, "pong": None}, {"pong": {}}),
        ({"cid": '"\u00e9\n', "ping": {}}, {"cid": '"\u00e9\n', "pong": {}}),
        ({"cid": "1", "rpc": {"id": "a", "payload": "b"}}, {"cid": "1", "rpc": {"id": "a", "payload": "b"}}),
        ({"rpc": {"id": "a", "httpKey": "k"}}, {"rpc": {"id": "a"}}),
        ({"cid": None, "rpc": {"id": None}}, {"rpc": {}}),
        ({"cid": "1", "statusUpdate": {}}, {"cid": "1"}),
        ({"cid": "1", "matchmaker_remove": {"minCount": "7", "ticket": "t"}}, {"cid": "1"}),
        ({"cid": "1", "rpc": {"id": "bad"}}, {"cid": "1", "error": {"code": 3, "message": "bad input"}}),
        ({"cid": "1", "rpc": {"id": "odd"}}, {"cid": "1", "error": {"code": 6, "message": "odd"}}),
        ({"cid": "1", "rpc": {"id": "broken"}}, {"cid": "1", "error": {"message": "storage is broken"}}),
    ],
)
async def test_a_request_is_answered_with_its_cid_and_the_socket_lives_on(
    envelope: dict[str, Any], reply: dict[str, Any]
) -> None:
    async with Node(Talk().messages) as node:
        client = await node.client()
        assert await client.ask(**envelope) == reply
        assert await client.ask(cid="alive", ping={}) == {"cid": "alive", "pong": {}}


async def test_an_empty_reply_to_nobody_in_particular_is_not_sent() -> None:
    async with Node(Talk().messages) as node:
        client = await node.client()
        client.say({"status_update": {}}, {"pong": {}}, {"cid": "pong", "pong": {}}, {"cid": "1", "ping": {}})
        assert await client.hear() == {"cid": "1", "pong": {}}


async def test_a_bug_in_a_handler_is_logged_and_the_socket_lives_on() -> None:
    async with Node(Talk().messages) as node:
        client = await node.client()
        with capture_logs() as logs:
            assert await client.ask(cid="1", rpc={"id": "bug"}) == {"cid": "1", "error": {"message": "Internal error"}}
        assert [(entry["event"], entry["message"]) for entry in logs] == [("message failed", "rpc.call")]
        assert await client.ask(cid="2", ping={}) == {"cid": "2", "pong": {}}


async def test_a_before_hook_that_refuses_is_error_seven_and_one_that_disables_ends_the_socket() -> None:
    talk = Talk()

    async def hook(call: Any, request: Any) -> Any:
        if request.id == "no":
            raise GameError("not today", code="permission_denied")
        return None if request.id == "off" else request

    talk.rpc.before = hook
    async with Node(talk.messages) as node:
        client = await node.client()
        assert await client.ask(cid="1", rpc={"id": "yes"}) == {"cid": "1", "rpc": {"id": "yes"}}
        assert await client.ask(cid="2", rpc={"id": "no"}) == {"cid": "2", "error": {"code": 7, "message": "not today"}}
        refused = {"cid": "3", "error": {"code": 1, "message": "Requested resource was not found."}}
        assert await client.ask(cid="3", rpc={"id": "off"}) == refused
        assert await client.closed() == (1000, "error processing message")


async def test_a_direct_message_goes_the_usual_way_when_it_must() -> None:
    talk = Talk()
    async with Node(talk.messages) as node:
        client = await node.client()
        client.say({"party_data_send": {"party_id": "1"}})
        await client.ask(ping={})
        assert talk.seen == ["direct"]
        client.say({"party_data_send": {"party_id": "general"}})
        await client.ask(rpc={"id": "x"})
        assert talk.seen == ["direct", "direct", "general", "x"]

        async def hook(call: Any, request: Any) -> Any:
            return request

        talk.direct.before = hook
        client.say({"party_data_send": {"party_id": "hooked"}})
        await client.ask(rpc={"id": "y"})
        assert talk.seen[4:] == ["hooked", "y"]
