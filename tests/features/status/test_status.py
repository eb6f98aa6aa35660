"""Statuses as players meet them: who is online, who is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from palestra import Context, Game
from palestra.core.config import SessionSettings, Settings
from palestra.core.errors import Unavailable
from palestra.testing import Bot, BotError, Platform

UNKNOWN = "11111111-2222-4333-8444-555555555555"
SYSTEM = "00000000-0000-0000-0000-000000000000"


class Wish(msgspec.Struct):
    """Whom to follow or not, what to show."""

    user_ids: list[str] = []
    status: str | None = None


def game() -> Game:
    game = Game("status")

    @game.rpc
    async def watch(ctx: Context, wish: Wish) -> list[str]:
        return [one.status for one in await ctx.status.follow(ctx.session_id or "", wish.user_ids)]

    @game.rpc
    async def unwatch(ctx: Context, wish: Wish) -> None:
        await ctx.status.unfollow(ctx.session_id or "", wish.user_ids)

    @game.rpc
    async def show(ctx: Context, wish: Wish) -> None:
        await ctx.status.update(ctx.session_id or "", wish.status)

    return game


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game(), database_url=database_url) as platform:
        yield platform


async def connected(platform: Platform, *names: str) -> list[Bot]:
    bots = [await platform.bot(name) for name in names]
    for bot in bots:
        await bot.connect()
    return bots


async def heard(bot: Bot) -> list[tuple[list[Any], list[Any]]]:
    """The statuses that joined and left, event by event, as (user, status)."""
    await bot.ask(ping={})
    events = [one["status_presence_event"] for one in bot.pushes if "status_presence_event" in one]
    bot.pushes.clear()
    return [(seen(event.get("joins", [])), seen(event.get("leaves", []))) for event in events]


def seen(presences: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["username"], one["status"]) for one in presences]


async def follow(bot: Bot, *user_ids: str, usernames: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    reply = await bot.ask(status_follow={"user_ids": list(user_ids), "usernames": list(usernames)})
    return reply["status"].get("presences", [])


async def refused(waiting: Any) -> tuple[int, str]:
    with pytest.raises(BotError) as caught:
        await waiting
    return caught.value.code, caught.value.message


async def test_followers_see_what_somebody_shows_changes_and_takes_back(platform: Platform) -> None:
    ann, bob, cid = await connected(platform, "ann", "bob", "cid")
    assert await follow(bob, ann.id, ann.id.upper(), UNKNOWN, SYSTEM, bob.id, usernames=("ann", "nobody")) == []
    assert await ann.ask(status_update={"status": "away"}) == {}
    await ann.ask(status_update={"status": ""})
    await ann.ask(status_update={})
    await ann.ask(status_update={"status": None})
    expected = [([("ann", "away")], []), ([("ann", "")], [("ann", "away")]), ([], [("ann", "")])]
    assert await heard(bob) == expected
    # Everybody hears of themselves, and strangers of nobody.
    assert await heard(ann) == expected
    assert await heard(cid) == []


async def test_a_follow_tells_what_is_shown_now_once_for_each_socket(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    url = f"{platform.url.replace('http', 'ws')}/ws?token={ann.token}&status=true"
    async with platform.http.ws_connect(url) as second:
        own = msgspec.json.decode((await second.receive()).data)["status_presence_event"]["joins"]
        assert own == [{"user_id": ann.id, "session_id": own[0]["session_id"], "username": "ann", "status": ""}]
        await ann.ask(status_update={"status": "here"})
        shown = await follow(bob, usernames=("ann",))
        assert sorted(one["status"] for one in shown) == ["", "here"]
        assert own[0] in shown
    assert (await bob.push("status_presence_event")) == {"leaves": own}


async def test_players_are_online_while_they_show_something(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    await bob.call("POST", "/v2/friend", query={"ids": ann.id})

    async def online() -> tuple[bool, bool]:
        users = (await bob.call("GET", "/v2/user", query={"ids": ann.id}))["users"]
        friends = (await bob.call("GET", "/v2/friend"))["friends"]
        return users[0].get("online", False), friends[0]["user"].get("online", False)

    assert await online() == (False, False)
    await ann.ask(status_update={"status": "x"})
    assert await online() == (True, True)
    await ann.ask(status_update={})
    assert await online() == (False, False)


async def test_who_is_unfollowed_is_heard_of_no_more_and_an_ended_session_follows_nobody(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    await follow(bob, ann.id)
    assert await bob.ask(status_unfollow={"user_ids": [ann.id, UNKNOWN, bob.id]}) == {}
    await ann.ask(status_update={"status": "x"})
    assert await heard(bob) == []
    await follow(bob, ann.id)
    await bob.leave()
    parts = platform.node.parts
    assert parts is not None
    status = parts.services.live.status
    async with asyncio.timeout(5):
        while status._followers:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert status._followed == {}


async def test_a_socket_that_comes_back_shows_what_it_showed(platform: Platform) -> None:
    (ann,) = await connected(platform, "ann")
    await ann.ask(status_update={"status": "busy"})
    await heard(ann)
    parts = platform.node.parts
    assert parts is not None
    (session,) = parts.sockets.of_user(ann.id)
    parts.services.live.status.appear(session)
    assert await heard(ann) == []
    (bob,) = await connected(platform, "bob")
    assert [one["status"] for one in await follow(bob, ann.id)] == ["busy"]


async def test_a_refusal_says_why(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    (ann,) = await connected(platform, "ann")
    assert await refused(follow(ann, "x")) == (3, "Invalid user identifier")
    assert await refused(follow(ann, usernames=("bob", ""))) == (3, "Invalid username")
    assert await refused(ann.ask(status_unfollow={"user_ids": [""]})) == (3, "Invalid user identifier")
    await ann.ask(status_update={"status": "x" * 2048})
    long = (3, "Status must be 2048 characters or less")
    assert await refused(ann.ask(status_update={"status": "x" * 2049})) == long
    assert await heard(ann) == [([("ann", "x" * 2048)], [])]

    async def away(*_: Any) -> None:
        raise Unavailable

    parts = platform.node.parts
    assert parts is not None
    monkeypatch.setattr(parts.services.accounts, "get_many", away)
    assert await refused(follow(ann, UNKNOWN)) == (0, "Could not check users")


async def test_a_session_follows_so_many_and_no_more(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palestra.features.status.service.FOLLOWS_PER_SESSION_MAX", 2)
    ann, *others = await connected(platform, "ann", "bob", "cid", "dan")
    await follow(ann, others[0].id, others[1].id)
    text = "A session may follow 2000 users: unfollow some first."
    assert await refused(follow(ann, others[2].id)) == (3, text)
    await follow(ann, others[1].id)
    await ann.ask(status_unfollow={"user_ids": [others[0].id]})
    await follow(ann, others[2].id)
    await others[2].ask(status_update={"status": "x"})
    assert await heard(ann) == [([("dan", "x")], [])]


async def test_game_code_follows_and_shows_for_sessions(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    await bob.ask(rpc={"id": "show", "payload": '{"status":"busy"}'})
    watched = (await ann.ask(rpc={"id": "watch", "payload": f'{{"user_ids":["{bob.id}"]}}'}))["rpc"]["payload"]
    assert watched == '["busy"]'
    await bob.ask(rpc={"id": "show", "payload": "{}"})
    await ann.ask(rpc={"id": "unwatch", "payload": f'{{"user_ids":["{bob.id}"]}}'})
    await bob.ask(rpc={"id": "show", "payload": '{"status":"back"}'})
    assert await heard(ann) == [([], [("bob", "busy")])]
    with pytest.raises(BotError, match="Session not found"):
        await ann.rpc("watch", {"user_ids": []})


async def test_a_players_new_socket_takes_the_place_of_the_old_where_that_is_wanted(database_url: str) -> None:
    settings = Settings(session=SessionSettings(single_socket=True))
    async with Platform.start(game(), settings=settings, database_url=database_url) as platform:
        (ann,) = await connected(platform, "ann")
        url = f"{platform.url.replace('http', 'ws')}/ws?token={ann.token}"
        async with platform.http.ws_connect(url) as second:
            (told,) = (await ann.push("notifications"))["notifications"]
            assert (told["subject"], told["code"], told["content"]) == ("single_socket", -7, "{}")
            assert not {"persistent", "sender_id"} & set(told)
            assert await ann.closed() == 1000
            await second.send_str('{"cid":"1","ping":{}}')
            frame = await second.receive()
            assert frame.type is aiohttp.WSMsgType.TEXT and "pong" in frame.data
