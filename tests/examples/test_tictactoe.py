"""The tic-tac-toe example without a browser: bots play, the test says when a tick is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from examples.tictactoe.game import AGAIN, PLACE, game
from palestra.core.clock import ManualClock
from palestra.testing import Bot, BotError, Platform


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game, database_url=database_url, clock=ManualClock()) as running:
        yield running


class Seat:
    """One player at a table."""

    def __init__(self, platform: Platform, bot: Bot, match_id: str) -> None:
        self._platform = platform
        self.bot = bot
        self.match_id = match_id

    @property
    def board(self) -> Any:
        return self.bot.state(self.match_id)

    async def say(self, op_code: int, body: Any) -> None:
        await self.bot.send(self.match_id, op_code, body)
        await self._platform.ticks()

    async def place(self, cell: Any) -> None:
        await self.say(PLACE, {"cell": cell})


async def seated(platform: Platform) -> Seat:
    bot = await platform.bot()
    await bot.connect()
    match_id = (await bot.rpc("find_game"))["match_id"]
    await bot.ask(match_join={"match_id": match_id})
    await platform.settle()
    return Seat(platform, bot, match_id)


async def test_two_players_meet_and_one_wins(platform: Platform) -> None:
    ada, bob = await seated(platform), await seated(platform)
    assert ada.match_id == bob.match_id
    for player, cell in [(ada, 4), (bob, 0), (ada, 2), (bob, 1), (ada, 6)]:
        await player.place(cell)
    assert ada.board == bob.board
    assert (bob.board["cells"], bob.board["over"]) == (["o", "o", "x", "", "x", "", "x", "", ""], "x")
    await bob.say(AGAIN, {})
    assert (ada.board["cells"], ada.board["over"], ada.board["turn"]) == ([""] * 9, "", "o")


async def test_a_full_board_without_a_line_is_a_draw(platform: Platform) -> None:
    players = await seated(platform), await seated(platform)
    for number, cell in enumerate([0, 1, 2, 4, 3, 5, 7, 6, 8]):
        await players[number % 2].place(cell)
    assert players[0].board["over"] == "draw"


async def test_moves_that_the_rules_forbid_change_nothing(platform: Platform) -> None:
    ada = await seated(platform)
    await ada.place(0)  # nobody sits opposite
    bob = await seated(platform)
    await bob.place(0)  # not his turn
    for nonsense in (9, -1, "x", None):
        await ada.place(nonsense)
    await ada.say(AGAIN, {})
    assert ada.board["cells"] == [""] * 9
    await ada.place(0)
    await bob.place(0)  # taken
    assert (bob.board["cells"], bob.board["turn"]) == (["x", *[""] * 8], "o")


async def test_a_third_player_gets_another_table_and_a_free_seat_is_found_again(platform: Platform) -> None:
    ada, bob, cid = [await seated(platform) for _ in range(3)]
    assert cid.match_id != ada.match_id == bob.match_id
    with pytest.raises(BotError, match="both seats are taken"):
        await cid.bot.ask(match_join={"match_id": ada.match_id})
    await ada.place(0)
    await bob.bot.leave()
    await cid.bot.leave()
    await platform.ticks()
    assert (ada.board["cells"], list(ada.board["seats"])) == ([""] * 9, ["x"])
    assert (await seated(platform)).match_id == ada.match_id
