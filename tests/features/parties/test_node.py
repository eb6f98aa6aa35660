"""Parties on a whole node: listed over HTTP, seen and shaped by game code."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from palestra import Context, Game, GameError
from palestra.core.config import SessionSettings, Settings
from palestra.requests import PartiesCreate, PartiesJoin
from palestra.testing import Bot, BotError, Platform


class Asked(msgspec.Struct):
    show_hidden: bool = False
    query: str = ""


def made_game() -> Game:
    game = Game("halls")

    @game.before("parties.create")
    async def no_giants(ctx: Context, request: PartiesCreate) -> PartiesCreate:
        if request.max_size > 100:
            raise GameError("too large for this game", code="invalid_argument")
        return request

    @game.before("parties.join")
    async def by_invitation(ctx: Context, request: PartiesJoin) -> PartiesJoin:
        if ctx.player.vars.get("banned"):
            raise GameError("not you", code="permission_denied")
        return request

    @game.rpc
    async def labels(ctx: Context, asked: Asked) -> list[str]:
        page = await ctx.parties.list(limit=100, show_hidden=asked.show_hidden, query=asked.query)
        return [party.label for party in page.parties]

    return game


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    settings = Settings(node="n1", session=SessionSettings(single_party=True))
    async with Platform.start(made_game(), settings=settings, database_url=database_url) as running:
        yield running


async def leader_of(platform: Platform, **party: Any) -> tuple[Bot, str]:
    """A connected player with a party of its own."""
    bot = await platform.bot()
    await bot.connect()
    return bot, (await bot.ask(party_create={"max_size": 4, **party}))["party"]["party_id"]


async def test_players_find_what_is_not_hidden_and_games_find_all(platform: Platform) -> None:
    ann, first = await leader_of(platform, open=True, label='{ "mode": "duo" }')
    await leader_of(platform, hidden=True, label='{"mode":"solo"}')
    assert first.endswith(".n1")
    shown = {"party_id": first, "open": True, "max_size": 4, "label": '{"mode":"duo"}'}
    assert await ann.call("GET", "/v2/party") == {"parties": [shown]}
    assert await ann.call("GET", "/v2/party", query={"open": "false"}) == {}
    assert await ann.call("GET", "/v2/party", query={"query": "+label.mode:d*"}) == {"parties": [shown]}
    assert await ann.call("GET", "/v2/party", query={"query": '+label.mode:"duo"'}) == {}
    assert await ann.rpc("labels", {}) == ['{"mode":"duo"}']
    assert await ann.rpc("labels", {"show_hidden": True}) == ['{"mode":"solo"}', '{"mode":"duo"}']
    assert await ann.rpc("labels", {"show_hidden": True, "query": "+label.mode:solo"}) == ['{"mode":"solo"}']


async def test_pages_over_http_and_what_is_refused_there(platform: Platform) -> None:
    ann, _ = await leader_of(platform)
    for _ in range(2):
        await leader_of(platform)
    seen: list[str] = []
    cursor = ""
    for left in (2, 1, 0):
        page = await ann.call("GET", "/v2/party", query={"limit": "1", "cursor": cursor})
        seen += [one["party_id"] for one in page["parties"]]
        cursor = page.get("cursor", "")
        assert bool(cursor) is bool(left)
    assert len(set(seen)) == 3
    for query in ({"limit": "0"}, {"limit": "101"}, {"cursor": "garbage"}, {"query": 'label.a:"'}, {"open": "maybe"}):
        with pytest.raises(BotError) as refused:
            await ann.call("GET", "/v2/party", query=query)
        assert (refused.value.status, refused.value.code) == (400, 3), query


async def test_operators_see_how_many_there_are(platform: Platform) -> None:
    ann, party = await leader_of(platform)
    await leader_of(platform)
    await ann.ask(party_leave={"party_id": party})
    async with platform.http.get(f"{platform.console_url}/metrics") as answer:
        assert "palestra_parties 1.0" in await answer.text()


async def test_hooks_decide_and_their_words_reach_the_player(platform: Platform) -> None:
    _, party = await leader_of(platform, open=True)
    bot = await platform.bot(banned="yes")
    await bot.connect()
    for message in ({"party_create": {"max_size": 101}}, {"party_join": {"party_id": party}}):
        with pytest.raises(BotError) as refused:
            await bot.ask(**message)
        assert refused.value.code == 7
        assert refused.value.message in ("too large for this game", "not you")


async def test_with_single_party_a_join_is_a_leave(platform: Platform) -> None:
    ann, first = await leader_of(platform, open=True)
    bob, _ = await leader_of(platform, open=True, label='{"of":"bob"}')
    await bob.ask(party_join={"party_id": first})
    assert [json.loads(one) for one in await ann.rpc("labels", {})] == [{}]


async def test_a_lost_connection_is_a_leave(platform: Platform) -> None:
    ann, party = await leader_of(platform, open=True)
    bob = await platform.bot()
    await bob.connect()
    await bob.ask(party_join={"party_id": party})
    await bob.push("party")
    await ann.leave()
    assert (await bob.push("party_leader"))["presence"]["username"] == bob.username
    coming, going = await bob.push("party_presence_event"), await bob.push("party_presence_event")
    assert [one["username"] for one in coming["joins"]] == [bob.username]
    assert [one["username"] for one in going["leaves"]] == [ann.username]
