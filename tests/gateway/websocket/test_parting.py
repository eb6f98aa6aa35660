"""A node that goes tells its clients to connect again, and their sessions wait."""

from __future__ import annotations

from palestra.core.config import ResumeSettings
from palestra.gateway.websocket.parting import RESTART, part_all
from tests.gateway.websocket.node import CLOSE, Client
from tests.gateway.websocket.test_flow import turn_until
from tests.gateway.websocket.test_resume import World, say, words


async def told(client: Client) -> bytes:
    """What the next close frame says."""
    kind, payload = await client.read()
    assert kind == CLOSE
    return payload


SERVICE_RESTART = (1012).to_bytes(2, "big") + RESTART.encode()


async def test_everybody_is_told_to_connect_again_and_no_session_ends() -> None:
    async with World() as node:
        clients = [await node.met(name) for name in ("ann", "bob", "eve")]
        await part_all(node.gateway, 0.05)
        for client, socket in clients:
            assert await told(client) == SERVICE_RESTART
            assert socket.away
        assert node.endings.reasons == []
        refused = await node.dial()
        assert (await refused.handshake("/ws?token=token-ann")).startswith(b"HTTP/1.1 503 ")


async def test_what_is_sent_after_that_waits_for_the_next_connection() -> None:
    async with World() as node:
        client, socket = await node.met()
        say(socket, "before")
        await part_all(node.gateway, 0.0)
        say(socket, "after")
        assert await words(client, 1) == ["before"]
        assert await told(client) == SERVICE_RESTART
        client.write(client.frame(SERVICE_RESTART[:2], CLOSE))
        await client.ended()
        node.gateway.parting = False
        assert await words(await node.client(), 1) == ["after"]
        assert node.resumed == [socket.id]


async def test_a_client_that_does_not_answer_is_cut_off_and_its_session_waits() -> None:
    async with World(close_ack_wait_seconds=0.05) as node:
        client, socket = await node.met()
        await part_all(node.gateway, 0.0)
        assert await told(client) == SERVICE_RESTART
        await client.ended()
        assert (socket.away, socket.ended) == (True, False)


async def test_sessions_that_do_not_wait_end() -> None:
    async with World(resume=ResumeSettings(seconds=0.0)) as node:
        client, socket = await node.met()
        await part_all(node.gateway, 0.0)
        assert await told(client) == SERVICE_RESTART
        await turn_until(lambda: socket.ended)
        assert await node.endings.wait() == [RESTART]
