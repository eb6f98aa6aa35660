"""Three nodes behind the real HAProxy are replaced one after the other, under load, and no player loses anything."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from palestra.testing import Bot
from tests.cluster.balancers import balancing
from tests.cluster.load import Load
from tests.cluster.nodes import NodeProcess, player, running_nodes
from tests.cluster.servers import free_port, running, valkey_command
from tests.waiting import until

pytestmark = pytest.mark.servers

MATCHES, PLAYERS = 4, 3
WAITING, MEMBERS = 3, 4
SETTINGS = {"socket.proxy_count": 1, "notice_seconds": 3, "drain_seconds": 3}
TICKET = {"min_count": WAITING + 1, "max_count": WAITING + 1, "query": "*"}


class Client:
    """A player whose client connects again with its token when it is told to, and says numbers in its match."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot
        self.match_id = ""
        self.codes: list[int | None] = []
        self.leaving = False
        self.session_id = ""
        self._staying = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        while True:
            assert self.bot._reading is not None
            await asyncio.wait([self.bot._reading])
            if self.leaving:
                return
            self.codes.append(self.bot.close_code)
            await self.bot.connect()

    async def leave(self) -> None:
        """Go for good."""
        self.leaving = True
        await self.bot.leave()
        await self._staying

    async def own_presence(self) -> dict[str, Any]:
        """What this client is in its match, which it joins if it is not in it."""
        return (await self.bot.ask(match_join={"match_id": self.match_id}))["match"]["self"]

    async def say(self, number: int) -> None:
        """Say a number in the match, over the socket there is now."""
        await until(lambda: self.bot.connected)
        await self.bot.send(self.match_id, number)

    def heard(self, number: int) -> int:
        """How many others have said a number."""
        data = [one["match_data"] for one in self.bot.pushes if "match_data" in one]
        return sum(int(one["op_code"]) == number for one in data)

    def events(self) -> list[dict[str, Any]]:
        """Who came and went."""
        return [one["match_presence_event"] for one in self.bot.pushes if "match_presence_event" in one]


@contextlib.asynccontextmanager
async def clients(stack: contextlib.AsyncExitStack, url: str, count: int) -> Any:
    """So many players with sockets."""
    found = [Client(await connected(stack, url)) for _ in range(count)]
    try:
        yield found
    finally:
        await asyncio.gather(*[client.leave() for client in found])


async def connected(stack: contextlib.AsyncExitStack, url: str) -> Bot:
    """A player with a socket."""
    bot = await stack.enter_async_context(player(url))
    await bot.connect()
    return bot


async def party_of(bots: list[Bot]) -> str:
    """A party of these, led by the last one."""
    party_id = (await bots[0].ask(party_create={"open": True, "max_size": 8}))["party"]["party_id"]
    for bot in bots[1:]:
        await bot.ask(party_join={"party_id": party_id})
        own = (await bot.push("party"))["self"]
    await bots[0].ask(party_promote={"party_id": party_id, "presence": own})
    for number, bot in enumerate(bots, 1):
        assert (await bot.push("party_leader"))["presence"] == own
        joins = len(bots) - number + 1
        await until(lambda bot=bot, joins=joins: sum("party_presence_event" in one for one in bot.pushes) == joins)
        bot.pushes.clear()
    return party_id


async def one_party(party_id: str, bots: list[Bot]) -> None:
    """See that these are one party still, of whom nobody has noticed anything."""
    for number, bot in enumerate(bots):
        await until(lambda bot=bot: bot.connected)
        await bot.ask(party_data_send={"party_id": party_id, "op_code": str(number), "data": "aGk="})
    for number, bot in enumerate(bots):
        await until(lambda bot=bot: len(bot.pushes) >= len(bots) - 1)
        heard = {int(one["party_data"].get("op_code", 0)) for one in bot.pushes}
        assert heard == set(range(len(bots))) - {number}
    await bots[-1].ask(party_update={"party_id": party_id, "label": "{}", "open": True})
    for bot in bots:
        assert (await bot.push("party_update"))["party_id"] == party_id


async def replace(node: NodeProcess, load: Load) -> None:
    """Stop a node and start it again, as a rolling deployment does."""
    assert await node.stop() == 0
    await node.start()
    await load.until_seen(node.name)


async def test_all_nodes_are_replaced_under_load_and_nobody_loses_anything(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with (
        running(valkey_command(port), port),
        running_nodes(tmp_path, database_url, redis_url=f"redis://127.0.0.1:{port}", settings=SETTINGS) as nodes,
        balancing("haproxy", tmp_path, [node.port for node in nodes]) as (balancer, _),
        contextlib.AsyncExitStack() as stack,
        clients(stack, balancer.url, MATCHES * PLAYERS) as players,
        clients(stack, balancer.url, WAITING) as waiting,
        clients(stack, balancer.url, MEMBERS) as members,
    ):
        groups = [players[start : start + PLAYERS] for start in range(0, len(players), PLAYERS)]
        for first, *others in groups:
            match_id = (await first.bot.ask(match_create={}))["match"]["match_id"]
            for client in (first, *others):
                client.match_id = match_id
                client.session_id = (await client.bot.ask(match_join={"match_id": match_id}))["match"]["self"][
                    "session_id"
                ]
        tickets = [(await one.bot.ask(matchmaker_add=TICKET))["matchmaker_ticket"]["ticket"] for one in waiting]
        party_id = await party_of([one.bot for one in members])
        load = Load(balancer.url, callers=4)
        async with load.running():
            for node in nodes:
                await replace(node, load)
        assert load.failed == []
        for client in players:
            await client.say(7)
        for client in players:
            await until(lambda client=client: client.heard(7) >= PLAYERS - 1)
            assert client.heard(7) == PLAYERS - 1
            assert not any("leaves" in one for one in client.events())
            assert (await client.own_presence())["session_id"] == client.session_id
        await one_party(party_id, [one.bot for one in members])
        everybody = [*players, *waiting, *members]
        assert {code for client in everybody for code in client.codes} == {1012}
        assert sum(len(client.codes) for client in everybody) >= len(everybody)
        last = await connected(stack, balancer.url)
        await last.ask(matchmaker_add=TICKET)
        told = [await one.bot.push("matchmaker_matched") for one in waiting]
        assert [one["ticket"] for one in told] == tickets
        assert len({one["token"] for one in told}) == 1


async def test_after_a_kill_the_client_gets_a_clean_session_and_nothing_of_the_old_one_stays(
    database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    settings = {"cluster.beat_seconds": 0.2, "cluster.dead_seconds": 1.5}
    async with (
        running(valkey_command(port), port),
        running_nodes(tmp_path, database_url, 2, redis_url=f"redis://127.0.0.1:{port}", settings=settings) as nodes,
        contextlib.AsyncExitStack() as stack,
    ):
        ada, bob = await connected(stack, nodes[0].url), await connected(stack, nodes[1].url)
        match_id = (await bob.ask(match_create={}))["match"]["match_id"]
        before = (await ada.ask(match_join={"match_id": match_id}))["match"]["self"]
        await nodes[0].kill()
        await ada.closed()
        await ada.connect(url=nodes[1].url)
        gone = await bob.push("match_presence_event")
        while "leaves" not in gone:
            gone = await bob.push("match_presence_event")
        assert [one["session_id"] for one in gone["leaves"]] == [before["session_id"]]
        joined = (await ada.ask(match_join={"match_id": match_id}))["match"]
        assert joined["self"]["session_id"] != before["session_id"]
        assert [one["user_id"] for one in joined["presences"]] == [bob.id]
        assert "palestra_remote_sessions 0.0" in await nodes[1].metrics()
