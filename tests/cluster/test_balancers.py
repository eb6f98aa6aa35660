"""Three nodes behind the real HAProxy and nginx, on the configurations that we ship."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import ssl
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from palestra.testing import Bot
from tests.cluster.balancers import KINDS, Balancer, Certificate, balancing
from tests.cluster.load import Load
from tests.cluster.nodes import NodeProcess, player, running_nodes
from tests.cluster.servers import free_port, running, valkey_command

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.servers]

SECONDS_MAX = 30
HTTP2 = Path(__file__).with_name("http2.mjs")
NOTICE_SECONDS = 3
FORGED = {"X-Forwarded-For": "198.51.100.1, 198.51.100.2"}
SETTINGS = {"socket.proxy_count": 1, "notice_seconds": NOTICE_SECONDS}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[NodeProcess]]:
    """Three nodes; a test that ends one starts it again."""
    folder, port = tmp_path_factory.mktemp("nodes"), free_port()
    async with (
        running(valkey_command(port), port),
        running_nodes(folder, module_database_url, redis_url=f"redis://127.0.0.1:{port}", settings=SETTINGS) as nodes,
    ):
        yield nodes


@dataclass
class World:
    """Three nodes and what stands before them."""

    balancer: Balancer
    certificate: Certificate
    nodes: list[NodeProcess]

    @property
    def done(self) -> Counter[str]:
        """How often each mark was noted by any node."""
        return Counter((self.nodes[0].folder.parent / "done").read_text().splitlines())


@pytest_asyncio.fixture(loop_scope="module", params=KINDS)
async def world(request: pytest.FixtureRequest, nodes: list[NodeProcess], tmp_path: Path) -> AsyncIterator[World]:
    """A balancer in front of the nodes; plain HTTP is served as well."""
    async with balancing(request.param, tmp_path, [node.port for node in nodes]) as (balancer, certificate):
        yield World(balancer, certificate, nodes)


def from_address(address: str, tls: ssl.SSLContext | bool = False) -> aiohttp.TCPConnector:
    """Connections from another address of this machine."""
    return aiohttp.TCPConnector(local_addr=(address, 0), ssl=tls)


async def whose(bot: Bot) -> dict[str, str]:
    """The same call over an open socket."""
    answer = await bot.ask(rpc={"id": "whose", "payload": "0"})
    return json.loads(answer["rpc"]["payload"])


@pytest.mark.parametrize("scheme", ["plain", "TLS"])
async def test_calls_and_sockets_of_both_formats_reach_all_nodes_which_see_the_players_address(
    world: World, scheme: str
) -> None:
    url = world.balancer.tls_url if scheme == "TLS" else world.balancer.url
    tls = world.certificate.trust if scheme == "TLS" else False
    called: set[str] = set()
    connected: set[str] = set()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(2, 8):
            address = f"127.0.0.{number}"
            bot = await stack.enter_async_context(player(url, connector=from_address(address, tls)))
            bot._http.headers.update(FORGED)
            answer = await bot.rpc("whose", 0)
            assert answer["client_ip"] == address
            called.add(answer["node"])
            await bot.connect(format="protobuf" if number % 2 else "json")
            answer = await whose(bot)
            assert answer["client_ip"] == address
            connected.add(answer["node"])
    everyone = {node.name for node in world.nodes}
    assert called | connected == everyone
    assert connected == everyone, "sockets go to the node that has the fewest"


async def test_plain_calls_are_sent_to_https_and_old_tls_is_refused(nodes: list[NodeProcess], tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        async with (
            balancing(kind, tmp_path / kind, [nodes[0].port], redirect=True) as (balancer, certificate),
            aiohttp.ClientSession() as http,
        ):
            async with http.post(f"{balancer.url}/v2/rpc/done?a=b", allow_redirects=False) as answer:
                # A POST stays one, with its body, under this status.
                assert answer.status == 308
                assert answer.headers["location"].startswith("https://127.0.0.1")
                assert answer.headers["location"].endswith("/v2/rpc/done?a=b")
            async with http.get(f"{balancer.tls_url}/healthcheck", ssl=certificate.trust) as answer:
                assert answer.status == 200
            old = certificate.trust
            old.set_ciphers("DEFAULT:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning):
                old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                await asyncio.open_connection("127.0.0.1", balancer.tls_port, ssl=old)


async def test_browsers_may_speak_http_2(world: World) -> None:
    node = shutil.which("node", path=os.pathsep.join((os.environ["PATH"], str(Path(sys.executable).parent))))
    assert node, "this test needs Node.js on PATH"
    async with player(world.balancer.url) as bot:
        process = await asyncio.create_subprocess_exec(
            *(node, str(HTTP2), world.balancer.tls_url, bot.token, str(world.certificate.chain)), stdout=PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    told = json.loads(output)
    assert told["call"] == {"status": 200, "text": "{}"}
    if world.balancer.kind == "haproxy":
        # nginx offers no sockets inside HTTP/2: browsers open a connection of HTTP/1.1 for them.
        assert told["socket"]["status"] == 200
        assert json.loads(told["socket"]["text"][2:]) == {"cid": "1", "pong": {}}


async def test_a_node_that_drains_gets_nothing_new_and_no_request_fails(world: World) -> None:
    leaving = world.nodes[1]
    load = Load(world.balancer.tls_url, tls=world.certificate.trust)
    async with load.running(), player(world.balancer.url) as bot:
        await bot.connect()
        while (await whose(bot))["node"] != leaving.name:
            await bot.leave()
            await bot.connect()
        stopping = asyncio.create_task(leaving.stop())
        await until_not_ready(leaving)
        assert (await whose(bot))["node"] == leaving.name, "sockets that exist live on"
        assert await stopping == 0
        load.nodes.clear()
        await load.until(300)
        assert set(load.nodes) == {world.nodes[0].name, world.nodes[2].name}
        await leaving.start()
        await load.until_seen(leaving.name)
    assert load.failed == []
    assert_each_done_once(world, load)


async def test_a_killed_node_costs_no_read_and_no_call_is_done_twice(world: World) -> None:
    killed = world.nodes[2]
    load = Load(world.balancer.url)
    async with load.running():
        await load.until_seen(killed.name)
        await killed.kill()
        await load.until(500)
        failed = len(load.failed)
        await load.until(500)
        assert len(load.failed) == failed, "whoever comes later goes elsewhere"
        await killed.start()
        await load.until_seen(killed.name)
    # What was being done in the node when it died nobody can answer for; it is not done again.
    assert all(failure.startswith("POST ") for failure in load.failed), load.failed
    assert len(load.failed) <= 8
    done = world.done
    assert done.keys() >= load.answered
    assert max(done[mark] for mark in load.posted) == 1


async def test_a_reload_under_load_fails_no_request_and_cuts_no_socket(world: World) -> None:
    # nginx closes idle connections at a reload, which a client may be about to use (see nginx.conf).
    load = Load(world.balancer.url, keep_alive=world.balancer.kind == "haproxy")
    async with load.running(), player(world.balancer.url) as bot:
        await bot.connect()
        node = (await whose(bot))["node"]
        remaining = world.nodes[:2]
        world.balancer.configure([node.port for node in remaining])
        former: set[int] = set()
        for _ in range(3):
            former |= await world.balancer.reload()
            await load.until(200)
        load.nodes.clear()
        await load.until(200)
        assert set(load.nodes) == {node.name for node in remaining}, "the new configuration is in force"
        assert (await whose(bot))["node"] == node
        await bot.leave()
    await world.balancer.ended(former)
    assert load.failed == []
    assert_each_done_once(world, load)


async def test_while_no_node_serves_players_read_an_error_as_nodes_write_them(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(SECONDS_MAX),
        balancing("haproxy", tmp_path, [free_port()]) as (balancer, _),
        aiohttp.ClientSession() as http,
        http.get(f"{balancer.url}/v2/account") as answer,
    ):
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert await answer.json() == {"code": 14, "message": "No node is serving, try again."}


async def test_an_address_may_have_so_many_sockets_and_no_more(nodes: list[NodeProcess], tmp_path: Path) -> None:
    edits = {"haproxy": {"gt 500": "gt 3"}, "nginx": {"per_address 500": "per_address 3"}}
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        async with contextlib.AsyncExitStack() as stack:
            ports = [node.port for node in nodes]
            balancer, _ = await stack.enter_async_context(balancing(kind, tmp_path / kind, ports, edits=edits[kind]))
            # Log in elsewhere: only sockets are to come from the first address.
            bots = [await stack.enter_async_context(player(nodes[0].url)) for _ in range(4)]
            for bot in bots:
                bot._url = balancer.url
            for bot in bots[:3]:
                await bot.connect()
            with pytest.raises(aiohttp.ClientError):
                await bots[3].connect()
            for bot in bots[:3]:
                assert await whose(bot)
            async with player(balancer.url, connector=from_address("127.0.0.9")) as other:
                await other.connect()
                assert (await whose(other))["client_ip"] == "127.0.0.9"


async def test_haproxy_may_speak_the_proxy_protocol_to_nodes(database_url: str, tmp_path: Path) -> None:
    settings = {"socket.proxy_protocol": "true"}
    async with running_nodes(tmp_path, database_url, 1, settings=settings) as nodes:
        port = nodes[0].port
        edits = {f"127.0.0.1:{port}": f"127.0.0.1:{port} send-proxy-v2 check-send-proxy"}
        async with (
            balancing("haproxy", tmp_path, [port], edits=edits) as (balancer, certificate),
            player(balancer.tls_url, connector=from_address("127.0.0.5", certificate.trust)) as bot,
        ):
            assert (await bot.rpc("whose", 0))["client_ip"] == "127.0.0.5"
            await bot.connect()
            assert (await whose(bot))["client_ip"] == "127.0.0.5"


def assert_each_done_once(world: World, load: Load) -> None:
    done = world.done
    assert {done[mark] for mark in load.posted} == {1}


async def until_not_ready(node: NodeProcess) -> None:
    """Wait until a node tells that it drains."""
    async with asyncio.timeout(SECONDS_MAX), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{node.url}/ready") as answer:
                if answer.status == 503:
                    return
