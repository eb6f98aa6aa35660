"""Tickets of several nodes: one node makes the matches of all, whoever comes, goes or dies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from palestra import Context, Game
from palestra.core.config import ClusterSettings, MatchmakerSettings, Settings
from palestra.features.matchmaker.sharing import TicketSharing
from palestra.testing import Bot, BotError, Platform
from tests.cluster.cut import cut, kill, parts_of
from tests.cluster.servers import free_port, running, valkey_command
from tests.cluster.several import QUICK, several
from tests.cluster.test_moving import move
from tests.cluster.test_nodes import on
from tests.waiting import until

MODES = (
    MatchmakerSettings(max_tickets=100),
    MatchmakerSettings(max_tickets=100, mode="interval", interval_seconds=0.3),
)


def sharing(platform: Platform) -> TicketSharing:
    found = parts_of(platform).services.live.matchmaker.sharing
    assert isinstance(found, TicketSharing)
    return found


async def led(*platforms: Platform) -> Platform:
    """The node that makes matches, once all of these agree on it."""

    def agreed() -> bool:
        makers = {sharing(one).maker for one in platforms}
        return len(makers) == 1 and makers <= {one.node.settings.node for one in platforms}

    await until(agreed)
    return next(one for one in platforms if one.node.settings.node == sharing(platforms[0]).maker)


async def ticket(bot: Bot, query: str = "*", least: int = 2, most: int = 2, **properties: str) -> str:
    asked = {"min_count": least, "max_count": most, "query": query, "string_properties": properties}
    return (await bot.ask(matchmaker_add=asked))["matchmaker_ticket"]["ticket"]


def matched(bot: Bot) -> list[str]:
    """The tickets that a player was told are matched."""
    return [one["matchmaker_matched"]["ticket"] for one in bot.pushes if "matchmaker_matched" in one]


async def test_tickets_of_two_nodes_match_and_meet(database_url: str) -> None:
    async with several(database_url, names="abc") as nodes:
        maker = await led(*nodes)
        first, second = [one for one in nodes if one is not maker]
        ada, bob = await on(first, "ada"), await on(second, "bob")
        tickets = [await ticket(ada, name="a"), await ticket(bob, name="b")]
        told = [await bot.push("matchmaker_matched") for bot in (ada, bob)]
        assert [one["ticket"] for one in told] == tickets
        assert told[0]["token"] == told[1]["token"]
        assert sorted(user["presence"]["username"] for user in told[0]["users"]) == ["ada", "bob"]
        assert told[0]["self"]["presence"]["user_id"] == ada.id
        assert told[0]["self"]["string_properties"] == {"name": "a"}
        matches = [(await bot.ask(match_join={"token": told[0]["token"]}))["match"] for bot in (ada, bob)]
        assert matches[0]["match_id"] == matches[1]["match_id"]
        await until(lambda: any(one.get("match_presence_event", {}).get("joins") for one in ada.pushes))
        eve = await on(maker)
        await ticket(eve)
        await ticket(ada)
        assert (await eve.push("matchmaker_matched"))["users"]
        assert (await ada.push("matchmaker_matched"))["users"]


async def test_questions_are_answered_on_every_node(database_url: str) -> None:
    game = Game("asks")

    @game.rpc
    async def look(ctx: Context, ticket: str) -> list[Any]:
        why = await ctx.matchmaker.explain(ticket)
        stats = await ctx.matchmaker.stats()
        return [dict(why.counts), stats.ticket_count, [one.ticket for one in await ctx.matchmaker.tickets()]]

    @game.rpc
    async def withdraw(ctx: Context, ticket: str) -> int:
        await ctx.matchmaker.remove(ticket)
        return (await ctx.matchmaker.stats()).ticket_count

    async with several(database_url, game, names="abc") as nodes:
        await led(*nodes)
        bots = [await on(one) for one in nodes]
        tickets = [await ticket(bot, f"+properties.n:{number}") for number, bot in enumerate(bots)]
        for bot in bots:
            assert json.loads(await bot.rpc_text("look", tickets[0])) == [{"query": 2}, 3, tickets]
        own = await bots[1].call("GET", f"/v2/palestra/matchmaker/{tickets[1]}")
        assert own["reasons"] == {"query": 2}
        assert await bots[2].rpc_text("withdraw", tickets[1]) == "2"
        await bots[2].ask(matchmaker_remove={"ticket": tickets[2]})
        try:
            await bots[0].rpc_text("look", tickets[2])
            raise AssertionError("the ticket was withdrawn")
        except BotError as error:
            assert error.status == 404


async def test_games_form_and_place_matches_on_the_node_that_makes_them(database_url: str) -> None:
    game = Game("place")

    @game.matched
    async def place(ctx: Context, match: Any) -> str | None:
        return "11111111-1111-4111-8111-111111111111.a"

    async with several(database_url, game, names="ab") as nodes:
        await led(*nodes)
        bots = [await on(one) for one in nodes]
        for bot in bots:
            await ticket(bot)
        for bot in bots:
            assert (await bot.push("matchmaker_matched"))["match_id"] == "11111111-1111-4111-8111-111111111111.a"


async def test_running_matches_of_any_node_are_filled(database_url: str) -> None:
    game = Game("fill")

    @game.rpc
    async def fill(ctx: Context, count: str) -> str:
        return await ctx.matchmaker.backfill(
            "22222222-2222-4222-8222-222222222222.a",
            int(count),
            players=2,
            query="+properties.join:it",
            properties={"nobody": "here"},
        )

    @game.rpc
    async def end(ctx: Context, backfill: str) -> int:
        return await ctx.matchmaker.end_backfill(backfill)

    async with several(database_url, game, names="abc") as nodes:
        maker = await led(*nodes)
        first, second = [one for one in nodes if one is not maker]
        bots = [await on(one) for one in (first, second, maker)]
        backfill = await bots[0].rpc_text("fill", "4")
        for bot in bots:
            await ticket(bot, "+properties.nobody:here", 2, 6, join="it")
            assert (await bot.push("matchmaker_matched"))["match_id"].startswith("22222222")
        assert await bots[1].rpc_text("end", backfill) == "1"
        await ticket(bots[2], "+properties.nobody:here", 2, 6, join="it")
        await kill(maker)
        new = await led(first, second)
        again = await bots[0].rpc_text("fill", "2")
        await ticket(bots[1], "+properties.nobody:here", 2, 4, join="it")
        assert (await bots[1].push("matchmaker_matched"))["match_id"].startswith("22222222")
        assert await (bots[0] if new is second else bots[1]).rpc_text("end", again) == "1"


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.mode)
async def test_all_who_wait_are_matched_once_when_the_maker_is_killed(
    database_url: str, mode: MatchmakerSettings
) -> None:
    async with several(database_url, names="abc", settings=Settings(cluster=QUICK, matchmaker=mode)) as nodes:
        maker = await led(*nodes)
        rest = [one for one in nodes if one is not maker]
        ada, bob, lost = await on(rest[0]), await on(rest[1]), await on(maker)
        tickets = [await ticket(bot, f"+properties.mate:{n}", own=str(n)) for n in range(25) for bot in (ada, bob)]
        await ticket(lost)
        await kill(maker)
        assert await led(*rest)
        eve = await on(rest[0])
        for n in range(50):
            tickets.append(await ticket(eve, f"+properties.own:{n // 2}", mate=str(n // 2)))
        told = [ada, bob, eve]
        await until(lambda: sum(len(matched(bot)) for bot in told) >= len(tickets))
        assert sorted(one for bot in told for one in matched(bot)) == sorted(tickets)


async def test_a_maker_that_dies_between_agreement_and_match_leaves_nobody_behind(database_url: str) -> None:
    game, hold, asked = Game("slow"), asyncio.Event(), []

    @game.matched
    async def place(ctx: Context, match: Any) -> str | None:
        asked.append([entry.ticket for entry in match.entries])
        if len(asked) == 1:
            await hold.wait()
        return None

    async with several(database_url, game, names="abc") as nodes:
        maker = await led(*nodes)
        rest = [one for one in nodes if one is not maker]
        ada, bob = await on(rest[0]), await on(rest[1])
        tickets = [await ticket(ada), await ticket(bob)]
        await until(lambda: asked)
        assert all(len(parts_of(one).services.live.matchmaker.own.claims) == 1 for one in rest)
        await kill(maker)
        for bot, own in zip((ada, bob), tickets, strict=True):
            assert (await bot.push("matchmaker_matched"))["ticket"] == own
        assert asked[1] == tickets


@pytest.mark.parametrize("noticed", [True, False], ids=["and knows it", "and does not know"])
async def test_a_maker_that_is_cut_off_makes_way_and_comes_back_empty(database_url: str, noticed: bool) -> None:
    async with several(database_url, names="abc") as nodes:
        maker = await led(*nodes)
        rest = [one for one in nodes if one is not maker]
        ada, bob, lost = await on(rest[0]), await on(rest[1]), await on(maker)
        waiting = await ticket(ada, "+properties.mate:it")
        await ticket(lost, "+properties.nobody:it", mate="it")
        mend = cut(maker, noticed=noticed)
        await led(*rest)
        await until(lambda: not sharing(maker).maker)
        await ticket(bob, mate="it")
        assert (await ada.push("matchmaker_matched"))["ticket"] == waiting
        mend()
        await until(lambda: not lost.connected)
        assert len(parts_of(maker).services.live.matchmaker.own) == 0
        assert await led(*nodes) in rest
        back = await on(maker)
        await ticket(back)
        await ticket(ada)
        assert (await back.push("matchmaker_matched"))["users"]


async def test_a_maker_that_drains_leaves_it_to_others_at_once(database_url: str) -> None:
    async with several(database_url, names="abc") as nodes:
        maker = await led(*nodes)
        rest = [one for one in nodes if one is not maker]
        ada, bob = await on(rest[0]), await on(maker)
        await ticket(ada)
        parts_of(maker).services.live.matchmaker.stop()
        assert await led(*nodes) is not maker
        with pytest.raises(BotError):
            await ticket(bob)
        await ticket(await on(rest[1]))
        assert await ada.push("matchmaker_matched")


async def test_what_was_lost_on_the_way_is_announced_again(database_url: str) -> None:
    async with several(database_url, names="abc") as nodes:
        maker = await led(*nodes)
        first, second = [one for one in nodes if one is not maker]
        ada, bob, eve = await on(first), await on(second), await on(second)
        mend = cut(second, noticed=False)
        own = await ticket(ada)
        lost = await ticket(bob)
        mend()
        await bob.ask(matchmaker_remove={"ticket": lost})
        other = await ticket(eve)
        assert (await ada.push("matchmaker_matched"))["ticket"] == own
        assert (await eve.push("matchmaker_matched"))["ticket"] == other
        assert matched(bob) == []


async def test_a_ticket_goes_with_its_player_to_another_node(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        await led(a, b, c)
        ada, bob, eve = await on(a), await on(b), await on(c)
        tickets = [await ticket(ada, "+properties.who:eve", who="ada"), await ticket(bob, "+properties.who:bob")]
        await move(ada, a, b)
        await move(bob, b, c)
        assert [len(parts_of(one).services.live.matchmaker.own) for one in (a, b, c)] == [0, 1, 1]
        await a.node.stop()
        await led(b, c)
        await bob.ask(matchmaker_remove={"ticket": tickets[1]})
        await ticket(eve, who="eve")
        assert (await ada.push("matchmaker_matched"))["ticket"] == tickets[0]
        assert matched(bob) == []


async def test_over_valkey_as_well_owners_and_maker_agree_on_what_there_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubts: list[str] = []
    monkeypatch.setattr(TicketSharing, "_missed", lambda self, node: doubts.append(node))
    port = free_port()
    patient = ClusterSettings(beat_seconds=0.1, dead_seconds=20.0)
    async with running(valkey_command(port), port):
        given = Settings(redis_url=f"redis://127.0.0.1:{port}", cluster=patient, matchmaker=MODES[0])
        async with several(database_url, names="abc", settings=given) as nodes:
            await led(*nodes)
            bots = [await on(one) for one in nodes]
            tickets: list[str] = []
            for n in range(40):
                for bot in bots:
                    tickets.append(await ticket(bot, f"+properties.n:{n % 3}", n=str(n % 3)))
            await until(lambda: sum(len(matched(bot)) for bot in bots) >= len(tickets) - 4)
            told = [one for bot in bots for one in matched(bot)]
            assert len(told) == len(set(told))
            assert doubts == []
