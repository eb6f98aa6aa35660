"""Matches with state sync, on a whole node: what players' clients are sent, and what they see."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest

from palestra import Context, Game, Match, MatchPlayer, quantised
from palestra.core.clock import ManualClock
from palestra.core.errors import SetupError
from palestra.sdk.sync import ASK_OP, STATE_BYTES_MAX
from palestra.testing import Bot, Platform

MOVE, GROW = 1, 2


class Disc(msgspec.Struct):
    x: Annotated[float, quantised(0.1)] = 0.0


class Field(msgspec.Struct):
    discs: dict[str, Disc] = {}
    heard: list[int] = []
    text: str = ""


class Hand(msgspec.Struct):
    own: int
    others: list[int]


class Deal(msgspec.Struct):
    cards: dict[str, int]


game = Game("synced")


class Played(Match[Field]):
    def init(self) -> Field:
        return Field()

    def join(self, players: list[MatchPlayer]) -> None:
        self.state.discs.update({player.username: Disc() for player in players})

    def leave(self, players: list[MatchPlayer]) -> None:
        for player in players:
            del self.state.discs[player.username]

    def tick(self, messages: list[Any]) -> Any:
        for message in messages:
            self.state.heard.append(message.op_code)
            if message.op_code == MOVE:
                self.state.discs[message.sender.username].x += 1 / 3
            elif message.op_code == GROW:
                self.state.text = "x" * STATE_BYTES_MAX


@game.match("json", sync="json")
class AsJson(Played):
    pass


@game.match("binary", sync="binary")
class AsBinary(Played):
    pass


@game.match("waiting", sync="json")
class Waiting(Played):
    async def tick(self, messages: list[Any]) -> None:
        await self.ctx.matches.list()
        super().tick(messages)


@game.match("cards", sync="binary")
class Cards(Match[Deal]):
    def init(self) -> Deal:
        return Deal({})

    def join(self, players: list[MatchPlayer]) -> None:
        for player in players:
            self.state.cards[player.username] = 10 + len(self.state.cards)

    def view(self, player: MatchPlayer) -> Hand:
        others = [1 for name in self.state.cards if name != player.username]
        return Hand(self.state.cards.get(player.username, 0), others)

    def tick(self, messages: list[Any]) -> None:
        for message in messages:
            self.state.cards[message.sender.username] += 1


@game.rpc
async def begin(ctx: Context, name: str) -> str:
    return await ctx.matches.create(name)


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game, database_url=database_url, clock=ManualClock()) as running:
        yield running


async def joined(platform: Platform, match_id: str, name: str) -> Bot:
    bot = await platform.bot(name)
    await bot.connect(format="protobuf" if name == "bob" else "json")
    await bot.ask(match_join={"match_id": match_id})
    await platform.settle()
    return bot


def sync_data(bot: Bot) -> list[bytes]:
    """The data of all messages of state sync that have come and were not looked at."""
    found = [envelope["match_data"] for envelope in bot.pushes if "match_data" in envelope]
    return [base64.b64decode(one["data"]) for one in found if int(one["op_code"]) < 0]


async def begun(platform: Platform, name: str, player: str = "ada") -> tuple[str, Bot]:
    host = await platform.bot()
    match_id = await host.rpc_text("begin", name)
    return match_id, await joined(platform, match_id, player)


@pytest.mark.parametrize("name", ["json", "binary", "waiting"])
async def test_players_see_the_state_from_their_join_on_and_how_it_changes(platform: Platform, name: str) -> None:
    match_id, ada = await begun(platform, name)
    assert ada.state(match_id)["discs"] == {"ada": {"x": 0.0}}
    bob = await joined(platform, match_id, "bob")
    assert bob.state(match_id)["discs"].keys() == ada.state(match_id)["discs"].keys() == {"ada", "bob"}
    await ada.send(match_id, MOVE)
    await platform.ticks()
    assert ada.state(match_id) == bob.state(match_id)
    assert bob.state(match_id)["discs"]["ada"] == {"x": 0.3}
    await ada.ask(match_leave={"match_id": match_id})
    await platform.ticks()
    assert bob.state(match_id)["discs"] == {"bob": {"x": 0.0}}


async def test_ticks_that_change_nothing_send_nothing(platform: Platform) -> None:
    match_id, ada = await begun(platform, "json")
    ada.state(match_id)
    await platform.ticks(5)
    assert sync_data(ada) == []
    await ada.send(match_id, MOVE)
    await platform.ticks(5)
    assert sync_data(ada) == [b'[0,1,{"discs":{"ada":{"x":0.3}},"heard":{"0":1}}]']


async def test_a_client_that_asks_gets_a_snapshot_and_the_game_does_not_hear_of_it(platform: Platform) -> None:
    match_id, ada = await begun(platform, "json")
    bob = await joined(platform, match_id, "bob")
    ada.state(match_id), bob.state(match_id)
    for _ in range(2):
        await ada.send(match_id, ASK_OP)
    await ada.send(match_id, -1, b'{"format":1}')  # only a server may say this
    await platform.ticks()
    (snapshot,) = sync_data(ada)
    assert snapshot.startswith(b'{"format":1,"version":1,')
    assert sync_data(bob) == []
    assert ada.state(match_id)["heard"] == []


async def test_each_player_sees_the_own_view(platform: Platform) -> None:
    match_id, ada = await begun(platform, "cards")
    bob = await joined(platform, match_id, "bob")
    assert ada.state(match_id) == {"own": 10, "others": [1]}
    assert bob.state(match_id) == {"own": 11, "others": [1]}
    await bob.send(match_id, MOVE)
    await platform.ticks()
    assert sync_data(ada) == []
    assert bob.state(match_id) == {"own": 12, "others": [1]}


async def test_a_state_that_grows_too_large_ends_its_match_alone(platform: Platform) -> None:
    match_id, ada = await begun(platform, "json")
    other, bob = await begun(platform, "binary", "bob")
    await ada.send(match_id, GROW)
    await platform.ticks()
    await ada.closed()
    await bob.send(other, MOVE)
    await platform.ticks()
    assert bob.state(other)["discs"] == {"bob": {"x": 0.3}}


async def test_the_page_s_file_comes_from_the_node(platform: Platform) -> None:
    async with platform.http.get(f"{platform.url}/palestra/sync.js") as answer:
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert b"export class StateSync" in await answer.read()


def declared(code: type[Match[Any]], sync: Any) -> None:
    Game("wrong").match("wrong", sync=sync)(code)


def test_mistakes_in_declaring_are_told_at_once() -> None:
    class Untyped(Match):
        init = tick = lambda self, _=None: None

    class Hiding(Played):
        def view(self, player):
            return None

    class Late(Played):
        async def view(self, player: MatchPlayer) -> Hand: ...

    for code, sync, what in (
        (Untyped, "json", "Match\\[State\\]"),
        (Hiding, "json", "what `view` returns"),
        (Hiding, None, "nobody asks for view"),
        (Late, "binary", "no `async def`"),
        (Played, "xml", "xml"),
    ):
        with pytest.raises(SetupError, match=what):
            declared(code, sync)
