"""Whatever happens to nodes: what was acknowledged is there, everybody sees who is there, no ticket is matched twice.

PALESTRA_LONG=1 lets 120 faults happen instead of 6, some six minutes; PALESTRA_SEED repeats the choices of a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from palestra.core.ids import new_id
from palestra.testing import Bot
from tests.cluster.chaos import GAME, TROUBLE, Faults, Player, Told
from tests.cluster.nodes import NodeProcess, running_nodes
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, running, valkey_command

FAULTS = 120 if os.environ.get("PALESTRA_LONG") == "1" else 6
PLAYERS = 12
SETTLE_SECONDS = 40.0
SETTINGS = {"cluster.beat_seconds": 0.2, "cluster.dead_seconds": 1.5, "resume.seconds": 1, "drain_seconds": 1}


async def test_faults_lose_nothing_and_confuse_nobody(tmp_path: Path, database_url: str) -> None:
    seed = int(os.environ.get("PALESTRA_SEED", random.SystemRandom().randrange(10**6)))
    print(f"PALESTRA_SEED={seed}")
    dice, told, port = random.Random(seed), Told(), free_port()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(valkey_command(port), port))
        ways = [await stack.enter_async_context(FaultProxy(port)) for _ in range(3)]
        urls = [f"redis://127.0.0.1:{way.port}" for way in ways]
        nodes = await stack.enter_async_context(
            running_nodes(tmp_path, database_url, game=GAME, redis_urls=urls, settings=SETTINGS)
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        faults = Faults(nodes, ways, dice)
        players = [Player(http, faults.urls, told, random.Random(dice.random())) for _ in range(PLAYERS)]
        playing = [asyncio.create_task(player.play()) for player in players]
        try:
            for _ in range(FAULTS):
                await faults.happen()
                await asyncio.sleep(dice.uniform(0.2, 1.5))
            for player in players:
                player.calm = True
            await everybody_sees_who_is_there(http, nodes, players)
            await what_was_acknowledged_is_there(http, nodes[0], told)
        except BaseException as error:
            error.add_note(f"PALESTRA_SEED={seed}: {', '.join(faults.happened)}")
            raise
        finally:
            for task in playing:
                task.cancel()
            await asyncio.gather(*playing, return_exceptions=True)
    assert max(told.matched.values()) == 1, "a ticket was matched twice"
    assert told.matched.keys() <= told.asked
    print(f"{len(told.written)} objects, {len(told.matched)} of {len(told.asked)} tickets matched: {faults.happened}")


async def everybody_sees_who_is_there(
    http: aiohttp.ClientSession, nodes: list[NodeProcess], players: list[Player]
) -> None:
    """Every node knows exactly the sessions that are there, in the end."""
    witnesses = [Bot(http, node.url, "defaultkey", f"device-{new_id()}") for node in nodes]
    seen: list[list[str]] = []

    async def agreed() -> bool:
        seen.clear()
        for witness in witnesses:
            try:
                await witness.log_in()
                seen.append(await witness.rpc("hall"))
            except TROUBLE:
                return False
        there = sorted(player.session_id for player in players)
        return "" not in there and all(one == there for one in seen)

    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while not await agreed():  # noqa: ASYNC110 - nobody tells us when
                await asyncio.sleep(0.1)
    except TimeoutError:
        there = sorted(player.session_id for player in players)
        raise AssertionError(f"there are {there}, seen are {seen}") from None


async def what_was_acknowledged_is_there(http: aiohttp.ClientSession, node: NodeProcess, told: Told) -> None:
    """Every object has the value that was acknowledged last."""
    assert told.written, "nobody wrote anything"
    reader = Bot(http, node.url, "defaultkey", f"device-{new_id()}")
    await reader.log_in()
    wanted = sorted(told.written)
    for start in range(0, len(wanted), 50):
        ids = [{"collection": "saves", "key": key, "user_id": user} for user, key in wanted[start : start + 50]]
        found = (await reader.call("POST", "/v2/storage", {"object_ids": ids}))["objects"]
        assert {(one["user_id"], one["key"]): json.loads(one["value"]) for one in found} == {
            (one["user_id"], one["key"]): json.loads(told.written[one["user_id"], one["key"]]) for one in ids
        }
