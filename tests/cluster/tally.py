"""A match that adds up what players send, and how tests of several nodes play it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec

from palestra import Game, GameError, Match, MatchMessage, MatchPlayer
from palestra.app.live import Live
from palestra.features.matches.actor import Actor
from palestra.features.matches.adoption import Adoption
from palestra.features.matches.checkpoints import Checkpoints
from palestra.testing import Bot, Platform
from tests.waiting import SECONDS_MAX

ADD, TOTAL = 1, 2


class Tally(msgspec.Struct):
    """What the matches of these tests remember."""

    total: int = 0
    ticks: int = 0
    seen: list[int] = []
    left: list[str] = []


def tally_game(*, checkpoint_ticks: int = 0, sync: Any = None) -> Game:
    """A match that adds up what players send, and tells them; signals ask it and tell it what to do."""
    game = Game("tally")

    @game.match("tally", ticks_per_second=50, sync=sync, checkpoint_ticks=checkpoint_ticks)
    class TallyMatch(Match[Tally]):
        def init(self, params: dict[str, Any]) -> Tally:
            self.seats = params.get("seats", 8)
            self.label = {"mode": params.get("mode", "free"), "open": True}
            return Tally()

        def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> None:
            if self.player_count >= self.seats or metadata.get("word") == "wrong":
                raise GameError("no seat for you")

        def join(self, players: list[MatchPlayer]) -> None:
            self.broadcast(TOTAL, {"welcome": self.state.total}, to=players)

        def leave(self, players: list[MatchPlayer]) -> None:
            self.state.left += [f"{player.username} {player.left}" for player in players]

        def tick(self, messages: list[MatchMessage]) -> None:
            self.state.ticks += 1
            for message in messages:
                self.state.total += int(message.text())
                self.state.seen.append(int(message.text()))
                self.broadcast(TOTAL, {"total": self.state.total}, sender=message.sender)

        def signal(self, data: str) -> str:
            word, _, rest = data.partition(" ")
            if word == "label":
                self.label = {"mode": rest, "open": False}
            elif word == "kick":
                self.kick(*[player for player in self.players if player.username == rest])
            elif word == "refuse":
                raise GameError("not that", "failed_precondition")
            elif word == "end":
                self.end()
            said = {"node": self.node, "players": sorted(player.username for player in self.players)}
            return json.dumps({**msgspec.to_builtins(self.state), **said, "roll": self.random.random()})

    @game.rpc
    async def make(ctx: Any, payload: str) -> str:
        return await ctx.matches.create("tally", json.loads(payload or "{}"))

    @game.rpc
    async def ask(ctx: Any, payload: str) -> str:
        match_id, _, data = payload.partition(" ")
        return await ctx.matches.signal(match_id, data)

    @game.rpc
    async def look(ctx: Any, payload: str) -> str:
        found = await ctx.matches.get(payload)
        return "" if found is None else f"{found.size} {found.tick_rate} {found.label}"

    return game


async def player(platform: Platform, username: str, **how: Any) -> Bot:
    """A player with a socket on a node."""
    bot = await platform.bot(username)
    await bot.connect(**how)
    return bot


async def asked(bot: Bot, match_id: str, data: str = "") -> Any:
    """What the match says of itself."""
    return json.loads(await bot.rpc_text("ask", f"{match_id} {data}"))


async def heard(bot: Bot) -> Any:
    """The next message of a match."""
    data = await bot.push("match_data")
    return json.loads(base64.b64decode(data["data"]))


async def add(bot: Bot, match_id: str, number: int) -> None:
    """Send a number to the match."""
    data = base64.b64encode(b"%d" % number).decode()
    await bot.tell(match_data_send={"match_id": match_id, "op_code": str(ADD), "data": data})


async def listed(bot: Bot, query: str) -> list[dict[str, Any]]:
    """What the listing over HTTP finds."""
    found = await bot.call("GET", "/v2/match", query={"limit": "100", "authoritative": "true", "query": query})
    return found.get("matches", [])


async def until_listed(bot: Bot, query: str, match_ids: list[str]) -> None:
    """Wait until a node's listing shows these."""
    async with asyncio.timeout(SECONDS_MAX):
        while [one["match_id"] for one in await listed(bot, query)] != match_ids:
            pass


def actor_on(platform: Platform, match_id: str) -> Actor | None:
    """The match, if it runs on this node."""
    match, _, home = match_id.partition(".")
    return live(platform).running.find(match, home)


def kept(platform: Platform) -> Checkpoints:
    """A node's way to the checkpoints."""
    keeper = live(platform).running.keeper
    assert isinstance(keeper, Adoption) and keeper.checkpoints is not None
    return keeper.checkpoints


def live(platform: Platform) -> Live:
    """The live features of a node."""
    assert platform.node.parts is not None
    return platform.node.parts.services.live


def runs_on(platform: Platform, match_id: str) -> Callable[[], bool]:
    """Whether a match runs on a node."""
    return lambda: actor_on(platform, match_id) is not None


def hears_of_leaves(bot: Bot) -> list[str]:
    """Who left, as a player was told."""
    events = [one["match_presence_event"] for one in bot.pushes if "match_presence_event" in one]
    return [presence["username"] for event in events for presence in event.get("leaves", [])]


async def until_total(bot: Bot, match_id: str, total: int) -> None:
    """Wait until a match has had these."""
    async with asyncio.timeout(SECONDS_MAX):
        while (await asked(bot, match_id))["total"] != total:
            pass
