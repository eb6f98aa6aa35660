"""What players are told of each other, on a whole node: friends, groups, who is online."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from palestra import Context, Game
from palestra.testing import Bot, Platform

game = Game("notes")


class Reminder(msgspec.Struct):
    user_id: str


@game.rpc
async def remind(ctx: Context, reminder: Reminder) -> list[str]:
    kept = await ctx.notifications.send(reminder.user_id, "your turn", {"round": 3}, 42, sender_id=ctx.player.id)
    await ctx.notifications.send(reminder.user_id, "hurry", {}, 43, persistent=False)
    return [one.id for one in kept]


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game, database_url=database_url) as platform:
        yield platform


async def inbox(bot: Bot) -> list[tuple[Any, ...]]:
    """Code, subject, content and sender of everything in a player's inbox."""
    page = await bot.call("GET", "/v2/notification", query={"limit": 100})
    return [told(one) for one in page.get("notifications", [])]


def told(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["code"], one["subject"], json.loads(one["content"]), one.get("sender_id", "")


async def heard(bot: Bot) -> tuple[Any, ...]:
    """The next notification pushed to a player's socket."""
    (one,) = (await bot.push("notifications"))["notifications"]
    assert one["persistent"] and one["id"] and one["create_time"].endswith("Z")
    return told(one)


async def test_friends_are_told_of_requests_answers_and_partings(platform: Platform) -> None:
    ann, bob = await platform.bot("ann"), await platform.bot("bob")
    await ann.connect()
    await bob.connect()
    await ann.call("POST", "/v2/friend", query={"ids": bob.id})
    asked = (-2, "ann wants to add you as a friend", {"username": "ann"}, ann.id)
    assert await heard(bob) == asked
    await ann.call("POST", "/v2/friend", query={"ids": bob.id})
    await bob.call("POST", "/v2/friend", query={"usernames": "ann"})
    accepted = (-3, "bob accepted your friend request", {"username": "bob"}, bob.id)
    assert await heard(ann) == accepted
    await bob.call("DELETE", "/v2/friend", query={"ids": ann.id})
    parted = (-9, "bob removed you as a friend", {"username": "bob"}, bob.id)
    assert await heard(ann) == parted
    await bob.call("POST", "/v2/friend/block", query={"ids": ann.id})
    await ann.call("POST", "/v2/friend", query={"ids": bob.id})
    await bob.call("DELETE", "/v2/friend", query={"ids": ann.id})
    assert await inbox(ann) == [accepted, parted]
    assert await inbox(bob) == [asked]


async def test_those_in_charge_of_a_group_are_told_of_requests_and_the_admitted_of_that(platform: Platform) -> None:
    ann, bob, cid, dan = [await platform.bot(name) for name in ("ann", "bob", "cid", "dan")]
    group = (await ann.call("POST", "/v2/group", {"name": "club", "open": False}))["id"]
    path = f"/v2/group/{group}"
    for verb, who in (("add", [bob.id, dan.id]), ("promote", [bob.id])):
        await ann.call("POST", f"{path}/{verb}", query={"user_ids": who})
    added = (-4, "You've been added to group club", {"group_id": group, "name": "club"}, ann.id)
    assert await inbox(bob) == await inbox(dan) == [added]
    for bot in (ann, bob, cid):
        await bot.connect()
    await cid.call("POST", f"{path}/join")
    await cid.call("POST", f"{path}/join")
    asked = (-5, "User cid wants to join your group", {"group_id": group, "username": "cid"}, cid.id)
    assert await heard(ann) == await heard(bob) == asked
    await bob.call("POST", f"{path}/add", query={"user_ids": cid.id})
    assert await heard(cid) == (*added[:3], bob.id)
    await bob.call("POST", f"{path}/kick", query={"user_ids": cid.id})
    assert await inbox(ann) == [asked]
    assert await inbox(dan) == [added]
    assert len(await inbox(cid)) == 1


async def test_a_join_of_an_open_group_is_told_to_nobody(platform: Platform) -> None:
    ann, bob = await platform.bot("ann"), await platform.bot("bob")
    group = (await ann.call("POST", "/v2/group", {"name": "open", "open": True}))["id"]
    await bob.call("POST", f"/v2/group/{group}/join")
    assert await inbox(ann) == await inbox(bob) == []


async def test_a_game_reminds_players_wherever_they_are(platform: Platform) -> None:
    ann, bob = await platform.bot("ann"), await platform.bot("bob")
    await bob.connect()
    (kept,) = await ann.rpc("remind", {"user_id": bob.id})
    pushed = [(await bob.push("notifications"))["notifications"] for _ in range(2)]
    assert [(one["subject"], one.get("persistent", False)) for (one,) in pushed] == [
        ("your turn", True),
        ("hurry", False),
    ]
    assert pushed[0][0]["id"] == kept
    assert await inbox(bob) == [(42, "your turn", {"round": 3}, ann.id)]
    await bob.call("DELETE", "/v2/notification", query={"ids": kept})
    assert await inbox(bob) == []


async def test_players_are_shown_as_online_while_a_socket_says_so(platform: Platform) -> None:
    ann, bob = await platform.bot("ann"), await platform.bot("bob")
    await ann.call("POST", "/v2/friend", query={"ids": bob.id})
    group = (await ann.call("POST", "/v2/group", {"name": "open", "open": True}))["id"]
    await bob.call("POST", f"/v2/group/{group}/join")

    async def shown() -> list[bool]:
        (user,) = (await ann.call("GET", "/v2/user", query={"ids": bob.id}))["users"]
        (friend,) = (await ann.call("GET", "/v2/friend"))["friends"]
        members = (await ann.call("GET", f"/v2/group/{group}/user"))["group_users"]
        (member,) = [one["user"] for one in members if one["user"]["id"] == bob.id]
        own = (await bob.call("GET", "/v2/account"))["user"]
        return [one.get("online", False) for one in (user, friend["user"], member, own)]

    await bob.connect()
    assert await shown() == [False] * 4
    url = f"{platform.url.replace('http', 'ws', 1)}/ws?token={bob.token}&status=true"
    socket = await platform.http.ws_connect(url)
    assert await shown() == [True] * 4
    await socket.close()
    assert await shown() == [False] * 4
