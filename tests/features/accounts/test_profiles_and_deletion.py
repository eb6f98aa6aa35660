"""Changing a profile; leaving for good."""

from __future__ import annotations

import json

from palestra import Context, Game
from palestra.features.accounts.contract import AccountDeleted
from palestra.testing import Platform
from tests.features.accounts.players import Client, outcomes, player, refusal

ACCOUNT = "/v2/account"


async def test_a_profile_keeps_what_is_absent_and_clears_what_is_empty(platform: Platform) -> None:
    ann = await player(platform, "device", {"id": "device-0001"})
    profile = {
        "display_name": "Ann",
        "location": "here",
        "timezone": "Europe/Paris",
        "lang_tag": "fr",
    }
    await ann.call("PUT", ACCOUNT, profile)
    await ann.call("PUT", ACCOUNT, {"location": "", "metadata": '{"ignored":1}'})
    user = (await ann.account())["user"]
    assert {name: user.get(name) for name in profile} == {**profile, "location": None}
    assert user["metadata"] == "{}"
    assert await refusal(ann.call("PUT", ACCOUNT, {})) == (400, 3, "No fields to update.")


async def test_one_of_many_gets_a_name_that_all_want_at_once(platform: Platform) -> None:
    players = [await player(platform, "device", {"id": f"device-{number:04}"}) for number in range(5)]
    found = await outcomes(*[one.call("PUT", ACCOUNT, {"username": "ann"}) for one in players])
    assert found.count({}) == 1
    assert [one for one in found if one != {}] == [(409, 6, "Username is already in use.")] * 4


async def test_a_text_that_the_database_cannot_hold_is_refused(platform: Platform) -> None:
    ann = await player(platform, "device", {"id": "device-0001"})
    told = (400, 3, "Error while trying to update account.")
    assert await refusal(ann.call("PUT", ACCOUNT, {"display_name": "a\0b"})) == told


def harvest() -> Game:
    game = Game("harvest")

    @game.rpc
    async def settle(ctx: Context) -> None:
        """One of everything a player can own."""
        await ctx.leaderboards.create("weekly", sort="desc", operator="best")
        await ctx.leaderboards.submit("weekly", ctx.player.id, ctx.player.username, 10, 0)
        await ctx.wallet.change(ctx.player, {"coins": 5}, key="first")
        await ctx.storage.put("saves", "one", {"level": 1}, user_id=ctx.player.id)

    @game.rpc
    async def leave(ctx: Context, player_id: str) -> None:
        await ctx.accounts.delete(player_id)

    return game


async def rows_of(platform: Platform, user_id: str) -> dict[str, int]:
    """How many rows of each table name a player anywhere, revocations aside."""
    database = platform.node.parts.database
    found: dict[str, int] = {}
    columns = await database.fetch(
        """SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> 'revoked_users' AND data_type IN ('uuid', 'text')"""
    )
    for table, column in columns:
        count = await database.fetchval(f'SELECT count(*) FROM "{table}" WHERE "{column}"::text = $1', user_id)
        if count:
            found[table] = max(count, found.get(table, 0))
    return found


async def settled(platform: Platform) -> tuple[Client, Client]:
    """A player who owns one of everything, and a friend."""
    ann = await player(platform, "device", {"id": "device-0001"}, username="ann")
    bob = await player(platform, "device", {"id": "device-0002"}, username="bob")
    await ann.call("POST", "/v2/rpc/settle", "")
    await ann.call("POST", "/v2/friend", ids=bob.id)
    await bob.call("POST", "/v2/friend", ids=ann.id)
    await ann.call("POST", "/v2/group", {"name": "hers alone"})
    theirs = await bob.call("POST", "/v2/group", {"name": "theirs", "open": True})
    await ann.call("POST", f"/v2/group/{theirs['id']}/join")
    return ann, bob


async def test_a_player_who_leaves_takes_everything_along(database_url: str) -> None:
    async with Platform.start(harvest(), database_url=database_url) as platform:
        ann, bob = await settled(platform)
        owned = await rows_of(platform, ann.id)
        expected = {"users", "identities", "objects", "leaderboard_records", "friends", "groups", "group_members"}
        assert expected | {"ledger_accounts", "notifications"} <= owned.keys()

        assert await ann.call("DELETE", ACCOUNT) == {}
        assert await rows_of(platform, ann.id) == {}
        groups = (await bob.call("GET", "/v2/group", limit="10"))["groups"]
        assert [(group["name"], group["edge_count"]) for group in groups] == [("theirs", 1)]
        assert "edge_count" not in (await bob.account())["user"]
        assert await bob.call("GET", "/v2/friend") == {}
        assert (await bob.call("GET", "/v2/leaderboard/weekly")).get("records") is None
        # Her way in is free again, for somebody new.
        again = await player(platform, "device", {"id": "device-0001"}, username="ann")
        assert again.created and again.id != ann.id


async def test_a_deletion_that_fails_half_way_changes_nothing(database_url: str) -> None:
    async with Platform.start(harvest(), database_url=database_url) as platform:
        ann, _ = await settled(platform)
        owned = await rows_of(platform, ann.id)

        async def fails(deleted: AccountDeleted) -> None:
            assert await deleted.tx.fetchval("SELECT count(*) FROM objects WHERE user_id = $1", deleted.user_id) == 0
            raise RuntimeError("a later subscriber breaks")

        platform.node.parts.services.accounts._events.subscribe(AccountDeleted, fails)
        assert (await refusal(ann.call("DELETE", ACCOUNT)))[:2] == (500, 13)
        assert await rows_of(platform, ann.id) == owned
        assert json.loads((await ann.account())["wallet"]) == {"coins": 5}


async def test_deleting_twice_at_once_and_deleting_friends_at_once_is_fine(database_url: str) -> None:
    async with Platform.start(harvest(), database_url=database_url) as platform:
        ann, bob = await settled(platform)
        await bob.call("POST", "/v2/rpc/settle", "")
        leave = [one.call("DELETE", ACCOUNT) for one in (ann, bob, ann, bob)]
        assert {str(one) for one in await outcomes(*leave)} <= {"{}", "(401, 16, 'Auth token invalid')"}
        for one in (ann, bob):
            assert await rows_of(platform, one.id) == {}


async def test_game_code_deletes_a_player_whose_socket_ends(database_url: str) -> None:
    async with Platform.start(harvest(), database_url=database_url) as platform:
        ann, admin = await platform.bot(), await platform.bot()
        await ann.connect()
        await admin.call("POST", "/v2/rpc/leave", ann.id.upper())
        assert await ann.closed() == 1000
        assert await rows_of(platform, ann.id) == {}
