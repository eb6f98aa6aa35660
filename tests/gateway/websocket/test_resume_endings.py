"""Sessions on their way out stay out, whatever happens to their connection and whoever asks for them again."""

from __future__ import annotations

import asyncio

import pytest

from palestra.gateway.websocket.frames import frame_of
from palestra.gateway.websocket.socket import MALFORMED
from tests.gateway.websocket.node import CLOSE
from tests.gateway.websocket.talk import Talk
from tests.gateway.websocket.test_flow import stalled, turn_until
from tests.gateway.websocket.test_resume import KEY, World, silent


async def test_a_reader_that_was_closed_while_it_stalled_does_not_wait_for_another_connection() -> None:
    async with World(outgoing_queue_max=8) as node:
        _, slow = await stalled(node)
        async with asyncio.timeout(10):
            while not slow._held:
                slow.send_frame(frame_of(b"x" * 60_000))
                await asyncio.sleep(0)
        node.later(3.5)
        for _ in range(10):
            slow.send_frame(frame_of(b"x"))
        assert await node.endings.wait() == ["session outgoing queue full"]
        for _ in range(4):
            node.later(1)
        await turn_until(lambda: not node.gateway._closing)
        assert (len(node.gateway._away), node.gateway._stalled, node.gateway.sessions) == (0, {}, {})
        assert node.gateway.connected == 0


async def test_whoever_says_goodbye_behind_unfinished_work_is_not_taken_up_again() -> None:
    talk = Talk()
    async with World(talk) as node:
        client, socket = await node.met(query=KEY)
        assert await client.hear() == {"cid": "opened"}
        client.say({"rpc": {"id": "wait"}}, {"rpc": {"id": "last words"}})
        client.write(client.frame(b"\x03\xe8", CLOSE))
        await talk.at_gate.wait()
        await turn_until(lambda: len(socket._queue or ()) == 2)
        again, new = await node.met(query=KEY)
        assert new is not socket
        assert await again.hear() == {"cid": "opened"}
        talk.gate.set()
        assert len(await node.endings.wait()) == 1
        assert await silent(again)


async def test_a_key_whose_session_broke_the_rules_begins_anew() -> None:
    async with World() as node:
        client, socket = await node.met(query=KEY)
        client.write(client.frame(b"garbage"))
        assert await node.endings.wait() == [MALFORMED]
        again, new = await node.met(query=KEY)
        assert new is not socket
        assert await again.hear() == {"cid": "opened"}
        node.later(14)
        assert await silent(again)


async def test_however_many_are_lost_at_once_they_end_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palestra.gateway.websocket.gateway.EXPIRED_AT_ONCE_MAX", 2)
    async with World() as node:
        for number in range(5):
            await node.lose(*await node.met(f"player-{number}"))
        node.later(15)
        assert node.gateway.expired_count == 2
        assert await node.endings.wait(5) == ["connection lost"] * 5
        assert len(node.gateway._away) == 0
