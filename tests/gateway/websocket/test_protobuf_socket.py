"""A socket opened with `format=protobuf`: binary frames both ways, and all the rest as in JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from palestra.gateway.push import RawPush
from tests.gateway.websocket.judge import encode
from tests.gateway.websocket.node import BINARY, TEXT, Node
from tests.gateway.websocket.talk import Talk

MALFORMED = (1000, "received malformed payload")
WRONG_KIND = (1000, "received unexpected WebSocket message type")
REFUSED = (1000, "error processing message")


async def test_requests_are_answered_in_binary_frames() -> None:
    async with Node(Talk().messages) as node:
        client = await node.client(protobuf=True)
        assert await client.ask(cid="1", ping={}) == {"cid": "1", "pong": {}}
        assert await client.ask(cid="2", rpc={"id": "x", "payload": "π"}) == {
            "cid": "2",
            "rpc": {"id": "x", "payload": "π"},
        }
        assert await client.ask(cid="3", status_update={"status": ""}) == {"cid": "3"}
        bad = {"code": 3, "message": "bad input"}
        assert await client.ask(cid="4", rpc={"id": "bad"}) == {"cid": "4", "error": bad}
        assert (await client.ask(rpc={"id": "bug"}))["error"]["message"] == "Internal error"


async def test_an_empty_reply_without_cid_is_not_sent() -> None:
    async with Node(Talk().messages) as node:
        client = await node.client(protobuf=True)
        client.say({"status_update": {}}, {"pong": {}})
        assert await client.ask(cid="1", ping={}) == {"cid": "1", "pong": {}}


async def test_an_envelope_without_a_member_says_what_is_missing_and_ends_the_socket() -> None:
    async with Node() as node:
        for payload, cid in ((b"", {}), (encode({"cid": "9"}), {"cid": "9"}), (b"\xfa\x3f\x02hi", {})):
            client = await node.client(protobuf=True)
            client.write(client.frame(payload, BINARY))
            assert await client.hear() == {**cid, "error": {"code": 2, "message": "Missing message."}}
            assert await client.closed() == REFUSED


async def test_what_only_servers_send_ends_the_socket() -> None:
    async with Node() as node:
        client = await node.client(protobuf=True)
        assert (await client.ask(match={}))["error"] == {"code": 1, "message": "Unrecognized message."}
        assert await client.closed() == REFUSED


@pytest.mark.parametrize("payload", [b"{}", b"\x0a\x05abc", encode({"cid": "1"})[:-1], b"\xc2\x01\x03\x0a\x01\xff"])
async def test_what_is_no_envelope_ends_the_socket(payload: bytes) -> None:
    async with Node(Talk().messages) as node:
        client = await node.client(protobuf=True)
        client.write(client.frame(payload, BINARY))
        assert await client.closed() == MALFORMED


async def test_a_text_frame_ends_the_socket() -> None:
    async with Node() as node:
        for frame in (b'{"ping":{}}', b""):
            client = await node.client(protobuf=True)
            client.write(client.frame(frame, TEXT))
            assert await client.closed() == WRONG_KIND
        client = await node.client(protobuf=True)
        client.write(client.frame(b"{", TEXT, fin=False))
        assert await client.closed() == WRONG_KIND


async def test_a_message_may_come_in_parts_and_wait_its_turn() -> None:
    talk = Talk()
    async with Node(talk.messages) as node:
        client = await node.client(protobuf=True)
        client.say({"cid": "1", "rpc": {"id": "wait"}})
        await talk.at_gate.wait()
        payload = encode({"cid": "2", "rpc": {"id": "x"}})
        client.write(client.frame(payload[:3], BINARY, fin=False), client.frame(payload[3:], 0))
        client.write(client.frame(b"", BINARY))
        talk.gate.set()
        assert (await client.hear())["cid"] == "1"
        assert await client.hear() == {"cid": "2", "rpc": {"id": "x"}}
        assert (await client.hear())["error"]["message"] == "Missing message."
        assert await client.closed() == REFUSED


async def test_a_push_is_made_once_for_each_format() -> None:
    async with Node() as node:
        json, binary = await node.client("ann"), await node.client("bob", protobuf=True)
        push = RawPush(b'{"stream_data":{"stream":{"mode":9},"data":"hi"}}')
        for socket in node.gateway.sessions.values():
            socket.send(push)
            socket.send(push)
        frames = (push.text, push.binary)
        expected = {"stream_data": {"stream": {"mode": 9}, "data": "hi"}}
        for client in (json, json, binary, binary):
            assert await client.hear() == expected
        assert (push.text, push.binary) == frames


async def test_what_has_no_protobuf_form_becomes_an_error_and_ends_no_broadcast() -> None:
    wrong = (
        {"stream_data": {"data": 5}},
        {"stream_data": []},
        {"match_data": {"op_code": "x"}},
        {"match": {"size": 2**31}},
    )
    async with Node() as node:
        clients = [await node.client(name, protobuf=True) for name in ("ann", "bob")]
        for envelope in wrong:
            push = RawPush(msgspec.json.encode(envelope))
            with capture_logs() as logs:
                for socket in node.gateway.sessions.values():
                    socket.send(push)
            assert [entry["event"] for entry in logs] == ["an envelope has no Protobuf form"]
            for client in clients:
                assert await client.hear() == {"error": {"message": "Internal error"}}


async def test_a_direct_message_goes_the_usual_way_when_it_must() -> None:
    talk = Talk()
    async with Node(talk.messages) as node:
        client = await node.client(protobuf=True)
        client.say({"party_data_send": {"party_id": "1"}})
        await client.ask(cid="1", ping={})
        assert talk.seen == ["direct"]
        client.say({"party_data_send": {"party_id": "general"}}, {"cid": "2", "party_data_send": {"party_id": "x"}})
        await client.ask(cid="3", rpc={"id": "y"})
        assert talk.seen == ["direct", "direct", "general", "x", "y"]

        async def hook(call: Any, request: Any) -> Any:
            return request

        talk.direct.before = hook
        client.say({"party_data_send": {"party_id": "hooked"}})
        await client.ask(cid="4", rpc={"id": "z"})
        assert talk.seen[5:] == ["hooked", "z"]
