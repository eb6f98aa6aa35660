"""Authoritative matches whose node dies, or was declared dead and wakes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from palestra.cluster.membership import Membership
from palestra.core.config import Settings
from palestra.testing import Bot, BotError, Platform
from tests.cluster.nodes import NodeProcess, running_nodes
from tests.cluster.nodes import player as player_at
from tests.cluster.servers import free_port, running, valkey_command
from tests.cluster.several import QUICK, Town, others, several
from tests.cluster.tally import (
    actor_on,
    add,
    asked,
    hears_of_leaves,
    kept,
    live,
    player,
    runs_on,
    tally_game,
    until_listed,
    until_total,
)
from tests.waiting import SECONDS_MAX, until

CHECKPOINT_TICKS = 5
GAME = f"""
import sys

sys.path.append({str(Path(__file__).parents[2])!r})
from tests.cluster.tally import tally_game

game = tally_game(checkpoint_ticks={CHECKPOINT_TICKS})
"""


@asynccontextmanager
async def with_checkpoints(database_url: str, town: Town) -> AsyncIterator[list[Platform]]:
    """Three nodes that keep checkpoints in a Valkey server."""
    port = free_port()
    settings = Settings(cluster=QUICK, redis_url=f"redis://127.0.0.1:{port}")
    async with running(valkey_command(port), port):
        game = tally_game(checkpoint_ticks=CHECKPOINT_TICKS)
        async with several(database_url, game, names="abc", settings=settings, town=town) as platforms:
            yield platforms


def members(platform: Platform) -> Membership:
    """The nodes that a node knows."""
    assert platform.node.parts is not None
    return platform.node.parts.cluster.members


def declare_dead(by: Platform, name: str) -> None:
    """Let a node decide that another one is dead."""
    known = members(by)._known[name]
    known.heard_at = float("-inf")
    members(by)._judge()


async def test_a_survivor_goes_on_from_the_last_checkpoint(database_url: str) -> None:
    town = Town()
    async with with_checkpoints(database_url, town) as (a, b, c):
        ada, bob, eve = await player(a, "ada"), await player(b, "bob"), await player(c, "eve")
        match_id = await ada.rpc_text("make", '{"mode":"kept"}')
        for number, bot in ((1, ada), (10, bob), (100, eve)):
            await bot.ask(match_join={"match_id": match_id})
            await add(bot, match_id, number)
        await until_total(eve, match_id, 111)
        before = kept(a).kept
        await until(lambda: kept(a).kept >= before + 2)
        ticks = (await asked(eve, match_id))["ticks"]
        town.cut_off("a")
        await until(lambda: runs_on(b, match_id)() or runs_on(c, match_id)())
        await until(lambda: others(b) == ["c"] and others(c) == ["b"])
        for number, bot in ((1_000, bob), (10_000, eve)):
            await add(bot, match_id, number)
        await until_total(bob, match_id, 11_111)
        assert runs_on(b, match_id)() != runs_on(c, match_id)()
        state = await asked(eve, match_id)
        assert (state["players"], state["left"]) == (["bob", "eve"], ["ada disconnect"])
        assert state["ticks"] >= ticks - 5
        await until_listed(bob, "+label.mode:kept", [match_id])
        await until(lambda: hears_of_leaves(bob) == hears_of_leaves(eve) == ["ada"])
        # The old node still plays, for nobody, and keeps nothing any more.
        await until(lambda: kept(a).refused > 0)


async def test_a_node_that_wakes_after_its_matches_were_adopted_drops_them_without_a_word(database_url: str) -> None:
    town = Town()
    async with with_checkpoints(database_url, town) as (a, b, c):
        bob, eve = await player(b, "bob"), await player(c, "eve")
        match_id = await (await a.bot("ada")).rpc_text("make", '{"mode":"kept"}')
        for bot in (bob, eve):
            await bot.ask(match_join={"match_id": match_id})
        await add(bob, match_id, 5)
        await until_total(bob, match_id, 5)
        before = kept(a).kept
        await until(lambda: kept(a).kept >= before + 2)
        wake = town.deafen("a")
        declare_dead(b, "a")
        await until(lambda: runs_on(b, match_id)() or runs_on(c, match_id)())
        assert runs_on(a, match_id)()
        wake()
        await until(lambda: not runs_on(a, match_id)())
        await until(lambda: all(len(others(one)) == 2 for one in (a, b, c)))
        ann = await player(a, "ann")
        await until_listed(ann, "+label.mode:kept", [match_id])
        await ann.ask(match_join={"match_id": match_id})
        await add(ann, match_id, 6)
        await until_total(eve, match_id, 11)
        state = await asked(ann, match_id)
        assert (state["players"], state["left"]) == (["ann", "bob", "eve"], [])
        assert hears_of_leaves(bob) == hears_of_leaves(eve) == []


async def test_a_match_without_a_checkpoint_ends_with_its_node_and_its_players_are_disconnected(
    database_url: str,
) -> None:
    town = Town()
    async with several(database_url, tally_game(), names="abc", town=town) as (a, b, c):
        bob, eve = await player(b, "bob"), await player(c, "eve")
        match_id = await (await a.bot("ada")).rpc_text("make")
        await bob.ask(match_join={"match_id": match_id})
        town.cut_off("a")
        await until(lambda: not bob.connected)
        assert eve.connected
        assert await eve.rpc_text("look", match_id) == ""


async def test_what_was_missed_of_matches_is_read_again(database_url: str) -> None:
    town = Town()
    async with several(database_url, tally_game(), town=town) as (a, b):
        ada, bob = await player(a, "ada"), await player(b, "bob")
        first = await ada.rpc_text("make", '{"mode":"first"}')
        await bob.ask(match_join={"match_id": first})
        hear = town.deafen("b")
        second = await ada.rpc_text("make", '{"mode":"second"}')
        await asked(ada, first, "end")
        hear()
        await until_listed(bob, "+handler_name:tally", [second])
        # It has ended for its members of other nodes as well.
        assert not [stream for stream in live(b).presences.of_mode(6) if stream.subject in first]
        assert actor_on(a, second) is not None


async def test_a_match_outlives_the_end_the_death_and_the_sleep_of_its_nodes(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    quick = {"cluster.beat_seconds": 0.2, "cluster.dead_seconds": 1.5, "resume.seconds": 0, "notice_seconds": 0.1}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(valkey_command(port), port))
        nodes = await stack.enter_async_context(
            running_nodes(tmp_path, database_url, game=GAME, redis_url=f"redis://127.0.0.1:{port}", settings=quick)
        )
        by_name = {node.name: node for node in nodes}

        async def member(node: NodeProcess) -> Bot:
            bot = await stack.enter_async_context(player_at(node.url))
            await bot.connect()
            await bot.ask(match_join={"match_id": match_id})
            return bot

        async def sends(bot: Bot, number: int) -> str:
            """Let a player send a number, and wait until that is in a checkpoint; the node that the match runs on."""
            await add(bot, match_id, number)
            async with asyncio.timeout(SECONDS_MAX):
                while number not in (state := await asked(bot, match_id))["seen"]:
                    pass
                enough = state["ticks"] + 2 * CHECKPOINT_TICKS
                while (state := await asked(bot, match_id))["ticks"] < enough:
                    pass
            return state["node"]

        ada = await stack.enter_async_context(player_at(nodes[0].url))
        match_id = await ada.rpc_text("make")
        bob, eve = await member(nodes[1]), await member(nodes[2])
        assert await sends(bob, 1) == "node-1"
        await nodes[0].stop()
        first = await sends(eve, 2)
        assert first in ("node-2", "node-3")
        await nodes[0].start()
        ann = await member(nodes[0])
        await sends(ann, 3)
        await by_name[first].kill()
        stays = eve if first == "node-2" else bob
        second = await survives(ann, match_id, first)
        await sends(stays, 4)
        by_name[second].signal(signal.SIGSTOP)
        awake = ann if second != "node-1" else stays
        third = await survives(awake, match_id, second)
        by_name[second].signal(signal.SIGCONT)
        await sends(awake, 5)
        # Until it notices that it was given up, it plays on by itself.
        late = await stack.enter_async_context(player_at(by_name[second].url))
        assert await survives(late, match_id, second) == third
        again = await member(by_name[second])
        assert await sends(again, 6) == third
        assert (await asked(awake, match_id))["seen"] == [1, 2, 3, 4, 5, 6]


async def survives(bot: Bot, match_id: str, before: str) -> str:
    """Wait until a match goes on on another node; which one."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                node = (await asked(bot, match_id))["node"]
            except BotError:
                continue
            if node != before:
                return node


async def test_a_node_without_a_place_for_checkpoints_says_so(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    game = tally_game(checkpoint_ticks=CHECKPOINT_TICKS)
    async with several(database_url, game, settings=Settings(cluster=QUICK)) as (a, _):
        ada = await player(a, "ada")
        for _ in range(2):
            await ada.rpc_text("make", "{}")
        assert capsys.readouterr().out.count("checkpoints need a redis_url") == 1
