"""Refresh, log-out and bans, as players meet them, and across restarts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palestra import Context, Game
from palestra.core.clock import ManualClock
from palestra.core.config import DatabaseSettings, Settings
from palestra.testing import Bot, BotError, Platform

KEY = "Basic " + base64.b64encode(b"defaultkey:").decode()
ACCOUNT, LOGOUT, REFRESH = "/v2/account", "/v2/session/logout", "/v2/account/session/refresh"


def claims_in(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def refreshed(bot: Bot, **more: Any) -> dict[str, Any]:
    return await bot.call("POST", REFRESH, {"token": bot.refresh_token, **more}, authorization=KEY)


async def refusal(waiting: Any) -> tuple[int, int, str]:
    with pytest.raises(BotError) as refused:
        await waiting
    return refused.value.status, refused.value.code, refused.value.message


VOID = (401, 16, "Auth token invalid")
NOT_REFRESHED = (401, 16, "Refresh token invalid or expired.")


def with_ring(folder: Path) -> Settings:
    """Settings of a node that finds its key ring again."""
    return Settings(database=DatabaseSettings(key_ring_file=str(folder / "keyring.json")))


def warden() -> Game:
    game = Game("warden")

    @game.rpc
    async def ban(ctx: Context, ids: list[str]) -> None:
        await ctx.accounts.ban(ids)

    @game.rpc
    async def unban(ctx: Context, ids: list[str]) -> None:
        await ctx.accounts.unban(ids)

    return game


async def test_a_refresh_keeps_the_id_the_log_in_and_the_vars_and_takes_the_new_name(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        ann = await platform.bot(team="red")
        clock.advance(100)
        await ann.call("PUT", ACCOUNT, {"username": "renamed"})
        before = claims_in(ann.token)
        answer = await refreshed(ann)
        after = claims_in(answer["token"])
        assert (after["tid"], after["iat"], after["vrs"]) == (before["tid"], before["iat"], {"team": "red"})
        assert (after["usn"], after["exp"]) == ("renamed", before["exp"] + 100)
        assert claims_in((await refreshed(ann, vars={}))["token"])["vrs"] == {"team": "red"}
        assert claims_in((await refreshed(ann, vars={"team": "blue"}))["token"])["vrs"] == {"team": "blue"}
        assert "created" not in answer


async def test_what_is_no_refresh_token_is_refused(database_url: str) -> None:
    async with Platform.start(database_url=database_url) as platform:
        ann = await platform.bot()
        for token in (ann.token, "nonsense", ann.refresh_token + "x"):
            assert await refusal(ann.call("POST", REFRESH, {"token": token}, authorization=KEY)) == NOT_REFRESHED
        assert await refusal(ann.call("POST", REFRESH, {}, authorization=KEY)) == (400, 3, "Refresh token is required.")


async def test_logging_out_one_token_leaves_the_other_alone(database_url: str) -> None:
    async with Platform.start(database_url=database_url) as platform:
        ann, bob = await platform.bot(), await platform.bot()
        await ann.call("POST", LOGOUT, {"refresh_token": ann.refresh_token})
        await ann.call("GET", ACCOUNT)
        assert await refusal(refreshed(ann)) == NOT_REFRESHED

        await bob.call("POST", LOGOUT, {"token": bob.token})
        assert await refusal(bob.call("GET", ACCOUNT)) == VOID
        # A refresh brings the same token id back, which stays void.
        bob.token = (await refreshed(bob))["token"]
        assert await refusal(bob.call("GET", ACCOUNT)) == VOID


async def test_nobody_logs_out_somebody_else(database_url: str) -> None:
    async with Platform.start(database_url=database_url) as platform:
        ann, bob = await platform.bot(), await platform.bot()
        logout = [{"token": bob.token}, {"refresh_token": bob.refresh_token}, {"token": ann.refresh_token}]
        told = [await refusal(ann.call("POST", LOGOUT, body)) for body in logout]
        assert told == [
            (400, 3, "Session token invalid."),
            (400, 3, "Refresh token invalid."),
            (400, 3, "Session token invalid."),
        ]
        await bob.call("GET", ACCOUNT)
        await refreshed(bob)


async def test_logging_out_everywhere_ends_older_log_ins_and_not_later_ones(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        here = await platform.bot()
        there = Bot(platform.http, platform.url, "defaultkey", here.device_id)
        await there.log_in()
        clock.advance(5)
        await there.call("POST", LOGOUT, {})
        for bot in (here, there):
            assert await refusal(bot.call("GET", ACCOUNT)) == VOID
            assert await refusal(refreshed(bot)) == NOT_REFRESHED
        await here.log_in()
        await here.call("GET", ACCOUNT)


async def test_logging_out_everywhere_ends_the_token_in_hand_even_within_its_first_second(database_url: str) -> None:
    async with Platform.start(database_url=database_url, clock=ManualClock()) as platform:
        ann = await platform.bot()
        await ann.call("POST", LOGOUT, {})
        assert await refusal(ann.call("GET", ACCOUNT)) == VOID
        assert await refusal(refreshed(ann)) == NOT_REFRESHED


async def test_a_refresh_that_overtakes_a_log_out_does_not_outlive_it(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        ann = await platform.bot()
        sessions = platform.node.parts.services.sessions
        clock.advance(5)
        claims = sessions.read_refresh(ann.refresh_token)
        await sessions.revoke_user(ann.id)
        late = sessions.renew(claims, ann.username, {})
        assert sessions.verify(late.token) is None


async def test_revocations_survive_a_restart_and_other_settings(database_url: str, tmp_path: Path) -> None:
    clock = ManualClock()
    settings = with_ring(tmp_path)
    async with Platform.start(database_url=database_url, clock=clock, settings=settings) as platform:
        ann, bob, dan = [await platform.bot() for _ in range(3)]
        clock.advance(5)
        await ann.call("POST", LOGOUT, {})
        await bob.call("POST", LOGOUT, {"token": bob.token, "refresh_token": bob.refresh_token})
    shorter = msgspec.structs.replace(settings.session, token_seconds=60, refresh_token_seconds=120)
    again = msgspec.structs.replace(settings, session=shorter)
    async with Platform.start(database_url=database_url, clock=clock, settings=again) as platform:
        for bot in (ann, bob, dan):
            bot._http, bot._url = platform.http, platform.url
        for bot in (ann, bob):
            assert await refusal(bot.call("GET", ACCOUNT)) == VOID
            assert await refusal(refreshed(bot)) == NOT_REFRESHED
        await dan.call("GET", ACCOUNT)


async def test_a_deleted_players_tokens_are_void_at_once_and_after_a_restart(database_url: str, tmp_path: Path) -> None:
    settings, clock = with_ring(tmp_path), ManualClock()
    async with Platform.start(database_url=database_url, clock=clock, settings=settings) as platform:
        ann = await platform.bot()
        assert await ann.call("DELETE", ACCOUNT) == {}
        assert await refusal(ann.call("GET", ACCOUNT)) == VOID
        assert await refusal(refreshed(ann)) == NOT_REFRESHED
    async with Platform.start(database_url=database_url, clock=clock, settings=settings) as platform:
        ann._http, ann._url = platform.http, platform.url
        assert await refusal(ann.call("GET", ACCOUNT)) == VOID


async def test_a_banned_player_is_out_until_the_ban_is_lifted(database_url: str) -> None:
    async with Platform.start(warden(), database_url=database_url, clock=ManualClock()) as platform:
        ann, admin = await platform.bot(), await platform.bot()
        await ann.connect()
        await admin.rpc("ban", [ann.id.upper()])
        assert (await ann.push("notifications"))["notifications"][0]["code"] == -8
        assert await ann.closed() == 1000
        assert await refusal(ann.call("GET", ACCOUNT)) == VOID
        assert (await refusal(refreshed(ann)))[0] in (401, 403)
        assert await refusal(ann.log_in()) == (403, 7, "User account banned.")

        await admin.rpc("unban", [ann.id])
        await ann.log_in()
        await ann.call("GET", ACCOUNT)
        await refreshed(ann)


async def test_a_log_in_under_way_does_not_slip_past_a_ban(database_url: str) -> None:
    async with Platform.start(database_url=database_url, clock=ManualClock()) as platform:
        ann = await platform.bot()
        services = platform.node.parts.services
        await services.accounts.ban([ann.id])
        # The check of the password began before the ban and ends now.
        late = services.sessions.issue(ann.id, ann.username, {})
        assert services.sessions.verify(late.token) is None


async def test_lifting_a_ban_that_never_was_voids_nothing(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(warden(), database_url=database_url, clock=clock) as platform:
        ann, admin = await platform.bot(), await platform.bot()
        clock.advance(5)
        await ann.call("POST", LOGOUT, {})
        await ann.log_in()
        clock.advance(5)
        await admin.rpc("unban", [ann.id])
        await ann.call("GET", ACCOUNT)


async def test_forgotten_revocations_are_those_of_tokens_that_have_expired(database_url: str) -> None:
    clock = ManualClock()
    async with Platform.start(database_url=database_url, clock=clock) as platform:
        ann, bob = await platform.bot(), await platform.bot()
        sessions, database = platform.node.parts.services.sessions, platform.node.parts.database
        await ann.call("POST", LOGOUT, {"token": ann.token})
        await bob.call("DELETE", ACCOUNT)
        clock.advance(platform.node.settings.session.refresh_token_seconds - 1)
        await sessions.forget_expired()
        assert await database.fetchval("SELECT count(*) FROM revoked_tokens") == 1
        assert await database.fetchval("SELECT count(*) FROM revoked_users") == 1
        clock.advance(platform.node.settings.session.token_seconds + 2)
        await sessions.forget_expired()
        assert await database.fetchval("SELECT count(*) FROM revoked_tokens") == 0
        assert await database.fetchval("SELECT count(*) FROM revoked_users") == 0
