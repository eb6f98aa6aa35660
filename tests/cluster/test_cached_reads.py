"""What players read from caches on two nodes: their own changes at once, those of others when word has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from palestra.core.config import CacheSettings, Settings
from palestra.features.storage.contract import READ_OWNER, READ_PUBLIC
from palestra.testing import Bot, BotError, Platform
from tests.cluster.servers import free_port, memcached_command, running, valkey_command
from tests.cluster.several import QUICK, several
from tests.waiting import until

SECONDS_MAX = 20.0


@pytest.fixture(params=["nothing", "valkey", "memcached"])
async def settings(request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    """What the nodes share beside the database and the bus."""
    valkey, memcached = free_port(), free_port()
    if request.param == "nothing":
        yield Settings(cluster=QUICK)
        return
    async with running(valkey_command(valkey), valkey), running(memcached_command(memcached), memcached):
        servers = (f"127.0.0.1:{memcached}",) if request.param == "memcached" else ()
        url = f"redis://127.0.0.1:{valkey}"
        yield Settings(cluster=QUICK, redis_url=url, cache=CacheSettings(memcached=servers))


async def eventually(read: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Read until it is so."""
    async with asyncio.timeout(SECONDS_MAX):
        while (found := await read()) != expected:
            assert found != expected
            await asyncio.sleep(0.01)


async def user(bot: Bot, user_id: str) -> dict[str, Any]:
    """A player as another sees them."""
    users = (await bot.call("GET", "/v2/user", query={"ids": user_id})).get("users", [])
    return users[0] if users else {}


async def friends(bot: Bot, limit: int = 10) -> list[tuple[str, int]]:
    """A player's edges."""
    page = await bot.call("GET", "/v2/friend", query={"limit": limit})
    return [(one["user"]["username"], one["state"]) for one in page.get("friends", [])]


async def pair(a: Platform, b: Platform) -> tuple[Bot, Bot]:
    """A player on each node, who know of each other there, once both nodes use what they share."""
    for platform in (a, b):
        parts = platform.node.parts
        assert parts is not None
        caches = parts.services.caches
        assert (caches.shared is not None) == bool(platform.node.settings.redis_url)
        await until(lambda: caches.shared is None or caches.shared_is_up)  # noqa: B023
    ada, bob = await a.bot("ada"), await b.bot("bob")
    for one in (ada, bob):
        for other in (ada, bob):
            assert (await user(one, other.id))["username"] == other.username
    return ada, bob


async def test_changes_of_players_and_friendships_are_seen_on_every_node(database_url: str, settings: Settings) -> None:
    async with several(database_url, settings=settings) as (a, b):
        ada, bob = await pair(a, b)
        for number in range(5):
            name = f"Ada {number}"
            await ada.call("PUT", "/v2/account", {"display_name": name})
            assert (await user(ada, ada.id))["display_name"] == name
            await eventually(lambda: _of(user(bob, ada.id), "display_name"), name)

        assert (await friends(ada), await friends(bob)) == ([], [])
        await ada.call("POST", "/v2/friend", query={"ids": bob.id})
        assert await friends(ada) == [("bob", 1)]
        await eventually(lambda: friends(bob), [("ada", 2)])
        await bob.call("POST", "/v2/friend", query={"ids": ada.id})
        assert await friends(bob) == [("ada", 0)]
        assert (await user(bob, bob.id))["edge_count"] == 1
        await eventually(lambda: friends(ada), [("bob", 0)])
        await eventually(lambda: _of(user(ada, bob.id), "edge_count"), 1)
        await ada.call("PUT", "/v2/account", {"username": "ada the great"})
        await eventually(lambda: friends(bob), [("ada the great", 0)])

        await bob.call("DELETE", "/v2/account")
        await eventually(lambda: friends(ada), [])
        await eventually(lambda: user(ada, bob.id), {})
        await eventually(lambda: _of(user(ada, ada.id), "edge_count"), None)


