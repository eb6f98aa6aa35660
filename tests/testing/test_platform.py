"""The kit that game developers test with: a node inside the test, bots that play, a clock that obeys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from palestra import Context, Game, Match, MatchMessage
from palestra.core.clock import ManualClock
from palestra.testing import BotError, Platform


class Sent(msgspec.Struct):
    """How many messages there were."""

    count: int = 0


async def test_a_game_is_tested_with_bots_and_a_clock_and_nothing_is_left_behind(database_url: str) -> None:
    game, clock = Game("kit"), ManualClock()

    @game.rpc
    async def claim(ctx: Context, day: int) -> float:
        return ctx.now() + day

    tasks = asyncio.all_tasks()
    async with Platform.start(game, database_url=database_url, clock=clock) as platform:
        folder = Path(platform.node.settings.data_dir)
        ann, bob = await platform.bot("ann", team="red"), await platform.bot()
        assert (ann.username, len(bob.username), ann.id != bob.id) == ("ann", 10, True)
        assert await ann.rpc("claim", 1) == clock.now() + 1
        clock.advance(60)
        assert await ann.rpc("claim", 1) == clock.now() + 1

        await ann.connect()
        await bob.connect(format="protobuf")
        match = (await ann.ask(match_create={}))["match"]["match_id"]
        await bob.ask(match_join={"match_id": match})
        joined = [(await ann.push("match_presence_event"))["joins"][0]["user_id"] for _ in range(2)]
        assert joined == [ann.id, bob.id]
        for sender, receiver in ((ann, bob), (bob, ann)):
            await sender.tell(match_data_send={"match_id": match, "op_code": "1", "data": "aGk="})
            heard = await receiver.push("match_data")
            assert (heard["presence"]["user_id"], heard["op_code"], heard["data"]) == (sender.id, "1", "aGk=")
        with pytest.raises(BotError) as refused:
            await bob.ask(match_join={"match_id": "nonsense."})
        assert refused.value.status == 0

        clock.advance(platform.node.settings.session.token_seconds)
        with pytest.raises(BotError) as refused:
            await ann.rpc("claim", 1)
        assert (refused.value.status, refused.value.code) == (401, 16)
        assert folder.exists()  # noqa: ASYNC240
    assert not folder.exists()  # noqa: ASYNC240
    # A node takes its tasks along; a driver may still be closing a connection.
    left = [task.get_name() for task in asyncio.all_tasks() - tasks]
    assert not [name for name in left if name.startswith(("batch", "listener", "slow", "socket", "housekeeping"))]


async def test_a_failing_test_stops_the_node_all_the_same(database_url: str) -> None:
    with pytest.raises(KeyError):
        async with Platform.start(database_url=database_url) as platform:
            raise KeyError("the test's own")
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", platform.node.port)


async def test_matches_tick_at_the_tests_word_and_nothing_is_under_way_afterwards(database_url: str) -> None:
    game = Game("kit")

    @game.match("echo", ticks_per_second=20)
    class Echo(Match[Sent]):
        def init(self) -> Sent:
            return Sent()

        async def tick(self, messages: list[MatchMessage]) -> None:
            for message in messages:
                self.state.count += 1
                await self.ctx.storage.put("echo", "last", {"count": self.state.count}, user_id=message.sender.id)
                self.broadcast(self.tick_number, message.data, sender=message.sender)

    @game.rpc
    async def begin(ctx: Context) -> str:
        return await ctx.matches.create("echo")

    async with Platform.start(game, database_url=database_url, clock=ManualClock()) as platform:
        ann, bob = await platform.bot("ann"), await platform.bot("bob")
        await ann.connect()
        await bob.connect(format="protobuf")
        match_id = await ann.rpc_text("begin")
        reply = (await ann.ask(match_join={"match_id": match_id}))["match"]
        assert (reply["authoritative"], reply["label"]) == (True, "")
        await bob.ask(match_join={"match_id": match_id})
        await platform.ticks(3)
        for sender in (ann, bob):
            await sender.tell(match_data_send={"match_id": match_id, "op_code": "1", "data": "aGk="})
        # In words that only the thorough decoder understands.
        await ann.tell(cid="x", match_data_send={"matchId": match_id, "op_code": 1, "data": "aGk"})
        await platform.ticks()
        for bot in (ann, bob):
            heard = [one["match_data"] for one in bot.pushes if "match_data" in one]
            assert sorted(one["presence"]["username"] for one in heard) == ["ann", "ann", "bob"]
            assert {(one["op_code"], one["data"]) for one in heard} == {("3", "aGk=")}
        metrics = await (await platform.http.get(f"{platform.console_url}/metrics")).text()
        assert 'palestra_match_ticks_total{match="echo"} 4.0' in metrics
        assert 'palestra_matches{match="echo"} 1.0' in metrics


async def test_a_node_that_stops_lets_its_matches_say_goodbye(database_url: str) -> None:
    game = Game("kit")

    @game.match("lobby", ticks_per_second=20)
    class Lobby(Match[Sent]):
        def init(self) -> Sent:
            return Sent()

        def tick(self, messages: list[MatchMessage]) -> None:
            if self.state.count:
                self.state.count += 1
            if self.state.count == 4:
                self.broadcast(2, "until tomorrow")
                self.end()

        def terminate(self, grace_seconds: float) -> None:
            self.state.count = 1
            self.broadcast(1, f"{grace_seconds:g} s left")

    @game.rpc
    async def begin(ctx: Context) -> str:
        return await ctx.matches.create("lobby")

    async with Platform.start(game, database_url=database_url) as platform:
        ann = await platform.bot("ann")
        await ann.connect()
        match_id = await ann.rpc_text("begin")
        await ann.ask(match_join={"match_id": match_id})
        await platform.node.stop()
        await ann.closed()
        told = [one["match_data"] for one in ann.pushes if "match_data" in one]
        assert [one["op_code"] for one in told] == ["1", "2"]
