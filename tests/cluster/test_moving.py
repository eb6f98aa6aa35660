"""Sessions that move between nodes: nobody leaves, nothing is lost, and everything arrives once and in order."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from palestra.gateway.websocket.socket import Socket
from palestra.testing import Bot, Platform
from tests.cluster.several import several
from tests.waiting import until

FORMATS = pytest.mark.parametrize("format", ["json", "protobuf"])


async def on(platform: Platform, format: str = "json") -> Bot:
    """A player with a socket on a node."""
    bot = await platform.bot()
    await bot.connect(format=format)
    return bot


def socket_of(platform: Platform, bot: Bot) -> Socket | None:
    """A player's session, where it is on this node."""
    parts = platform.node.parts
    assert parts is not None
    own = parts.sockets.of_user(bot.id)
    return own[0] if own else None


async def lose(platform: Platform, bot: Bot) -> None:
    """Break a player's connection off, and wait until its node has heard."""
    await bot.drop()
    await until(lambda: (one := socket_of(platform, bot)) is not None and one.away)


async def move(bot: Bot, source: Platform, target: Platform, format: str = "json") -> None:
    """Have a player come back on another node."""
    await lose(source, bot)
    await bot.connect(format=format, url=target.url)
    assert socket_of(source, bot) is None
    assert socket_of(target, bot) is not None


def events(bot: Bot, kind: str) -> list[dict[str, Any]]:
    """The events of joins and leaves that a player has heard."""
    return [one[kind] for one in bot.pushes if kind in one]


def numbers(bot: Bot) -> list[int]:
    """What was said in the match, as numbers, in the order of arrival."""
    data = [one["match_data"]["data"] for one in bot.pushes if "match_data" in one]
    return [int(base64.b64decode(one)) for one in data]


async def settled(*platforms: Platform) -> None:
    """Wait until all nodes agree on how many sessions and presences each has."""

    def agree() -> bool:
        parts = [platform.node.parts for platform in platforms]
        counts = [sorted(n for n in one.services.live.presences.counts.values() if n) for one in parts if one]
        sessions = [
            len(one.sockets.sessions) + len(one.services.live.others.remote)
            for one in parts
            if one and one.services.live.others
        ]
        return all(one == counts[0] for one in counts) and len(set(sessions)) == 1

    await until(agree)


@FORMATS
async def test_a_match_goes_on_when_a_player_comes_back_on_another_node(database_url: str, format: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob, eve = await on(a), await on(a, format), await on(c)
        match_id = (await ada.ask(match_create={}))["match"]["match_id"]
        for bot in (bob, eve):
            await bot.ask(match_join={"match_id": match_id})
        before = socket_of(a, bob)
        assert before is not None
        await until(lambda: len(events(ada, "match_presence_event")) == 3)
        await lose(a, bob)
        for number in range(3):
            await (ada if number % 2 else eve).send(match_id, 1, str(number))
            await (ada if number % 2 else eve).settle()
        await bob.connect(format=format, url=b.url)
        for number in range(3, 6):
            await ada.send(match_id, 1, str(number))
        await until(lambda: len(numbers(bob)) == 6)
        assert sorted(numbers(bob)) == list(range(6))
        assert (moved := socket_of(b, bob)) is not None
        assert (moved.id, moved.moves) == (before.id, 1)
        await bob.send(match_id, 1, "7")
        for bot in (ada, eve):
            await until(lambda bot=bot: 7 in numbers(bot))
            assert not any("leaves" in one for one in events(bot, "match_presence_event"))
        await settled(a, b, c)
        await bob.leave()
        for bot in (ada, eve):
            await until(lambda bot=bot: "leaves" in events(bot, "match_presence_event")[-1])


@FORMATS
async def test_what_is_sent_during_a_move_arrives_once_and_in_order(database_url: str, format: str) -> None:
    async with several(database_url, names="abcd") as platforms:
        a, b, c, d = platforms
        speakers = [await on(platform) for platform in (a, b, c, d)]
        bob = await on(a, format)
        match_id = (await bob.ask(match_create={}))["match"]["match_id"]
        for bot in speakers:
            await bot.ask(match_join={"match_id": match_id})
            await bot.ask(channel_join={"target": "hall", "type": 1, "persistence": False})
        await bob.ask(channel_join={"target": "hall", "type": 1, "persistence": False})
        channel = (await bob.ask(channel_join={"target": "hall", "type": 1}))["channel"]["id"]
        spoken = [0] * len(speakers)
        told = [0] * len(speakers)
        talking = True

        async def talk(number: int) -> None:
            bot = speakers[number]
            while talking:
                await bot.send(match_id, number, str(spoken[number]))
                spoken[number] += 1
                await bot.ask(
                    channel_message_send={
                        "channel_id": channel,
                        "content": json.dumps({"n": told[number], "by": number}),
                    }
                )
                told[number] += 1

        tasks = [asyncio.create_task(talk(number)) for number in range(len(speakers))]
        place = a
        for target in (b, c, a, d, b):
            await move(bob, place, target, format)
            place = target
        talking = False
        await asyncio.gather(*tasks)
        for number in range(len(speakers)):
            await until(lambda number=number: len(said(bob, number)) >= spoken[number], 5)
            assert said(bob, number) == list(range(spoken[number]))
            await until(lambda number=number: len(written(bob, number)) >= told[number], 5)
            assert written(bob, number) == list(range(told[number]))
        await settled(*platforms)


def said(bot: Bot, op_code: int) -> list[int]:
    """What one speaker said in the match."""
    data = [one["match_data"] for one in bot.pushes if "match_data" in one]
    return [int(base64.b64decode(one["data"])) for one in data if int(one.get("op_code", 0)) == op_code]


def written(bot: Bot, number: int) -> list[int]:
    """What one speaker wrote in the channel."""
    contents = [json.loads(one["channel_message"]["content"]) for one in bot.pushes if "channel_message" in one]
    return [one["n"] for one in contents if one["by"] == number]
