"""Authoritative matches whose players are on several nodes."""

from __future__ import annotations

import pytest

from palestra.testing import BotError
from tests.cluster.several import several
from tests.cluster.tally import add, asked, heard, hears_of_leaves, listed, player, tally_game, until_listed
from tests.waiting import until


async def test_players_of_all_nodes_play_in_one_match(database_url: str) -> None:
    async with several(database_url, tally_game(), names="abc") as (a, b, c):
        ada, bob, eve = await player(a, "ada"), await player(b, "bob"), await player(c, "eve", format="protobuf")
        match_id = await ada.rpc_text("make", '{"mode":"duel"}')
        assert match_id.endswith(".a")
        for place, bot in enumerate((ada, bob, eve)):
            joined = (await bot.ask(match_join={"match_id": match_id}))["match"]
            assert (joined["authoritative"], joined.get("size", 0)) == (True, place)
            assert len(joined.get("presences", [])) == place
            assert joined["self"]["username"] == bot.username
            assert await heard(bot) == {"welcome": 0}
        for number, bot in ((1, ada), (20, bob), (300, eve)):
            await add(bot, match_id, number)
            told = [await heard(one) for one in (ada, bob, eve)]
            assert told[0] == told[1] == told[2]
        assert told[0] == {"total": 321}
        assert (await asked(eve, match_id))["players"] == ["ada", "bob", "eve"]
        await bob.ask(match_leave={"match_id": match_id})
        await eve.leave()
        await until(lambda: len(hears_of_leaves(ada)) == 2)
        state = await asked(ada, match_id)
        assert sorted(state["left"]) == ["bob leave", "eve disconnect"]


async def test_errors_are_those_of_one_node(database_url: str) -> None:
    async with several(database_url, tally_game()) as (a, b):
        ada, bob = await player(a, "ada"), await player(b, "bob")
        match_id = await ada.rpc_text("make", '{"seats":1}')
        for bad, message in (
            ({"match_id": match_id, "metadata": {"word": "wrong"}}, "no seat for you"),
            ({"match_id": f"{match_id[:36]}.nowhere"}, "Match not found"),
            ({"match_id": f"00000000-0000-4000-8000-000000000000.{'a'}"}, "Match not found"),
            ({"match_id": match_id[:36]}, "Invalid match ID"),
        ):
            with pytest.raises(BotError, match=message) as refused:
                await bob.ask(match_join=bad)
            with pytest.raises(BotError, match=message) as here:
                await ada.ask(match_join=bad)
            assert refused.value.code == here.value.code
        with pytest.raises(BotError, match="not that") as said:
            await asked(bob, match_id, "refuse")
        assert said.value.code == 9
        await bob.ask(match_join={"match_id": match_id})
        again = (await bob.ask(match_join={"match_id": match_id}))["match"]
        assert again["size"] == 1
        with pytest.raises(BotError, match="no seat for you"):
            await ada.ask(match_join={"match_id": match_id})
        # Who is no member is not heard.
        await add(ada, match_id, 5)
        await add(bob, match_id, 7)
        assert await heard(bob) == {"welcome": 0}
        assert await heard(bob) == {"total": 7}


async def test_every_node_lists_the_matches_of_all(database_url: str) -> None:
    async with several(database_url, tally_game(), names="abc") as (a, b, c):
        ada, bob, eve = await player(a, "ada"), await player(b, "bob"), await player(c, "eve")
        first, second = await ada.rpc_text("make", '{"mode":"duel"}'), await bob.rpc_text("make", '{"mode":"race"}')
        await bob.ask(match_join={"match_id": first})
        assert await eve.rpc_text("look", first) == '1 50 {"mode":"duel","open":true}'
        (found,) = await listed(eve, "+label.mode:duel")
        assert (found["match_id"], found["size"], found["tick_rate"]) == (first, 1, 50)
        assert found["handler_name"] == "tally"
        assert [one["match_id"] for one in await listed(eve, "+handler_name:tally")] == [second, first]
        assert [one["match_id"] for one in await listed(eve, "+node:b")] == [second]
        await asked(eve, first, "label over")
        assert [one["match_id"] for one in await listed(ada, "+label.mode:over")] == [first]
        await until_listed(eve, "+label.mode:over +label.open:F", [first])
        assert await listed(eve, "+label.mode:duel") == []
        await asked(eve, second, "end")
        await until_listed(eve, "+handler_name:tally", [first])
        assert await eve.rpc_text("look", second) == ""


async def test_a_kick_reaches_a_player_of_another_node(database_url: str) -> None:
    async with several(database_url, tally_game()) as (a, b):
        ada, bob = await player(a, "ada"), await player(b, "bob")
        match_id = await ada.rpc_text("make")
        for bot in (ada, bob):
            await bot.ask(match_join={"match_id": match_id})
        await asked(ada, match_id, "kick bob")
        await until(lambda: hears_of_leaves(ada) == ["bob"])
        state = await asked(bob, match_id)
        assert (state["players"], state["left"]) == (["ada"], ["bob kick"])
        await bob.settle()
        await add(bob, match_id, 5)
        await bob.settle()
        assert (await asked(ada, match_id))["total"] == 0


async def test_clients_on_other_nodes_follow_the_state(database_url: str) -> None:
    async with several(database_url, tally_game(sync="binary")) as (a, b):
        ada, bob = await player(a, "ada"), await player(b, "bob", format="protobuf")
        match_id = await ada.rpc_text("make")
        for bot in (ada, bob):
            await bot.ask(match_join={"match_id": match_id})
        await add(bob, match_id, 5)
        await until(lambda: all((bot.state(match_id) or {}).get("total") == 5 for bot in (ada, bob)))
