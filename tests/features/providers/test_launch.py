"""Launching a game: tokens that work once, for a minute, for one provider, as long as their log-in lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from palestra.core.clock import ManualClock
from palestra.testing import Bot, BotError, Platform
from tests.features.providers.conftest import NewPlayer, made_game
from tests.features.providers.provider import OTHER_SECRET, SETTINGS, Provider, Refused, fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def other(platform: Platform) -> Provider:
    return Provider(platform, "other", "k1", OTHER_SECRET)


async def launched(bot: Bot, function: str, asked: dict[str, str]) -> str:
    return (await bot.rpc(function, asked))["token"]


async def word(attempt: object) -> str:
    with pytest.raises(Refused) as told:
        await attempt  # type: ignore[misc]
    return told.value.word


async def test_a_launch_tells_who_plays_and_plays_for_its_asset_only(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    who = await acme.call("authenticate", token=await launched(ann, "play", {"asset": "gems"}))
    assert (who["player_id"], who["balances"]) == (ann.id, {"gems": "100"})
    assert (await acme.debit(ann, who["session"], 5, asset="gems"))["balance"] == "95"
    assert await word(acme.debit(ann, who["session"], 5)) == "wrong_owner"


async def test_a_launch_token_works_for_one_request_which_may_be_repeated(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    token, request = await launched(ann, "play", {}), fresh("q")
    answers = await asyncio.gather(*[acme.call("authenticate", token=token, request_id=request) for _ in range(4)])
    for answer in answers:
        assert (await acme.debit(ann, answer["session"], 1))["balance"]
    assert await word(acme.call("authenticate", token=token)) == "launch_used"


async def test_of_many_requests_one_gets_the_launch(acme: Provider, player: NewPlayer) -> None:
    token = await launched(await player(0), "play", {})
    answers = await asyncio.gather(*[acme.call("authenticate", token=token) for _ in range(6)], return_exceptions=True)
    assert sorted(one.word if isinstance(one, Refused) else "" for one in answers) == ["", *["launch_used"] * 5]  # type: ignore[union-attr]


async def test_a_launch_is_for_one_provider(acme: Provider, other: Provider, player: NewPlayer) -> None:
    ann = await player(0)
    token = await launched(ann, "play", {"provider": "other"})
    assert await word(acme.call("authenticate", token=token)) == "session_ended"
    assert (await other.call("authenticate", token=token))["player_id"] == ann.id


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"provider": "nobody"}, "no provider 'nobody'"),
        ({"provider": "off"}, "switched off"),
        ({"asset": "x"}, "not for 'x'"),
    ],
)
async def test_a_game_is_told_what_cannot_be_launched(player: NewPlayer, asked: dict[str, str], told: str) -> None:
    ann = await player(0)
    with pytest.raises(BotError, match=told):
        await launched(ann, "play", asked)


async def test_play_ends_with_the_log_in_it_was_launched_from(acme: Provider, player: NewPlayer) -> None:
    ann = await player(100)
    unused = await launched(ann, "play", {})
    session = (await acme.call("authenticate", token=await launched(ann, "play", {})))["session"]
    await acme.debit(ann, session, 1)
    await ann.call("POST", "/v2/session/logout", {"token": ann.token, "refresh_token": ann.refresh_token})
    assert await word(acme.debit(ann, session, 1)) == "session_ended"
    assert await word(acme.call("authenticate", token=unused)) == "session_ended"


class Timed:
    """A node whose clock stands still."""

    def __init__(self, platform: Platform, clock: ManualClock) -> None:
        self.platform, self.clock = platform, clock
        self.acme = Provider(platform)


@pytest_asyncio.fixture(loop_scope="module")
async def timed(database_url: str) -> AsyncIterator[Timed]:
    clock = ManualClock(time.time())
    async with Platform.start(made_game(), settings=SETTINGS, database_url=database_url, clock=clock) as platform:
        yield Timed(platform, clock)


async def test_launches_last_a_minute_and_sessions_as_long_as_they_are_set_to(timed: Timed) -> None:
    ann = await timed.platform.bot()
    await ann.rpc("gift", {"amount": 100})
    late, kept = await launched(ann, "play", {}), await launched(ann, "play_by_id", {})
    session = (await timed.acme.call("authenticate", token=kept))["session"]
    timed.clock.advance(61)
    assert await word(timed.acme.call("authenticate", token=late)) == "session_ended"
    assert (await timed.acme.debit(ann, session, 1))["balance"] == "99"
    timed.acme.ahead_seconds = 3_600
    timed.clock.advance(3_600)
    assert await word(timed.acme.debit(ann, session, 1)) == "session_ended"
    assert (await timed.acme.credit(ann, 1))["balance"] == "100"


async def test_play_launched_by_id_ends_when_the_player_is_logged_out_everywhere(timed: Timed) -> None:
    ann = await timed.platform.bot()
    await ann.rpc("gift", {"amount": 100})
    session = (await timed.acme.call("authenticate", token=await launched(ann, "play_by_id", {})))["session"]
    assert (await timed.acme.debit(ann, session, 1))["balance"] == "99"
    timed.clock.advance(2)
    await ann.call("POST", "/v2/session/logout", {})
    assert await word(timed.acme.debit(ann, session, 1)) == "session_ended"


async def test_used_launches_are_swept_once_expired(timed: Timed) -> None:
    ann = await timed.platform.bot()
    parts = timed.platform.node.parts
    assert parts is not None
    for _ in range(3):
        await timed.acme.call("authenticate", token=await launched(ann, "play", {}))
    timed.clock.advance(120)
    await timed.acme.call("authenticate", token=await launched(ann, "play", {}))
    assert await parts.database.fetchval("SELECT count(*) FROM provider_launches") == 1
