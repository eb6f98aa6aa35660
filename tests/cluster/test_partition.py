"""Nodes whose packets to the broker vanish without a word, as on a broken network: nobody's kernel is told anything.

A connection stays half-open for as long as the kernels send again, a quarter of an hour, and what was under way
arrives late if the packets pass again before that.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from palestra.testing import Bot
from tests.cluster.namespaces import Network, laid_network, why_not
from tests.cluster.nodes import NodeProcess, running_nodes
from tests.cluster.servers import running, valkey_command
from tests.cluster.test_faults import DEAD_SECONDS, QUICK, Guest, Town, inhabited
from tests.cluster.test_matchmaker import matched, ticket
from tests.waiting import SECONDS_MAX, until

TEST_SECONDS_MAX = 120.0
BUSY_SECONDS = 3.5
"""What a busy machine may add."""
PORT = 6379
"""Of Valkey, in a namespace that has all ports to itself."""
HOLDER = "SELECT node FROM leases WHERE name = 'matchmaker'"
pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if missing := why_not():
        pytest.skip(f"{missing}; test_faults.py tries the same through a proxy")


@asynccontextmanager
async def spread_town(
    folder: Path, database_url: str, dead_seconds: float = DEAD_SECONDS
) -> AsyncIterator[tuple[Town, Network]]:
    """A town of three nodes, and Valkey, each with a network of its own."""
    async with asyncio.timeout(TEST_SECONDS_MAX), AsyncExitStack() as stack:
        network = stack.enter_context(laid_network())
        broker = [*network.broker.before, *valkey_command(PORT, "--bind", "*", "--protected-mode", "no")]
        await stack.enter_async_context(running(broker, PORT, network.broker.host))
        urls = [f"redis://{network.broker_of(node)}:{PORT}" for node in range(3)]
        settings = {**QUICK, "cluster.dead_seconds": dead_seconds}
        nodes = await stack.enter_async_context(
            running_nodes(folder, database_url, redis_urls=urls, places=network.nodes, settings=settings)
        )
        yield await inhabited(Town(nodes, await stack.enter_async_context(AsyncExitStack()))), network


async def notice(nodes: Iterable[NodeProcess]) -> None:
    """Wait until these know that they do not reach the broker."""
    async with asyncio.timeout(SECONDS_MAX):
        for node in nodes:
            while "palestra_bus_up 0" not in await node.metrics():  # noqa: ASYNC110 - they tell nobody
                await asyncio.sleep(0.02)


async def maker_of_matches(database_url: str) -> int:
    """The node that makes matches, counted from 0."""
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while not (name := await connection.fetchval(HOLDER)):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.02)
    finally:
        await connection.close()
    return int(name.removeprefix("node-")) - 1


def has_heard_of(guest: Guest, user_id: str) -> bool:
    """Whether it was ever told of a player, or by it."""
    return any(user_id in json.dumps(envelope) for envelope in guest.bot.pushes)


async def say_hello(guest: Guest) -> None:
    """Write to all in the hall."""
    channel = (await guest.bot.ask(channel_join={"target": "hall", "type": 1}))["channel"]["id"]
    await guest.bot.ask(channel_message_send={"channel_id": channel, "content": '{"say": "hello"}'})


def hears(guest: Guest) -> bool:
    """Whether somebody has said something to it."""
    return any("channel_message" in envelope for envelope in guest.bot.pushes)


async def test_a_node_whose_packets_vanish_is_given_up_and_comes_back_as_a_new_one(
    tmp_path: Path, database_url: str
) -> None:
    async with spread_town(tmp_path, database_url) as (here, network):
        ada, bob, eve = here.guests
        cut_at = time.monotonic()
        network.cut(2)
        # Alone it serves on, and says to the others what does not arrive.
        late = await here.newcomer(2)
        await say_hello(eve)
        await until(lambda: ada.seen() == bob.seen() == {ada.id, bob.id})
        assert time.monotonic() - cut_at < DEAD_SECONDS + BUSY_SECONDS
        assert eve.bot.connected and late.bot.connected
        network.heal(2)
        # Now what it said arrives, by the same connection. Nobody believes it.
        await until(lambda: not (eve.bot.connected or late.bot.connected))
        back = await here.newcomer(2)
        await until(lambda: ada.seen() == bob.seen() == back.seen() == {ada.id, bob.id, back.id})
        assert re.search(r'palestra_bus_total{what="stale_packets"} [1-9]', await here.nodes[0].metrics())
        assert not any(has_heard_of(guest, late.id) or hears(guest) for guest in (ada, bob))


async def test_both_sides_of_a_cut_keep_what_they_acknowledge_and_no_ticket_is_matched_twice(
    tmp_path: Path, database_url: str
) -> None:
    async with spread_town(tmp_path, database_url) as (here, network):
        maker = await maker_of_matches(database_url)
        near = [number for number in range(3) if number != maker]
        apart, ada, bob = (here.guests[number] for number in (maker, *near))
        written: dict[tuple[str, str], str] = {}
        # Two wait at the maker; for either side a third would do, which it alone hears of.
        asked = [await ticket(guest.bot, least=3, most=3) for guest in (apart, ada)]
        network.cut(maker)
        late, eve = await here.newcomer(maker), await here.newcomer(near[1])
        asked += [await ticket(guest.bot, least=3, most=3) for guest in (late, bob, eve)]
        await save_through(here.nodes, [apart, ada], written)
        await until(lambda: all(matched(guest.bot) for guest in (ada, bob, eve)))
        assert not matched(apart.bot) and not matched(late.bot)
        await notice([here.nodes[maker]])
        await save_through(here.nodes, [apart, ada], written)
        network.heal(maker)
        await until(lambda: not (apart.bot.connected or late.bot.connected))
        back, more = await here.newcomer(maker), await here.newcomer(maker)
        again = [await ticket(guest.bot, least=3, most=3) for guest in (back, more, ada)]
        await until(lambda: all(again[n] in matched(guest.bot) for n, guest in enumerate((back, more, ada))))
        await until(lambda: back.seen() == more.seen() == {one.id for one in (ada, bob, eve, back, more)})
        told = Counter(one for guest in (apart, late, ada, bob, eve, back, more) for one in matched(guest.bot))
        assert told == Counter([asked[1], asked[3], asked[4], *again])
        for node in here.nodes:
            assert await saved(node, ada.bot, written) == written


async def save_through(nodes: list[NodeProcess], guests: list[Guest], written: dict[tuple[str, str], str]) -> None:
    """Each of these writes the same key through one node after the other, and one more through each."""
    for guest in guests:
        for node in nodes:
            for key in ("same", node.name):
                value = json.dumps({"through": node.name, "written": len(written)})
                body = {"objects": [{"collection": "saves", "key": key, "value": value, "permission_read": 2}]}
                await through(node, guest.bot).call("PUT", "/v2/storage", body)
                written[guest.id, key] = value


async def saved(node: NodeProcess, reader: Bot, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The values of these keys of players, as a node shows them."""
    ids = [{"collection": "saves", "key": key, "user_id": user} for user, key in wanted]
    found = (await through(node, reader).call("POST", "/v2/storage", {"object_ids": ids}))["objects"]
    return {(one["user_id"], one["key"]): one["value"] for one in found}


def through(node: NodeProcess, bot: Bot) -> Bot:
    """The same player, at another node."""
    there = Bot(bot._http, node.url, "defaultkey", bot.device_id)  # pyright: ignore[reportPrivateUsage]
    there.token = bot.token
    return there


async def test_when_nobody_reaches_the_broker_nobody_is_given_up(tmp_path: Path, database_url: str) -> None:
    # A first packet that vanishes is sent again after one second, and after two more: nodes come back one by one.
    async with spread_town(tmp_path, database_url, dead_seconds=2.5) as (here, network):
        ada, bob, _ = here.guests
        everybody = {guest.id for guest in here.guests}
        for node in range(3):
            network.cut(node)
        late = await here.newcomer(0)
        await notice(here.nodes)
        assert bob.seen() == everybody
        for node in range(3):
            network.heal(node)
        await until(lambda: all(guest.seen() == everybody | {late.id} for guest in (*here.guests, late)))
        assert not any(envelope.get("channel_presence_event", {}).get("leaves") for envelope in bob.bot.pushes)
        assert all(guest.bot.connected for guest in (*here.guests, late))
        await say_hello(ada)
        await until(lambda: all(hears(guest) for guest in (*here.guests[1:], late)))
