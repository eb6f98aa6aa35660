"""Players whose connection breaks off, on a whole node."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from palestra import Context, Game, Match, MatchMessage, MatchPlayer
from palestra.core.clock import ManualClock
from palestra.core.config import ResumeSettings, SessionSettings, Settings
from palestra.features.streams.contract import PARTY
from palestra.testing import Bot, Platform
from tests.gateway.websocket.test_flow import turn_until


class Nothing(msgspec.Struct):
    """The state of a match that has none."""


def data(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Arena:
    """Two players in a match on a node whose time the test moves; ann breaks off."""

    def __init__(self, platform: Platform, clock: ManualClock) -> None:
        self.platform = platform
        self.clock = clock
        parts = platform.node.parts
        assert parts is not None
        self.sockets = parts.sockets
        self.presences = parts.services.live.presences

    async def play(self) -> None:
        self.ann, self.bob = await self.platform.bot("ann"), await self.platform.bot("bob")
        await self.ann.connect()
        await self.bob.connect()
        self.match_id = (await self.ann.ask(match_create={}))["match"]["match_id"]
        await self.bob.ask(match_join={"match_id": self.match_id})
        for bot, joins in ((self.ann, 2), (self.bob, 1)):
            for _ in range(joins):
                await bot.push("match_presence_event")

    async def tell(self, bot: Bot, text: str) -> None:
        await bot.tell(
            match_data_send={"match_id": self.match_id, "op_code": "1", "data": data(text), "reliable": True}
        )
        await bot.ask(ping={})

    async def drop_ann(self) -> None:
        await self.ann.drop()
        await turn_until(lambda: self.sockets.connected == 1)

    async def ann_returns(self) -> None:
        await self.ann.connect()
        await self.ann.ask(ping={})

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.sockets.sweep()

    async def leaves(self) -> list[str]:
        """The names of those whose leaving bob has heard of by now; it is told some turns of the loop later."""
        for _ in range(3):
            await self.bob.ask(ping={})
        events = [one["match_presence_event"] for one in self.bob.pushes if "match_presence_event" in one]
        return [presence["username"] for event in events for presence in event.get("leaves", ())]


async def arena_on(platform: Platform, clock: ManualClock) -> Arena:
    arena = Arena(platform, clock)
    await arena.play()
    return arena


def settings(**resume: Any) -> Settings:
    return Settings(resume=ResumeSettings(**resume))


async def test_a_player_who_comes_back_in_time_has_missed_nothing_and_nobody_has_noticed(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        arena = await arena_on(platform, clock)
        await arena.drop_ann()
        for text in ("one", "two", "three"):
            await arena.tell(arena.bob, text)
        arena.later(14)
        await arena.ann_returns()
        assert [(await arena.ann.push("match_data"))["data"] for _ in range(3)] == [
            data("one"),
            data("two"),
            data("three"),
        ]
        # She is still in the match, under the session that others know.
        await arena.tell(arena.ann, "back")
        assert (await arena.bob.push("match_data"))["data"] == data("back")
        assert await arena.leaves() == []
        joined = (await arena.ann.ask(match_join={"match_id": arena.match_id}))["match"]
        assert (joined["size"], len(joined["presences"])) == (2, 2)
        assert not arena.bob.pushes


async def test_the_others_are_told_when_a_player_does_not_come_back(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        arena = await arena_on(platform, clock)
        await arena.drop_ann()
        arena.later(14.9)
        assert await arena.leaves() == []
        arena.later(0.2)
        assert await arena.leaves() == ["ann"]


async def test_a_feature_may_wait_for_less_long_than_the_session(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock, settings=settings(match_seconds=3)) as platform:
        arena = await arena_on(platform, clock)
        await arena.drop_ann()
        arena.later(2.9)
        assert await arena.leaves() == []
        arena.later(0.2)
        assert await arena.leaves() == ["ann"]
        await arena.ann_returns()
        assert arena.sockets.resumed_count == 1
        assert (await arena.ann.ask(match_join={"match_id": arena.match_id}))["match"]["size"] == 1


async def test_a_match_that_lets_go_earlier_hears_of_a_disconnect(database_url: str) -> None:
    game, clock, gone = Game("seats"), ManualClock(), list[str]()

    @game.match("seats", ticks_per_second=1)
    class Seats(Match[Nothing]):
        def init(self) -> Nothing:
            return Nothing()

        def tick(self, messages: list[MatchMessage]) -> None:
            pass

        def leave(self, players: list[MatchPlayer]) -> None:
            gone.extend(player.left for player in players)

    @game.rpc
    async def seat(ctx: Context) -> str:
        return await ctx.matches.create("seats")

    chosen = settings(match_seconds=3)
    async with Platform.start(game, database_url=database_url, clock=clock, settings=chosen) as platform:
        arena = await arena_on(platform, clock)
        await arena.ann.ask(match_join={"match_id": await arena.ann.rpc_text("seat")})
        await arena.drop_ann()
        arena.later(3)
        await turn_until(lambda: gone == ["disconnect"])


async def in_party_and_queue(arena: Arena) -> None:
    """Bob opens a party that ann joins, and ann asks for a match by herself."""
    party = (await arena.bob.ask(party_create={"open": True, "max_size": 4}))["party"]
    await arena.ann.ask(party_join={"party_id": party["party_id"]})
    await arena.ann.ask(matchmaker_add={"min_count": 2, "max_count": 2, "query": "*"})
    await arena.bob.ask(ping={})


def seats_and_tickets(arena: Arena) -> tuple[int, int]:
    """How many seats in parties are taken, and how many sessions have tickets."""
    parts = arena.platform.node.parts
    assert parts is not None
    seats = sum(len(members) for members in arena.presences.of_mode(PARTY).values())
    return seats, len(parts.services.live.matchmaker.own)


async def test_seats_in_parties_and_tickets_are_kept_and_end_with_the_session(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        arena = await arena_on(platform, clock)
        await in_party_and_queue(arena)
        assert seats_and_tickets(arena) == (2, 1)
        await arena.drop_ann()
        arena.later(14)
        await arena.ann_returns()
        assert seats_and_tickets(arena) == (2, 1)
        await arena.drop_ann()
        arena.later(15)
        await turn_until(lambda: len(arena.sockets.sessions) == 1)
        assert seats_and_tickets(arena) == (1, 0)


async def test_parties_and_the_matchmaker_may_let_go_earlier(database_url: str) -> None:
    clock = ManualClock()
    chosen = settings(party_seconds=2, matchmaker_seconds=4, status_seconds=0, chat_seconds=0)
    async with Platform.start(database_url=database_url, clock=clock, settings=chosen) as platform:
        arena = await arena_on(platform, clock)
        await in_party_and_queue(arena)
        assert seats_and_tickets(arena) == (2, 1)
        await arena.drop_ann()
        arena.later(3)
        assert seats_and_tickets(arena) == (1, 1)
        arena.later(2)
        assert seats_and_tickets(arena) == (1, 0)
        assert len(arena.sockets.sessions) == 2


async def test_without_a_grace_everybody_leaves_at_once(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock, settings=settings(seconds=0)) as platform:
        arena = await arena_on(platform, clock)
        await arena.drop_ann()
        assert await arena.leaves() == ["ann"]


async def test_a_player_who_is_banned_meanwhile_leaves_and_does_not_come_back(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        arena = await arena_on(platform, clock)
        await arena.drop_ann()
        parts = platform.node.parts
        assert parts is not None
        await parts.services.accounts.ban([arena.ann.id])
        await turn_until(lambda: len(arena.sockets.sessions) == 1)
        assert await arena.leaves() == ["ann"]
        with pytest.raises(Exception, match="401"):
            await arena.ann.connect()


async def test_of_the_sockets_of_a_player_the_newest_may_be_the_only_one(database_url: str) -> None:
    chosen = Settings(session=SessionSettings(single_socket=True))
    async with Platform.start(database_url=database_url, settings=chosen) as platform:
        first = await platform.bot("ann")
        await first.connect()
        second = Bot(platform.http, platform.url, "defaultkey", first.device_id)
        await second.log_in()
        await second.connect()
        (told,) = (await first.push("notifications"))["notifications"]
        assert (told["subject"], told["content"], told["code"], "persistent" in told) == (
            "single_socket",
            "{}",
            -7,
            False,
        )
        assert await first.closed() == 1000
        await second.ask(ping={})
        # One that is away gives way too: to its own player's next socket, which goes on with it.
        await second.drop()
        parts = platform.node.parts
        assert parts is not None
        await turn_until(lambda: parts.sockets.connected == 0)
        await first.connect()
        await first.ask(ping={})
        assert (len(parts.sockets.sessions), parts.sockets.resumed_count) == (1, 1)
        await second.leave()
