"""Authoritative matches that outlive their node: handed over when it stops, adopted when it dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palestra import Game, Match, MatchMessage
from palestra.cluster import bus as cluster_bus
from palestra.core.config import MatchSettings, Settings
from palestra.features.matches import directory
from palestra.features.matches.handover import SNAPSHOT_BYTES_MAX, HandOver
from palestra.features.matches.replay import heading_of, replay
from palestra.sdk.match import replay_handler
from palestra.testing import BotError
from tests.cluster.several import QUICK, Line, Town, several
from tests.cluster.tally import (
    Tally,
    actor_on,
    add,
    asked,
    heard,
    hears_of_leaves,
    listed,
    live,
    player,
    runs_on,
    tally_game,
    until_listed,
    until_total,
)
from tests.cluster.test_moving import move
from tests.waiting import until

GOODBYE = 9


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
    settings = Settings(cluster=QUICK, match=MatchSettings(input_queue_max=100_000))
    async with several(database_url, tally_game(), names="abc", settings=settings) as (a, b, c):
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


async def test_a_match_that_came_from_a_node_that_stays_is_over_when_it_ends(database_url: str) -> None:
    async with several(database_url, tally_game()) as (a, b):
        eve = await player(b, "eve")
        match_id = await (await a.bot("ada")).rpc_text("make", '{"mode":"long"}')
        here, there = live(a).running, live(b).running
        assert isinstance(here.mover, HandOver)
        actor = actor_on(a, match_id)
        assert actor is not None
        await here.mover.hand_over([actor], 5.0)
        await until(runs_on(b, match_id))
        # As after a gap: the other node tells of all that it has, and of what it has given away.
        here.mover._directory._tell_everything("b", None)  # pyright: ignore[reportPrivateUsage]
        await eve.settle()
        taken = actor_on(b, match_id)
        assert taken is not None
        taken.stop()
        await until(lambda: not runs_on(b, match_id)())
        assert there.newest_first() == []
        await until(lambda: here.newest_first() == [])


async def test_no_match_ends_when_a_part_of_a_listing_is_lost(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_bus, "PACKET_BYTES_MAX", 1)
    monkeypatch.setattr(directory, "PART_MATCHES", 1)
    monkeypatch.setattr(directory, "ASK_SECONDS", 0.2)
    async with several(database_url, tally_game()) as (a, b):
        ada, bob = await a.bot("ada"), await player(b, "bob")
        matches = [await ada.rpc_text("make", '{"mode":"long"}') for _ in range(3)]
        for match_id in matches:
            await bob.ask(match_join={"match_id": match_id})
        mover = live(b).running.mover
        assert isinstance(mover, HandOver)
        parts = 0
        publish = Line.publish

        def losing(self: Line, to: str, packet: bytes) -> bool:
            nonlocal parts
            parts += b"match.part" in packet
            return (b"match.part" in packet and parts in (2, 4)) or publish(self, to, packet)

        monkeypatch.setattr(Line, "publish", losing)
        mover._directory._ask("a")  # pyright: ignore[reportPrivateUsage]
        await until(lambda: parts >= 9)
        assert len(await listed(bob, "+label.mode:long")) == 3
        for match_id in matches:
            await add(bob, match_id, 1)
            await until_total(bob, match_id, 1)


async def test_clients_that_follow_the_state_go_on_with_a_whole_one(database_url: str) -> None:
    async with several(database_url, tally_game(sync="binary"), names="abc") as (a, b, c):
        bob, eve = await player(b, "bob"), await player(c, "eve", format="protobuf")
        match_id = await (await a.bot("ada")).rpc_text("make")
        for number, bot in ((1, bob), (10, eve)):
            await bot.ask(match_join={"match_id": match_id})
            await add(bot, match_id, number)
        await until(lambda: all((bot.state(match_id) or {}).get("total") == 11 for bot in (bob, eve)))
        await a.node.stop()
        await add(bob, match_id, 100)
        await until(lambda: all(bot.state(match_id)["total"] == 111 for bot in (bob, eve)))
        assert bob.state(match_id)["left"] == []


@pytest.mark.parametrize("format", ["json", "protobuf"])
async def test_a_player_and_its_match_both_move_and_nobody_notices(database_url: str, format: str) -> None:
    async with several(database_url, tally_game(), names="abc") as (a, b, c):
        ada, bob = await player(a, "ada", format=format), await player(b, "bob")
        match_id = await ada.rpc_text("make")
        for bot in (ada, bob):
            await bot.ask(match_join={"match_id": match_id})
        await add(ada, match_id, 1)
        await until_total(bob, match_id, 1)
        await move(ada, a, c, format)
        await add(ada, match_id, 10)
        await until_total(bob, match_id, 11)
        await a.node.stop()
        assert runs_on(b, match_id)() != runs_on(c, match_id)()
        await add(ada, match_id, 100)
        await until_total(bob, match_id, 111)
        state = await asked(bob, match_id)
        assert (state["players"], state["left"]) == (["ada", "bob"], [])
        assert [await heard(bob) for _ in range(4)][1:] == [{"total": total} for total in (1, 11, 111)]
        await until(lambda: len([one for one in ada.pushes if "match_data" in one]) == 4)
        assert hears_of_leaves(bob) == hears_of_leaves(ada) == []


async def test_who_joins_or_leaves_while_a_match_moves_is_in_or_out_afterwards(database_url: str) -> None:
    async with several(database_url, tally_game(), names="ab") as (a, b):
        bob = await player(b, "bob")
        match_id = await (await a.bot("ada")).rpc_text("make")
        await bob.ask(match_join={"match_id": match_id})
        actor, mover = actor_on(a, match_id), live(a).running.mover
        assert actor is not None and isinstance(mover, HandOver)
        assert await actor.freeze(1.0)
        await bob.ask(match_leave={"match_id": match_id})
        carl = await player(b, "carl")
        joining = asyncio.create_task(carl.ask(match_join={"match_id": match_id}))
        asking = asyncio.create_task(asked(carl, match_id))
        await until(lambda: len(actor._waiting) == 3)
        assert await mover._given(actor, float("inf"))
        assert (await joining)["match"]["self"]["username"] == "carl"
        assert (await asking)["node"] == "b"
        state = await asked(carl, match_id)
        assert (state["players"], state["left"]) == (["carl"], ["bob leave"])


@pytest.mark.parametrize("how", ["refuses", "does not answer"])
async def test_a_match_goes_to_another_node_when_the_first_one_does_not_take_it(database_url: str, how: str) -> None:
    town = Town()
    async with several(database_url, tally_game(), names="abc", town=town) as (a, b, c):
        eve = await player(c, "eve")
        match_id = await (await a.bot("ada")).rpc_text("make")
        await eve.ask(match_join={"match_id": match_id})
        await (await c.bot("carl")).rpc_text("make")
        hear: Callable[[], None] | None = None
        if how == "refuses":
            live(b).running._draining = True
        else:
            hear = town.deafen("b")
        actor, mover = actor_on(a, match_id), live(a).running.mover
        assert actor is not None and mover is not None
        await mover.hand_over([actor], 30.0)
        if hear is not None:
            hear()
        assert runs_on(c, match_id)() and not runs_on(b, match_id)() and not runs_on(a, match_id)()
        await add(eve, match_id, 1)
        await until_total(eve, match_id, 1)


def stubborn_game() -> Game:
    """Matches that cannot move, for one reason each, and one that writes itself."""
    game = Game("stubborn")

    class Quiet(Match[Tally]):
        def init(self) -> Tally:
            return Tally()

        def tick(self, messages: list[MatchMessage]) -> None:
            self.state.ticks += 1

        def terminate(self, grace_seconds: float) -> None:
            self.broadcast(GOODBYE, "goodbye")
            self.end()

    @game.match("listed", ticks_per_second=50)
    class Listed(Quiet):
        def init(self) -> Tally:
            self.outside = ["not in the state"]
            return Tally()

    @game.match("large", ticks_per_second=50)
    class Large(Quiet):
        def init(self) -> Tally:
            return Tally(left=["x" * SNAPSHOT_BYTES_MAX])

    @game.match("untyped", ticks_per_second=50)
    class Untyped(Match[Any]):
        terminate = Quiet.terminate

        def init(self) -> Any:
            return object()

        def tick(self, messages: list[MatchMessage]) -> None:
            """Nothing happens."""

    @game.match("written", ticks_per_second=50)
    class Written(Quiet):
        def init(self) -> Tally:
            self.outside = {"seeds": self.random.getrandbits(64)}
            return Tally()

        def snapshot(self) -> tuple[int, dict[str, int]]:
            return self.state.ticks, self.outside

        def restore(self, snapshot: tuple[int, dict[str, int]]) -> Tally:
            ticks, self.outside = snapshot
            return Tally(ticks=ticks)

        def signal(self, data: str) -> str:
            return json.dumps({"node": self.node, "ticks": self.state.ticks, **self.outside})

    @game.rpc
    async def make(ctx: Any, payload: str) -> str:
        return await ctx.matches.create(payload)

    @game.rpc
    async def ask(ctx: Any, payload: str) -> str:
        return await ctx.matches.signal(payload, "")

    return game


async def test_a_match_that_cannot_move_comes_to_its_end(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with several(database_url, stubborn_game()) as (a, b):
        ada, bob = await a.bot("ada"), await player(b, "bob")
        matches = [await ada.rpc_text("make", name) for name in ("listed", "large", "untyped")]
        for match_id in matches:
            await bob.ask(match_join={"match_id": match_id})
        await a.node.stop()
        for _ in matches:
            assert (await bob.push("match_data"))["op_code"] == str(GOODBYE)
        for match_id in matches:
            with pytest.raises(BotError, match="Match not found"):
                await bob.ask(match_join={"match_id": match_id})
        assert not live(b).presences.of_mode(6)
        assert bob.connected
        log = capsys.readouterr().out
        for reason in ("self.outside is not in self.state", "at most 524288 can move", "name the type of the state"):
            assert reason in log


async def test_a_match_may_write_itself(database_url: str) -> None:
    async with several(database_url, stubborn_game()) as (a, b):
        bob = await b.bot("bob")
        match_id = await (await a.bot("ada")).rpc_text("make", "written")
        before = json.loads(await bob.rpc_text("ask", match_id))
        await a.node.stop()
        after = json.loads(await bob.rpc_text("ask", match_id))
        assert (after["node"], after["seeds"]) == ("b", before["seeds"])
        assert after["ticks"] >= before["ticks"]


async def test_the_record_of_a_match_that_moves_goes_on_on_its_new_node(database_url: str, tmp_path: Path) -> None:
    settings = Settings(cluster=QUICK, match=MatchSettings(record_dir=str(tmp_path)))
    game = tally_game()
    async with several(database_url, game, settings=settings) as (a, b):
        bob = await player(b, "bob")
        match_id = await (await a.bot("ada")).rpc_text("make")
        await bob.ask(match_join={"match_id": match_id})
        await add(bob, match_id, 5)
        await until_total(bob, match_id, 5)
        await a.node.stop()
        await add(bob, match_id, 6)
        await until_total(bob, match_id, 11)
    for lines, ended in zip(records(tmp_path), ("moved to b", "over"), strict=True):
        heading = lines.pop(0)
        again = await replay(heading_of(heading), lines, replay_handler([game], "tally"))
        assert (again.difference, again.error, again.ended) == ("", None, ended)
        assert again.compared > 0


def records(folder: Path) -> list[list[bytes]]:
    """The lines of all records, the one of the match's beginning first."""
    files = sorted(folder.glob("tally-*.ndjson"), key=lambda file: len(file.name))
    return [file.read_bytes().splitlines() for file in files]
