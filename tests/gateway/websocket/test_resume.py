"""Sessions that outlive their connection, and those that must not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from palestra.core.config import ResumeSettings
from palestra.core.metrics import Metrics
from palestra.gateway.push import LatestPush, RawPush
from palestra.gateway.websocket.figures import measure_sockets
from palestra.gateway.websocket.frames import frame_of
from palestra.gateway.websocket.socket import Socket
from tests.gateway.websocket.node import CLOSE, Client, Node
from tests.gateway.websocket.talk import Status, Talk
from tests.gateway.websocket.test_flow import Endings, stalled, turn_until

RESUME = ResumeSettings()
KEY = "&resume=a-key-of-the-client"


class World(Node):
    """A node whose sessions wait, with notes of what its features are told."""

    def __init__(self, talk: Talk | None = None, resume: ResumeSettings = RESUME, **settings: Any) -> None:
        super().__init__(talk.messages if talk is not None else (), resume=resume, **settings)
        self.opened: list[str] = []
        self.resumed: list[str] = []
        self.gateway.on_open(lambda socket: self.opened.append(socket.id))
        self.gateway.on_resume(lambda socket: self.resumed.append(socket.id))
        self.endings = Endings(self.gateway)

    @property
    def away(self) -> list[Socket]:
        return [socket for socket in self.gateway.sessions.values() if socket.away]

    async def met(self, name: str = "ann", query: str = "") -> tuple[Client, Socket]:
        """A client with a session of its own, and that session."""
        before = set(self.gateway.sessions)
        client = await self.client(name, query)
        (session_id,) = set(self.gateway.sessions) - before
        return client, self.gateway.sessions[session_id]

    async def lose(self, client: Client, socket: Socket) -> None:
        """Break a connection, and wait until the node has heard."""
        await client.hang_up()
        await turn_until(lambda: socket.away or socket.ended)

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.gateway.sweep()


def say(socket: Socket, *words: str, droppable: bool = False) -> None:
    for word in words:
        socket.send(RawPush(b'{"status":{"status":"%b"}}' % word.encode(), droppable=droppable))


async def words(client: Client, count: int) -> list[str]:
    return [(await client.hear())["status"]["status"] for _ in range(count)]


async def silent(client: Client) -> bool:
    """Whether nothing is on its way to a client."""
    return await client.ask(cid="still", ping={}) == {"cid": "still", "pong": {}}


async def test_the_next_connection_of_a_player_goes_on_where_the_last_one_broke_off() -> None:
    async with World() as node:
        client, socket = await node.met()
        say(socket, "before")
        assert await words(client, 1) == ["before"]
        await node.lose(client, socket)
        say(socket, "one", "two")
        assert node.gateway.of_user(socket.caller.user_id) == [socket]
        again = await node.client()
        say(socket, "three")
        assert await words(again, 3) == ["one", "two", "three"]
        assert await silent(again)
        assert list(node.gateway.sessions.values()) == [socket]
        assert (node.opened, node.resumed, node.endings.reasons) == ([socket.id], [socket.id], [])
        assert node.gateway.holding.bytes == 0


async def test_what_was_gathered_for_the_lost_connection_goes_to_the_next() -> None:
    async with World() as node:
        client, socket = await node.met()
        say(socket, "gathered")
        socket.give_up("no sign of life")
        await client.ended()
        assert await words(await node.client(), 1) == ["gathered"]


async def test_a_session_can_be_lost_again_and_again() -> None:
    async with World() as node:
        client, socket = await node.met()
        for number in range(5):
            await node.lose(client, socket)
            say(socket, f"word {number}")
            node.later(14)
            client = await node.client()
            assert await words(client, 1) == [f"word {number}"]
        assert (len(node.opened), len(node.resumed), node.gateway.resumed_count) == (1, 5, 5)


async def test_whoever_does_not_come_back_leaves_after_the_grace() -> None:
    async with World() as node:
        client, socket = await node.met()
        await node.lose(client, socket)
        node.later(14.9)
        assert node.endings.reasons == []
        node.later(0.2)
        assert await node.endings.wait() == ["connection lost"]
        assert node.gateway.sessions == {}
        assert node.gateway.expired_count == 1
        _, new = await node.met()
        assert new is not socket
        assert node.resumed == []


@pytest.mark.parametrize("code", [b"", b"\x03\xe8", b"\x03\xe9"])
async def test_whoever_says_goodbye_leaves_at_once(code: bytes) -> None:
    async with World() as node:
        client, _ = await node.met()
        client.write(client.frame(code, CLOSE))
        await client.hang_up()
        assert await node.endings.wait() == [""]


async def test_whoever_says_goodbye_behind_unfinished_work_leaves_at_once() -> None:
    talk = Talk()
    async with World(talk) as node:
        client, socket = await node.met()
        client.say({"rpc": {"id": "wait"}}, {"rpc": {"id": "last words"}})
        client.write(client.frame(b"\x03\xe8", CLOSE))
        await talk.at_gate.wait()
        await turn_until(lambda: len(socket._queue or ()) == 2)
        await client.hang_up()
        assert await node.endings.wait() == ["connection lost"]
        talk.gate.set()


@pytest.mark.parametrize("frame", ["garbage", "a broken rule"])
async def test_whoever_breaks_the_rules_leaves_at_once(frame: str) -> None:
    async with World() as node:
        client, _ = await node.met()
        client.write(client.frame(b"garbage") if frame == "garbage" else client.frame(b"x", masked=False))
        kind, _ = await client.read()
        assert kind == CLOSE
        await client.hang_up()
        assert len(await node.endings.wait()) == 1


async def test_a_quiet_socket_is_waited_for_when_it_shows_no_sign_of_life() -> None:
    async with World() as node:
        client, socket = await node.met()
        node.later(15)
        node.later(10)
        await client.ended()
        assert node.away == [socket]
        say(socket, "missed")
        assert await words(await node.client(), 1) == ["missed"]
        assert (node.endings.reasons, socket.reason) == ([], "")


async def test_its_end_then_tells_why_it_was_lost() -> None:
    async with World() as node:
        client, _ = await node.met()
        node.later(15)
        node.later(10)
        await client.ended()
        node.later(15)
        assert await node.endings.wait() == ["no sign of life"]


async def test_replies_are_for_the_connection_that_asked_and_what_was_asked_is_done() -> None:
    talk = Talk()
    async with World(talk) as node:
        client, socket = await node.met()
        client.say({"cid": "1", "rpc": {"id": "wait"}}, {"cid": "2", "rpc": {"id": "later"}}, {"cid": "3", "ping": {}})
        await talk.at_gate.wait()
        await turn_until(lambda: len(socket._queue or ()) == 2)
        await node.lose(client, socket)
        say(socket, "missed")
        again = await node.client()
        again.say({"cid": "1", "rpc": {"id": "mine"}})
        talk.gate.set()
        assert await words(again, 1) == ["missed"]
        # What the second request has caused is a push, and counts.
        assert await again.hear() == {"status": {}}
        assert await again.hear() == {"cid": "1", "rpc": {"id": "mine"}}
        assert talk.seen == ["wait", "later", "mine"]
        assert await silent(again)


async def test_a_reply_that_was_gathered_but_not_written_is_not_given_to_another_connection() -> None:
    async with World(Talk()) as node:
        _, socket = await node.met()
        socket._answer(b'{"cid":"1","pong":{}}')
        say(socket, "push")
        socket.send_frame(b"\x89\x00")
        socket.give_up("no sign of life")
        again = await node.client()
        assert await words(again, 1) == ["push"]
        assert await silent(again)


async def test_what_was_held_for_a_reader_that_stalled_goes_to_its_next_connection_but_for_replies() -> None:
    async with World(send_bytes=8_192) as node:
        client, socket = await stalled(node)
        while not socket._held:
            socket.send_frame(frame_of(b'"' + b"x" * 8_000 + b'"'))
        socket._answer(b'{"cid":"1","pong":{}}')
        say(socket, "held")
        node.later(5)
        await client.hang_up()
        again = await node.client("slow")
        while isinstance(told := await again.hear(), str):
            pass
        assert told == {"status": {"status": "held"}}
        assert await silent(again)
        assert not socket._held


async def test_a_flood_that_was_stopped_is_still_stopped_for_the_next_connection() -> None:
    talk = Talk()
    async with World(talk, incoming_queue_max=8) as node:
        client, socket = await node.met()
        client.say({"cid": "first", "rpc": {"id": "wait"}})
        await talk.at_gate.wait()
        client.say(*({"rpc": {"id": str(number)}} for number in range(8)))
        await turn_until(lambda: socket._reading_paused)
        socket.give_up("no sign of life")
        again = await node.client()
        again.say(*({"cid": str(number), "rpc": {"id": str(number)}} for number in range(8, 16)))
        talk.gate.set()
        assert [(await again.hear())["cid"] for _ in range(8)] == [str(number) for number in range(8, 16)]
        assert talk.seen == ["wait", *map(str, range(16))]


async def test_work_that_ends_while_nobody_is_there_lets_the_reading_go_on() -> None:
    talk = Talk()
    async with World(talk, incoming_queue_max=8) as node:
        client, socket = await node.met()
        client.say({"rpc": {"id": "wait"}})
        await talk.at_gate.wait()
        client.say(*({"rpc": {"id": str(number)}} for number in range(8)))
        await turn_until(lambda: socket._reading_paused)
        socket.give_up("no sign of life")
        talk.gate.set()
        await turn_until(lambda: not socket._busy)
        assert await silent(await node.client())


async def test_two_open_sockets_of_one_player_stay_two() -> None:
    async with World() as node:
        _, first = await node.met()
        _, second = await node.met()
        assert first is not second
        assert node.resumed == []


async def test_the_session_of_the_same_log_in_is_preferred_then_the_longest_away() -> None:
    async with World() as node:
        phone, on_phone = await node.met("ann.phone")
        console, on_console = await node.met("ann.console")
        await node.lose(phone, on_phone)
        await node.lose(console, on_console)
        await node.client("ann.console")
        assert node.resumed == [on_console.id]
        await node.client("ann.tablet")
        assert node.resumed == [on_console.id, on_phone.id]
        assert on_phone.caller.token_id == "token-ann.tablet"


async def test_nobody_else_takes_a_session_over() -> None:
    async with World() as node:
        client, socket = await node.met("ann", KEY)
        await node.lose(client, socket)
        _, other = await node.met("bob", KEY)
        assert other is not socket
        assert socket.away
        _, stock = await node.met("ann")
        assert stock is not socket


async def test_what_has_changed_with_the_connection_is_known_of_the_session() -> None:
    async with World() as node:
        client, socket = await node.met("ann", "&lang=de")
        await node.lose(client, socket)
        await node.client("ann.again", "&lang=fr&status=true")
        assert (socket.language, socket.show_status, socket.caller.token_id) == ("fr", True, "token-ann.again")


async def test_a_banned_player_is_not_waited_for() -> None:
    async with World() as node:
        client, socket = await node.met()
        await node.lose(client, socket)
        node.gateway.disconnect_user(socket.caller.user_id, "banned", RawPush(b"{}"))
        assert await node.endings.wait() == ["banned"]
        assert node.gateway.sessions == {}
        assert node.gateway.holding.bytes == 0


async def test_a_log_in_that_was_revoked_is_not_waited_for_and_not_taken_over() -> None:
    async with World() as node:
        client, socket = await node.met("ann.stolen")
        await node.lose(client, socket)
        node.authenticator.revoked.add("token-ann.stolen")
        _, new = await node.met("ann.mine")
        assert new is not socket
        assert await node.endings.wait() == ["server-side session disconnect"]
        client, socket = await node.met("ann.stolen")
        await node.lose(client, socket)
        assert (await node.endings.wait(2))[1] == "connection lost"


async def test_a_log_in_that_is_revoked_meanwhile_is_waited_for_no_longer() -> None:
    async with World() as node:
        client, socket = await node.met("ann.stolen")
        await node.lose(client, socket)
        node.authenticator.revoked.add("token-ann.stolen")
        node.later(0)
        assert await node.endings.wait() == ["server-side session disconnect"]


async def test_more_than_may_wait_ends_the_session_and_what_may_be_missed_goes_first() -> None:
    async with World(resume=ResumeSettings(queue_max=8)) as node:
        client, socket = await node.met()
        await node.lose(client, socket)
        say(socket, "a", "b", droppable=True)
        say(socket, "1", "2", "3", "4")
        assert node.gateway.holding.dropped == 2
        say(socket, "5", "6", "7", "8")
        assert not socket.closing
        say(socket, "9")
        assert await node.endings.wait() == ["session outgoing queue full"]
        assert node.gateway.holding.bytes == 0


async def test_a_player_has_a_bounded_number_of_sessions_away() -> None:
    async with World(resume=ResumeSettings(sessions_per_user_max=2)) as node:
        known = [await node.met() for _ in range(3)]
        for client, socket in known:
            await node.lose(client, socket)
        assert await node.endings.wait() == ["connection lost"]
        assert node.away == [socket for _, socket in known[1:]]


async def test_sessions_that_are_away_keep_nobody_out() -> None:
    async with World(connections_max=2) as node:
        client, away = await node.met("ann")
        await node.met("bob")
        await node.lose(client, away)
        await node.met("eve")
        assert await node.endings.wait() == ["connection lost"]
        late = await node.dial()
        assert (await late.handshake("/ws?token=token-ann")).startswith(b"HTTP/1.1 503 ")
        assert len(node.gateway.sessions) == 2


async def test_a_node_that_stops_waits_for_nobody() -> None:
    async with World() as node:
        client, socket = await node.met()
        await node.lose(client, socket)
        await node.gateway.stop()
        assert node.endings.reasons == ["server-side session disconnect"]
        assert node.gateway.sessions == {}


async def test_a_feature_may_let_go_earlier_once_for_each_absence() -> None:
    async with World() as node:
        told: list[float] = []
        node.gateway.on_away(10, lambda socket: told.append(10))
        node.gateway.on_away(3, lambda socket: told.append(3))
        client, socket = await node.met()
        await node.lose(client, socket)
        node.later(2.9)
        assert told == []
        node.later(0.1)
        node.later(0.1)
        assert told == [3]
        node.later(10)
        assert told == [3, 10]
        client = await node.client()
        await node.lose(client, socket)
        node.later(12)
        assert told == [3, 10, 3, 10]


async def test_a_session_may_be_joined_while_it_is_away_and_asked_to_close() -> None:
    async with World() as node:
        client, socket = await node.met()
        await node.lose(client, socket)
        called: list[int] = []
        socket.after_reply(lambda: called.append(1))
        await turn_until(lambda: bool(called))
        socket.close("server-side session disconnect")
        socket.close("again")
        say(socket, "nobody hears")
        assert await node.endings.wait() == ["server-side session disconnect"]


# -- clients with a key of their own


async def keyed(node: World, received: int | None = None, word: str = "resumed") -> Client:
    client = await node.client("ann", KEY + (f"&received={received}" if received is not None else ""))
    assert await client.hear() == {"cid": word}
    return client


async def test_a_client_that_counts_gets_exactly_what_it_has_missed() -> None:
    async with World(Talk()) as node:
        client = await keyed(node, word="opened")
        (socket,) = node.gateway.sessions.values()
        say(socket, "1", "2")
        assert await words(client, 2) == ["1", "2"]
        assert await client.ask(cid="a", rpc={"id": "3"}) == {"cid": "a", "rpc": {"id": "3"}}
        say(socket, "4")
        socket.flush()
        await node.lose(client, socket)
        say(socket, "5")
        # It has received two, says so, and gets what it had received as a third, too: the reply to its own request.
        again = await keyed(node, 2)
        assert await again.hear() == {"cid": "a", "rpc": {"id": "3"}}
        assert await words(again, 2) == ["4", "5"]
        await node.lose(again, socket)
        say(socket, "6")
        third = await keyed(node, 5)
        assert await words(third, 1) == ["6"]
        assert await silent(third)


async def test_a_client_with_a_key_takes_its_session_over_before_the_node_knows_that_it_has_gone() -> None:
    async with World() as node:
        former = await keyed(node, word="opened")
        (socket,) = node.gateway.sessions.values()
        say(socket, "1")
        await words(former, 1)
        again = await keyed(node, 1)
        await former.ended()
        say(socket, "2")
        assert await words(again, 1) == ["2"]
        assert list(node.gateway.sessions.values()) == [socket]
        assert not socket.away
        assert node.endings.reasons == []


@pytest.mark.parametrize("received", [0, 1, 2, 99])
async def test_a_count_that_cannot_be_served_begins_a_new_session(received: int) -> None:
    async with World(resume=ResumeSettings(replay_max=2)) as node:
        client = await keyed(node, word="opened")
        (socket,) = node.gateway.sessions.values()
        say(socket, *"12345")
        await words(client, 5)
        await node.lose(client, socket)
        await keyed(node, received, word="opened")
        assert await node.endings.wait() == ["server-side session disconnect"]
        assert len(node.opened) == 2


async def test_what_is_kept_for_clients_that_count_is_bounded_and_given_back() -> None:
    async with World(resume=ResumeSettings(replay_bytes_max=1_000)) as node:
        client = await keyed(node, word="opened")
        (socket,) = node.gateway.sessions.values()
        for _ in range(20):
            say(socket, "x" * 300)
        await words(client, 20)
        assert 600 < node.gateway.holding.bytes <= 1_000
        client.write(client.frame(b"", CLOSE))
        assert await node.endings.wait() == [""]
        assert node.gateway.holding.bytes == 0


@pytest.mark.parametrize(
    "query", ["&resume=short", "&resume=" + "x" * 65, "&resume=white%20space%20in%20it", "&received=-1"]
)
async def test_a_key_that_is_none_is_refused(query: str) -> None:
    async with World() as node:
        client = await node.dial()
        answer = await client.handshake(f"/ws?token=token-ann{query}")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"Invalid resume parameter\n")


async def test_much_that_was_missed_is_not_too_much_for_the_new_connection() -> None:
    async with World(outgoing_queue_max=4) as node:
        client, socket = await node.met()
        await node.lose(client, socket)
        for number in range(60):
            socket.send_frame(frame_of(json.dumps({"status": {"status": str(number) + " " * 4000}}).encode()))
        again = await node.client()
        assert [word.strip() for word in await words(again, 60)] == [str(number) for number in range(60)]
        assert not socket.closing


async def test_of_one_topic_only_the_latest_waits() -> None:
    async with World() as node:
        client, socket = await node.met()
        await node.lose(client, socket)
        for word in ("away", "busy", "back"):
            socket.send(LatestPush("status", Status(word), ("status", "ann")))
            say(socket, f"after {word}")
        assert await words(await node.client(), 4) == ["after away", "after busy", "back", "after back"]


async def test_a_session_is_taken_over_by_a_connection_of_its_own_format_only() -> None:
    async with World(Talk()) as node:
        client = await node.client(protobuf=True)
        (socket,) = node.gateway.sessions.values()
        socket._answer(b'{"cid":"1","pong":{}}')
        socket.send(RawPush(b'{"rpc":{"id":"gathered"}}'))
        socket.give_up("no sign of life")
        await client.ended()
        socket.send(RawPush(b'{"rpc":{"id":"missed"}}'))
        _, other = await node.met()
        assert (other is socket, socket.away) == (False, True)
        again = await node.client(protobuf=True)
        assert [(await again.hear())["rpc"]["id"] for _ in range(2)] == ["gathered", "missed"]
        assert await silent(again)
        keyed = await node.client("bob", KEY, protobuf=True)
        assert await keyed.hear() == {"cid": "opened"}
        in_text = await node.client("bob", KEY)
        assert await in_text.hear() == {"cid": "opened"}
        assert await node.endings.wait() == ["server-side session disconnect"]


async def test_operators_see_what_becomes_of_sessions() -> None:
    async with World(resume=ResumeSettings(queue_max=2)) as node:
        metrics = Metrics()
        measure_sockets(node.gateway, metrics)
        pairs = [await node.met(name) for name in ("ann", "bob", "eve")]
        for client, socket in pairs:
            await node.lose(client, socket)
        await node.client("ann")
        say(pairs[1][1], "missed", "missed", droppable=True)
        shown = metrics.render().decode()
        for line in (
            "sockets 1.0",
            "sessions_away 2.0",
            "sessions_resumed_total 1.0",
            "socket_frames_dropped_total 1.0",
        ):
            assert f"palestra_{line}\n" in shown
        node.later(15)
        assert "palestra_sessions_expired_total 2.0\n" in metrics.render().decode()
