"""Valkey behind TLS: everything that goes there goes encrypted, to a server whose certificate is trusted."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palestra.cluster.bus import Bus
from palestra.cluster.buses.valkey import ValkeyTransport
from palestra.core.config import Settings
from palestra.core.errors import Unavailable
from palestra.core.tasks import Tasks
from tests.cluster.balancers import Certificate
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, running, valkey_command
from tests.cluster.several import QUICK, others, several
from tests.waiting import until


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


@pytest.fixture
async def way(certificate: Certificate) -> AsyncIterator[FaultProxy]:
    """The only way to a server: it speaks TLS."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.chain, certificate.key)
    port = free_port()
    async with running(valkey_command(port), port), FaultProxy(port, tls) as proxy:
        yield proxy


async def test_nodes_are_one_platform_through_it_and_find_it_again(
    way: FaultProxy, certificate: Certificate, database_url: str
) -> None:
    url = f"rediss://127.0.0.1:{way.port}?ssl_ca_certs={certificate.chain}"
    settings = Settings(redis_url=url, cluster=QUICK)
    async with several(database_url, settings=settings) as (a, b):
        ann, bob = await a.bot(), await b.bot()
        for bot in (ann, bob):
            await bot.connect()
        room = (await ann.ask(channel_join={"target": "hall", "type": 1}))["channel"]["id"]
        await bob.ask(channel_join={"target": "hall", "type": 1})
        await ann.ask(channel_message_send={"channel_id": room, "content": '{"say":"hello"}'})
        assert (await bob.push("channel_message"))["content"] == '{"say":"hello"}'
        for one in (a, b):
            assert one.node.parts is not None
            caches = one.node.parts.services.caches
            assert caches.shared is not None and caches.shared.usable

        way.cut()
        await until(lambda: all(one.node.parts and not one.node.parts.cluster.bus.up for one in (a, b)))
        await until(lambda: all(one.node.parts and one.node.parts.cluster.bus.up and others(one) for one in (a, b)))
        await ann.ask(channel_message_send={"channel_id": room, "content": '{"say":"again"}'})
        assert (await bob.push("channel_message"))["content"] == '{"say":"again"}'


async def test_a_server_whose_certificate_is_not_trusted_is_not_spoken_to(way: FaultProxy) -> None:
    bus = Bus("a", 1, ValkeyTransport(f"rediss://127.0.0.1:{way.port}"), Tasks())
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await bus.start()
