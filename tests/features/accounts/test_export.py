"""Everything about a player as one JSON object: complete, and nobody else's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from palestra import Context, Game, GameError, Limit
from palestra.app.build import export_statements
from palestra.core.clock import ManualClock
from palestra.features.accounts import exports
from palestra.features.accounts.contract import AccountNotFound, ExportsBusy
from palestra.testing import Platform
from tests.features.accounts.players import PASSWORD, Client, player, refusal
from tests.features.accounts.test_profiles_and_deletion import rows_of

EXPORT = "/v2/palestra/account/export"
NOT_PLAYERS = {"id", "token_id", "round_id", "stake_id", "group_id", "digest", "queue_manager_id", "built_user"}
"""Columns of ids that are not those of players."""
BESIDE = {"users", "identities"}
"""Read by statements of their own: the profile, and what only the key ring opens."""
DERIVED = {"object_index_entries", "object_index_values"}
"""Copies of parts of objects, which are in a section."""

FROM_OUTSIDE = (
    "INSERT INTO revoked_users (user_id, issued_before, expires_at) VALUES ($1, 'epoch', now())",
    "INSERT INTO purchases VALUES (4, 'of ' || $1::text, $1::text::uuid, 'gems', 1, 1, '{}', now(), now(), now())",
    """INSERT INTO subscriptions
    VALUES (0, 'of ' || $1::text, $1::text::uuid, 'pass', 1, '{}', '', now(), now(), now(), now(), NULL, now())""",
)
"""Rows that take a store's word, or a log-out."""


def everything() -> Game:
    game = Game("everything")

    @game.rpc
    async def play(ctx: Context, other_id: str) -> None:
        """One of everything that a player can have, marked with the player's name."""
        me, mark = ctx.player, ctx.player.username
        await ctx.leaderboards.create("weekly", sort="desc", operator="best")
        await ctx.leaderboards.submit("weekly", me.id, me.username, 10, 0, {"mark": mark})
        await ctx.storage.put("saves", mark, {"level": 1}, user_id=me.id)
        await ctx.wallet.change(me, {"coins": 2**58}, metadata={"mark": mark})
        await ctx.limits.set(me, [Limit("stake", "24h", 1000, "coins")])
        await ctx.chat.send("2...lobby", {"mark": mark}, me.id, me.username)
        await ctx.notifications.send(me.id, "hello " + mark, {}, 1)
        await ctx.fair.draw(me, key="round")
        await ctx.wallet.change(other_id, {"coins": 100}, metadata={"mark": "gift"})
        opened = await ctx.rounds.open(
            game="everything", stakes={me.id: 11, other_id: 22}, inputs={"above": 3}, asset="coins"
        )
        opened = await ctx.rounds.stake(opened, {me.id: 33, other_id: 44})
        await ctx.rounds.settle(opened, payouts={me.id: 55, other_id: 55}, result={"rolled": 5})

    @game.rpc
    async def about(ctx: Context, player_id: str) -> Any:
        return await ctx.accounts.export(player_id)

    return game


async def two_players(platform: Platform) -> tuple[Client, Client]:
    """Ann and Bob, friends in one group, who have one of everything each."""
    ann = await player(platform, "device", {"id": "device-of-ann"}, username="ann-mark")
    bob = await player(platform, "device", {"id": "device-of-bob"}, username="bob-mark")
    await ann.link("email", {"email": "ann@example.com", "password": PASSWORD})
    for one, other in ((ann, bob), (bob, ann)):
        await one.call("POST", "/v2/rpc/play", other.id)
        await one.call("POST", "/v2/palestra/fair/rotate", {})
        await one.call("POST", "/v2/friend", ids=other.id)
        group = await one.call("POST", "/v2/group", {"name": "group of " + one.id, "open": True})
        await other.call("POST", f"/v2/group/{group['id']}/join")
        for statement in FROM_OUTSIDE:
            await platform.node.parts.database.execute(statement, one.id)
    return ann, bob


def tables_of(statements: dict[str, str]) -> set[str]:
    """The tables that statements read."""
    return {table for text in statements.values() for table in re.findall(r"\b(?:FROM|JOIN) (\w+)", text)}


