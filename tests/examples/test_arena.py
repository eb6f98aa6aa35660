"""The arena example without a browser: bots steer, the test says when a tick is."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from examples.arena.game import BEGIN, END, LOOK, PLAYERS_MAX, RUN_SECONDS, STEER, TICKS_PER_SECOND, game
from palestra.core.clock import ManualClock
from palestra.testing import Bot, BotError, Platform


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game, database_url=database_url, clock=ManualClock()) as running:
        yield running


class Player:
    """One player in a room."""

    def __init__(self, platform: Platform, bot: Bot, match_id: str) -> None:
        self._platform = platform
        self.bot = bot
        self.match_id = match_id
        self.session_id = ""

    @property
    def field(self) -> Any:
        return self.bot.state(self.match_id)

    @property
    def disc(self) -> Any:
        return next(disc for disc in self.field["discs"].values() if disc["session_id"] == self.session_id)

    async def say(self, op_code: int, body: Any = None) -> None:
        await self.bot.send(self.match_id, op_code, body)
        await self._platform.ticks()

    async def catch_a_spark(self) -> None:
        """Steer to the nearest spark, slowly, until the score has risen."""
        score = self.disc["score"]
        for _ in range(RUN_SECONDS * TICKS_PER_SECOND):
            disc = self.disc
            if disc["score"] > score:
                return
            ways = [(spark["x"] - disc["x"], spark["y"] - disc["y"]) for spark in self.field["sparks"]]
            x, y = min(ways, key=lambda way: math.hypot(*way))
            far = math.hypot(x, y)
            await self.say(STEER, {"dx": 0.3 * x / far, "dy": 0.3 * y / far})
        raise AssertionError("no spark was caught in a whole run")


async def entered(platform: Platform, room: str = "lobby") -> Player:
    bot = await platform.bot()
    await bot.connect()
    player = Player(platform, bot, (await bot.rpc("enter", {"room": room}))["match_id"])
    joined = await bot.ask(match_join={"match_id": player.match_id})
    player.session_id = joined["match"]["self"]["session_id"]
    await platform.settle()
    return player


async def test_players_of_a_room_see_each_other_move(platform: Platform) -> None:
    ada, bob, other = await entered(platform), await entered(platform), await entered(platform, "elsewhere")
    assert ada.match_id == bob.match_id != other.match_id
    await ada.say(LOOK, {"name": " Ada ", "hue": 24})
    await ada.say(BEGIN)
    start = ada.disc["x"]
    await ada.say(STEER, {"dx": 1, "dy": 0})
    await platform.ticks(5)
    assert (ada.disc["name"], ada.disc["hue"], ada.disc["seconds_left"]) == ("Ada", 24, RUN_SECONDS)
    assert 40 < ada.disc["x"] - start < 50
    assert bob.field == ada.field
    await ada.bot.ask(match_leave={"match_id": ada.match_id})
    await platform.ticks()
    assert [disc["session_id"] for disc in bob.field["discs"].values()] == [bob.session_id]


async def test_the_server_counts_and_hands_in_what_a_run_has_caught(platform: Platform) -> None:
    ada, bob = await entered(platform), await entered(platform)
    await ada.say(BEGIN)
    await ada.catch_a_spark()
    assert bob.field == ada.field
    # One step may reach two sparks at once.
    discs = ada.field["discs"]
    assert {discs[one["by"]]["session_id"] for one in bob.field["sparks"] if one["taken"]} == {ada.session_id}
    await ada.say(END)
    score = ada.disc["score"]
    assert (await bob.bot.push("match_data"))["op_code"] == "5"
    board = await bob.bot.call("GET", "/v2/leaderboard/arena")
    assert [(row["owner_id"], int(row["score"])) for row in board["records"]] == [(ada.bot.id, score)]
    with pytest.raises(BotError):
        await bob.bot.call("POST", "/v2/leaderboard/arena", {"score": "1000"})


async def test_a_run_ends_with_its_time_and_with_its_player(platform: Platform) -> None:
    ada, bob = await entered(platform), await entered(platform)
    await ada.say(BEGIN)
    await platform.ticks(RUN_SECONDS * TICKS_PER_SECOND - 1)
    assert ada.disc["seconds_left"] == 1
    await platform.ticks()
    assert ada.disc["seconds_left"] == 0
    await bob.say(BEGIN)
    await bob.catch_a_spark()
    await bob.bot.leave()
    await platform.ticks()
    board = await ada.bot.call("GET", "/v2/leaderboard/arena", query={"limit": 10})
    # Now and then a spark lies where Ada stands.
    expected = {bob.bot.id, ada.bot.id} if ada.disc["score"] else {bob.bot.id}
    assert {row["owner_id"] for row in board["records"]} == expected


async def test_what_no_page_would_say_does_nothing(platform: Platform) -> None:
    ada = await entered(platform)
    before = ada.disc
    await ada.say(STEER, {"dx": 1, "dy": 0})  # not in a run
    for op_code, body in [
        (STEER, {"dx": 9, "dy": 0}),
        (STEER, "left"),
        (LOOK, {"name": "x" * 17, "hue": 1}),
        (END, None),
    ]:
        await ada.say(op_code, body)
    await platform.ticks(5)
    assert ada.disc == before
    await ada.say(BEGIN)
    await ada.say(STEER, {"dx": 1, "dy": 1})
    await platform.ticks(60)
    assert math.hypot(ada.disc["vx"], ada.disc["vy"]) < 500


async def test_a_room_has_an_end(platform: Platform) -> None:
    for _ in range(PLAYERS_MAX):
        await entered(platform)
    with pytest.raises(BotError, match="the room is full"):
        await entered(platform)
