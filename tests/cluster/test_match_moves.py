"""Authoritative matches that outlive their node: handed over when it stops, adopted when it dies."""

from __future__ import annotations

import asyncio

import pytest

from palestra.testing import BotError
from tests.cluster.several import Town, several
from tests.cluster.tally import (
    actor_on,
    add,
    asked,
    hears_of_leaves,
    listed,
    player,
    runs_on,
    tally_game,
    until_listed,
    until_total,
)
from tests.waiting import until


async def test_a_node_that_stops_hands_its_matches_over(database_url: str) -> None:
    async with several(database_url, tally_game(), names="abc") as (a, b, c):
        ada, bob, eve = await player(a, "ada"), await player(b, "bob"), await player(c, "eve")
        matches = [await ada.rpc_text("make", '{"mode":"duel","seats":2}') for _ in range(2)]
        for match_id in matches:
            for bot in (bob, eve):
                await bot.ask(match_join={"match_id": match_id})
            await add(bob, match_id, 1)
        await until(lambda: all(actor_on(a, match_id).desk.tick_number > 5 for match_id in matches))  # type: ignore[union-attr]
        before = [await asked(eve, match_id) for match_id in matches]
        dan = await player(b, "dan")
        await a.node.stop()
        assert sorted(int(runs_on(b, match_id)()) + int(runs_on(c, match_id)()) for match_id in matches) == [1, 1]
        assert runs_on(b, matches[0])() != runs_on(b, matches[1])(), "each took one"
        for match_id, was in zip(matches, before, strict=True):
            for sent, bot in ((10, bob), (100, eve)):
                await add(bot, match_id, sent)
                await bot.settle()
            await until_total(eve, match_id, 111)
            state = await asked(bob, match_id)
            assert state["node"] in "bc"
            assert state["seen"] == [1, 10, 100]
            assert (state["players"], state["left"]) == (["bob", "eve"], [])
            assert state["ticks"] > was["ticks"]
            assert (await listed(bob, "+label.mode:duel +tick_rate:50"))[0]["size"] == 2
            with pytest.raises(BotError, match="no seat for you"):
                await dan.ask(match_join={"match_id": match_id})
        assert hears_of_leaves(bob) == hears_of_leaves(eve) == []


async def test_what_is_sent_while_a_match_moves_arrives_once_and_in_order(database_url: str) -> None:
    async with several(database_url, tally_game(), names="abc") as (a, b, c):
        bob, eve = await player(b, "bob"), await player(c, "eve")
        match_id = await (await a.bot("ada")).rpc_text("make")
        for bot in (bob, eve):
            await bot.ask(match_join={"match_id": match_id})
        stopping = asyncio.create_task(a.node.stop())
        number = 0
        while not stopping.done() or number < 100:
            number += 1
            await asyncio.gather(add(bob, match_id, number), add(eve, match_id, 10_000 + number))
        await stopping
        await asyncio.gather(bob.settle(), eve.settle())
        await until_total(bob, match_id, number * (number + 1) + 10_000 * number)
        seen = (await asked(bob, match_id))["seen"]
        assert [one for one in seen if one <= 10_000] == list(range(1, number + 1))
        assert [one for one in seen if one > 10_000] == list(range(10_001, 10_001 + number))


async def test_a_match_moves_on_and_on_and_nodes_that_come_later_know_where_it_is(database_url: str) -> None:
    town = Town()
    async with several(database_url, tally_game(), names="abc", town=town) as (a, b, c):
        eve = await player(c, "eve")
        match_id = await (await a.bot("ada")).rpc_text("make", '{"mode":"long"}')
        await eve.ask(match_join={"match_id": match_id})
        await a.node.stop()
        async with several(database_url, tally_game(), names="d", town=town) as (d,):
            dan = await player(d, "dan")
            await until_listed(dan, "+label.mode:long", [match_id])
            await b.node.stop()
            await until(lambda: runs_on(c, match_id)() or runs_on(d, match_id)())
            await dan.ask(match_join={"match_id": match_id})
            async with several(database_url, tally_game(), names="a", town=town) as (again,):
                ann = await player(again, "ann")
                await until_listed(ann, "+label.mode:long", [match_id])
                await ann.ask(match_join={"match_id": match_id})
                for number, bot in ((1, dan), (10, ann), (100, eve)):
                    await add(bot, match_id, number)
                await until_total(ann, match_id, 111)
                state = await asked(dan, match_id)
                assert (state["players"], state["left"]) == (["ann", "dan", "eve"], [])


async def test_who_joins_or_leaves_while_a_match_moves_is_in_or_out_afterwards(database_url: str) -> None:
    async with several(database_url, tally_game(), names="ab") as (a, b):
        bob = await player(b, "bob")
        match_id = await (await a.bot("ada")).rpc_text("make")
        await bob.ask(match_join={"match_id": match_id})
        parts = a.node.parts
        assert parts is not None
        actor = actor_on(a, match_id)
        assert actor is not None
        assert await actor.freeze(1.0)
        leaving = asyncio.create_task(bob.ask(match_leave={"match_id": match_id}))
        await leaving
        carl = await player(b, "carl")
        joining = asyncio.create_task(carl.ask(match_join={"match_id": match_id}))
        asking = asyncio.create_task(asked(carl, match_id))
        await until(lambda: len(actor._waiting) == 3)
        mover = parts.services.live.running.mover
        assert mover is not None
        actor.thaw = lambda: None  # type: ignore[method-assign]
        snapshot_taken = await mover._given(actor)  # type: ignore[attr-defined]
        assert snapshot_taken
        assert (await joining)["match"]["self"]["username"] == "carl"
        assert (await asking)["node"] == "b"
        state = await asked(carl, match_id)
        assert (state["players"], state["left"]) == (["carl"], ["bob leave"])