async def test_changes_of_groups_and_histories_are_seen_on_every_node(database_url: str, settings: Settings) -> None:
    async with several(database_url, settings=settings) as (a, b):
        ada, bob = await pair(a, b)

        async def groups(bot: Bot) -> list[tuple[str, int]]:
            page = await bot.call("GET", "/v2/group", query={"name": "the%", "limit": 10})
            return [(one["name"], one["edge_count"]) for one in page.get("groups", [])]

        async def members(bot: Bot) -> list[tuple[str, int]]:
            page = await bot.call("GET", f"/v2/group/{group}/user", query={"limit": 10})
            return [(one["user"]["username"], one["state"]) for one in page.get("group_users", [])]

        async def history(bot: Bot) -> list[str]:
            try:
                page = await bot.call("GET", f"/v2/channel/3.{group}..", query={"limit": 10, "forward": "false"})
            except BotError as error:
                return [error.message]
            # Coming and going is told in the history as well.
            return [one["content"] for one in page.get("messages", []) if one["content"] != "{}"]

        assert (await groups(ada), await groups(bob)) == ([], [])
        group = (await ada.call("POST", "/v2/group", {"name": "the club", "open": True}))["id"]
        assert await groups(ada) == [("the club", 1)]
        assert await members(ada) == [("ada", 0)]
        await eventually(lambda: groups(bob), [("the club", 1)])
        assert await members(bob) == [("ada", 0)]

        await bob.call("POST", f"/v2/group/{group}/join")
        assert await members(bob) == [("ada", 0), ("bob", 2)]
        assert await groups(bob) == [("the club", 2)]
        await eventually(lambda: members(ada), [("ada", 0), ("bob", 2)])
        await eventually(lambda: groups(ada), [("the club", 2)])

        assert (await history(ada), await history(bob)) == ([], [])
        await ada.connect()
        channel = (await ada.ask(channel_join={"target": group, "type": 3}))["channel"]["id"]
        for number in range(3):
            message = {"channel_id": channel, "content": f'{{"n":{number}}}'}
            sent = (await ada.ask(channel_message_send=message))["channel_message_ack"]
            assert len(await history(ada)) == number + 1
            await eventually(lambda: _length(history(bob)), number + 1)
        removed = {"channel_id": channel, "message_id": sent["message_id"]}
        await ada.ask(channel_message_remove=removed)
        assert len(await history(ada)) == 2
        await eventually(lambda: _length(history(bob)), 2)

        await ada.call("POST", f"/v2/group/{group}/kick", query={"user_ids": bob.id})
        assert await members(ada) == [("ada", 0)]
        await eventually(lambda: members(bob), [("ada", 0)])
        await ada.call("DELETE", f"/v2/group/{group}")
        assert await groups(ada) == []
        await eventually(lambda: groups(bob), [])
        await eventually(lambda: members(bob), [])


async def test_what_the_server_publishes_is_seen_on_every_node(database_url: str, settings: Settings) -> None:
    async with several(database_url, settings=settings) as (a, b):
        ada, bob = await pair(a, b)
        assert a.node.parts is not None
        storage = a.node.parts.services.storage

        async def shop(bot: Bot) -> list[str]:
            asked = {"object_ids": [{"collection": "config", "key": "shop"}]}
            return [one["value"] for one in (await bot.call("POST", "/v2/storage", asked)).get("objects", [])]

        assert (await shop(ada), await shop(bob)) == ([], [])
        for price in range(3):
            await storage.put("config", "shop", {"price": price}, permission_read=READ_PUBLIC)
            assert await shop(ada) == [f'{{"price": {price}}}']
            await eventually(lambda: shop(bob), [f'{{"price": {price}}}'])
        await storage.put("config", "shop", {"price": 9}, permission_read=READ_OWNER)
        assert await shop(ada) == []
        await eventually(lambda: shop(bob), [])


async def _of(reading: Awaitable[dict[str, Any]], field: str) -> Any:
    return (await reading).get(field)


async def _length(reading: Awaitable[list[Any]]) -> int:
    return len(await reading)