async def test_an_export_holds_one_of_everything_of_one_player_alone(database_url: str) -> None:
    async with Platform.start(everything(), database_url=database_url) as platform:
        ann, bob = await two_players(platform)
        found = await ann.call("GET", EXPORT)
        assert found["player_id"] == ann.id
        sections = {name: section["items"] for name, section in found["sections"].items()}
        assert sections.keys() == {"identifiers", *export_statements()}
        assert [name for name, items in sections.items() if not items] == []
        assert not any("truncated" in section for section in found["sections"].values())

        assert sections["identifiers"] == [
            {"kind": "device", "id": "device-of-ann"},
            {"kind": "email", "id": "ann@example.com"},
        ]
        (account,) = sections["account"]
        assert (account["username"], account["has_password"]) == ("ann-mark", True)
        assert sections["objects"][0]["value"] == {"level": 1}
        assert sections["friends"][0]["state"] == "friend" and sections["friends"][0]["user_id"] == bob.id
        assert sorted(group["state"] for group in sections["groups"]) == ["member", "superadmin"]
        (wallet,) = sections["wallet"]
        assert wallet["balance"] == str(2**58 + 100 - 11 - 33 + 55 - 22 - 44 + 55)
        assert {line["direction"] for line in sections["wallet_history"]} == {"in", "out"}
        played = {round["stake"]: (round["later_stakes"], round["payout"]) for round in sections["rounds"]}
        assert played == {"11": (["33"], "55"), "22": (["44"], "55")}
        (past,) = sections["fair_past_seeds"]
        assert sections["fair_keyed_draws"] == [{"key": "round", "number": 1, "nonce": "0"}]
        assert past["server_seed"] and "sealed" not in str(sections["fair_seeds"])

        by_game = json.loads((await bob.call("POST", "/v2/rpc/about", ann.id))["payload"])
        assert by_game["sections"] == found["sections"]
        # The platform names friends in what it tells of them.
        sections["notifications"] = [item for item in sections["notifications"] if item["code"] > 0]
        text = json.dumps(sections)
        assert "bob-mark" not in text and "device-of-bob" not in text


async def test_every_table_that_names_a_player_is_in_a_section(database_url: str) -> None:
    async with Platform.start(everything(), database_url=database_url) as platform:
        ann, _ = await two_players(platform)
        columns = await platform.node.parts.database.fetch(
            """SELECT t.table_name, c.column_name, c.data_type FROM information_schema.columns c
            JOIN information_schema.tables t USING (table_schema, table_name)
            WHERE table_schema = 'public' AND t.table_type = 'BASE TABLE'"""
        )
        tables = {table for table, _, _ in columns}
        named = {table for table, column, kind in columns if kind == "uuid" and column not in NOT_PLAYERS}
        named |= tables & (await rows_of(platform, ann.id)).keys()
        exported = tables_of(export_statements()) | BESIDE | DERIVED
        assert named - exported == set(), "give what these tables keep of a player a section"


async def test_an_export_of_nobody_is_refused(platform: Platform) -> None:
    accounts = platform.node.parts.services.accounts
    for nobody in ("no id", "00000000-0000-4000-8000-000000000000"):
        with pytest.raises(AccountNotFound):
            await accounts.export(nobody)


async def test_a_section_is_cut_at_its_limits_and_says_so(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await player(platform, "device", {"id": "device-0001"})
    for key in ("a", "b", "c"):
        await platform.node.parts.services.storage.put("saves", key, {"text": "x" * 100}, user_id=ann.id)
    for limit, value, kept in (("SECTION_ITEMS_MAX", 2, 2), ("SECTION_BYTES_MAX", 500, 1), ("PAGE_ROWS", 1, 3)):
        with monkeypatch.context() as patch:
            patch.setattr(exports, limit, value)
            section = (await ann.call("GET", EXPORT))["sections"]["objects"]
        assert len(section["items"]) == kept
        assert section.get("truncated", False) is (kept < 3)


async def test_more_exports_at_once_than_allowed_are_refused(platform: Platform) -> None:
    ann = await player(platform, "device", {"id": "device-0001"})
    being_made = platform.node.parts.services.accounts._exports._being_made
    for others in ({ann.id}, {"one", "another"}):
        being_made.update(others)
        assert await refusal(ann.call("GET", EXPORT)) == (429, 8, ExportsBusy().message)
        being_made.clear()
    assert (await ann.call("GET", EXPORT))["player_id"] == ann.id
    assert being_made == set()


async def test_a_game_can_ask_for_a_recent_log_in(database_url: str) -> None:
    game = Game("careful")

    @game.before("accounts.export")
    async def recent(ctx: Context, request: Any) -> Any:
        if ctx.now() - ctx.player.logged_in_at > 300:
            raise GameError("log in again", code="permission_denied")
        return request

    clock = ManualClock()
    async with Platform.start(game, database_url=database_url, clock=clock) as platform:
        ann = await player(platform, "device", {"id": "device-0001"})
        assert (await ann.call("GET", EXPORT))["player_id"] == ann.id
        clock.advance(301)
        assert await refusal(ann.call("GET", EXPORT)) == (403, 7, "log in again")
