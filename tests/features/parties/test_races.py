"""Requests that meet: over real sockets, all written before any is answered. Nobody is lost, nobody is one too many."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from palestra import Game
from palestra.testing import Bot, BotError, Platform

ROUNDS = 5


async def players(platform: Platform, count: int) -> list[Bot]:
    """Connected players."""
    bots = [await platform.bot() for _ in range(count)]
    for bot in bots:
        await bot.connect()
    return bots


async def outcome(bot: Bot, **message: Any) -> str:
    """What a request comes to: "" or the text of the refusal."""
    try:
        await bot.ask(**message)
    except BotError as error:
        return error.message
    return ""


def members(platform: Platform, party_id: str) -> list[str]:
    """The usernames in a party, as the node knows them."""
    assert platform.node.parts is not None
    engine = platform.node.parts.services.live.presences
    (audience,) = [one for stream, one in engine.of_mode(7).items() if party_id == f"{stream.subject}.{stream.label}"]
    return [member.presence.username for member in audience.values()]


@pytest.fixture
async def platform(database_url: str) -> Any:
    async with Platform.start(Game("races"), database_url=database_url) as running:
        yield running


async def test_of_many_who_want_the_last_place_exactly_one_gets_it(platform: Platform) -> None:
    leader, *others = await players(platform, 9)
    for _ in range(ROUNDS):
        made = (await leader.ask(party_create={"open": True, "max_size": 2}))["party"]["party_id"]
        outcomes = await asyncio.gather(*(outcome(bot, party_join={"party_id": made}) for bot in others))
        assert sorted(outcomes) == ["", *["Error joining party: party full"] * 7]
        winner = others[outcomes.index("")]
        party = await winner.push("party")
        assert party["self"]["username"] == winner.username
        assert members(platform, made) == [leader.username, winner.username]
        assert (await leader.push("party_presence_event"))["joins"][0]["username"] == leader.username
        assert (await leader.push("party_presence_event"))["joins"][0]["username"] == winner.username
        await leader.ask(party_close={"party_id": made})
        await winner.push("party_close")


async def test_of_two_accepts_for_the_last_place_one_holds_and_the_other_request_waits_on(platform: Platform) -> None:
    leader, *others = await players(platform, 3)
    for _ in range(ROUNDS):
        made = (await leader.ask(party_create={"max_size": 2}))["party"]["party_id"]
        await asyncio.gather(*(bot.ask(party_join={"party_id": made}) for bot in others))
        asking = [(await leader.push("party_join_request"))["presences"][0] for _ in others]
        accepts = [{"party_id": made, "presence": one} for one in asking]
        outcomes = await asyncio.gather(*(outcome(leader, party_accept=accept) for accept in accepts))
        assert sorted(outcomes) == ["", "Error accepting party join request: party full"]
        waiting = (await leader.ask(party_join_request_list={"party_id": made}))["party_join_request"]["presences"]
        assert waiting == [asking[outcomes.index("Error accepting party join request: party full")]]
        await leader.ask(party_close={"party_id": made})


async def test_one_player_on_many_sockets_asks_once(platform: Platform) -> None:
    leader, other = await players(platform, 2)
    twins = [
        Bot(platform.http, platform.url, platform.node.settings.socket.server_key, other.device_id) for _ in range(5)
    ]
    for twin in twins:
        await twin.log_in()
        await twin.connect()
    made = (await leader.ask(party_create={"max_size": 8}))["party"]["party_id"]
    outcomes = await asyncio.gather(*(outcome(twin, party_join={"party_id": made}) for twin in twins))
    assert sorted(outcomes) == ["", *["Error joining party: party join request duplicate"] * 4]
    for twin in twins:
        await twin.leave()


async def test_whoever_leaves_while_others_come_there_is_one_leader_and_all_agree_who(platform: Platform) -> None:
    bots = await players(platform, 8)
    for _ in range(ROUNDS):
        for bot in bots:
            bot.pushes.clear()
        made = (await bots[0].ask(party_create={"open": True, "max_size": 8}))["party"]["party_id"]
        for bot in bots[1:4]:
            await bot.ask(party_join={"party_id": made})
        comings = [outcome(bot, party_join={"party_id": made}) for bot in bots[4:]]
        goings = [outcome(bot, party_leave={"party_id": made}) for bot in bots[:3]]
        assert set(await asyncio.gather(*goings, *comings)) == {""}
        stayed = members(platform, made)
        assert sorted(stayed) == sorted(bot.username for bot in bots[3:])
        views = {json.dumps(view_of(bot, made)) for bot in bots[3:] if await bot.ask(ping={}) == {"pong": {}}}
        assert views == {json.dumps([bots[3].username, sorted(stayed)])}
        await bots[3].ask(party_close={"party_id": made})


def view_of(bot: Bot, party_id: str) -> list[Any]:
    """Leader and members of a party as this player knows them from what it was sent, in its order."""
    leader, inside = "", set[str]()
    for push in bot.pushes:
        ((key, content),) = push.items()
        if content.get("party_id") != party_id:
            continue
        if key == "party":
            leader = content["leader"]["username"]
            inside = {one["username"] for one in content["presences"]}
        elif key == "party_leader":
            leader = content["presence"]["username"]
        elif key == "party_presence_event":
            inside |= {one["username"] for one in content.get("joins", ())}
            inside -= {one["username"] for one in content.get("leaves", ())}
    return [leader, sorted(inside)]
