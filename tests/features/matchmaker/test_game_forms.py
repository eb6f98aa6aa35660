"""Games that form the matches themselves, and mistakes in what games declare."""

from __future__ import annotations

import pytest

from palestra import Context, Game
from palestra.core.errors import SetupError
from palestra.matchmaking import TicketInfo
from palestra.sdk.bounds import Bounds
from palestra.sdk.runtime import Runtime
from palestra.testing import Platform
from tests.features.matchmaker.conftest import connected


async def test_a_game_may_form_the_matches_itself(database_url: str) -> None:
    game = Game("drafts")
    seen: list[int] = []

    @game.form_matches(every_seconds=0.01)
    async def form(ctx: Context, tickets: list[TicketInfo]) -> list[list[TicketInfo]]:
        seen.append(len(tickets))
        # Three at a time, whatever they asked for; and a group that cannot be, which is left out.
        return [tickets[:3], tickets[:1] * 2] if len(tickets) > 2 else []

    async with Platform.start(game, database_url=database_url) as platform:
        bots = await connected(platform, 3)
        for bot in bots:
            await bot.ask(matchmaker_add={"min_count": 2, "max_count": 2, "query": "+properties.no:body"})
        matched = [await bot.push("matchmaker_matched") for bot in bots]
        assert all(len(one["users"]) == 3 for one in matched)
        assert max(seen) == 3


async def test_a_game_that_forms_nonsense_forms_nothing(database_url: str) -> None:
    game = Game("nonsense")

    @game.form_matches(every_seconds=0.01)
    async def form(ctx: Context, tickets: list[TicketInfo]) -> list[list[TicketInfo]]:
        return [["not", "tickets"]]  # type: ignore[list-item]

    async with Platform.start(game, database_url=database_url) as platform:
        (bot,) = await connected(platform, 1)
        await bot.ask(matchmaker_add={"min_count": 2, "max_count": 2})
        parts = platform.node.parts
        assert parts is not None
        assert await parts.runtime.form(await parts.platform.matchmaker.tickets()) == []
        assert (await bot.call("GET", "/v2/matchmaker/stats"))["ticket_count"] == 1


def test_mistakes_in_declarations_are_found_at_once() -> None:
    game = Game("wrong")
    with pytest.raises(SetupError, match=r"did you mean 'properties\.region'"):
        game.relax(drop="region", after_seconds=5)
    with pytest.raises(SetupError, match="after_seconds"):
        game.relax(drop="properties.region", after_seconds=-5)
    with pytest.raises(SetupError, match="every_seconds"):
        game.near("skill", start=5, step=5, every_seconds=0, most=5)
    with pytest.raises(SetupError, match=r"it takes \(ctx, match\)"):

        @game.matched
        async def matched(ctx: Context) -> None: ...

    with pytest.raises(SetupError, match="every_seconds"):

        @game.form_matches(every_seconds=0)
        async def too_often(ctx: Context, tickets: list[TicketInfo]) -> list[list[TicketInfo]]: ...


def test_only_one_game_forms_the_matches() -> None:
    first, second = Game("first"), Game("second")
    for game in (first, second):

        @game.form_matches()
        async def form(ctx: Context, tickets: list[TicketInfo]) -> list[list[TicketInfo]]:
            return []

    with pytest.raises(SetupError, match="already"):
        Runtime(Bounds(1)).check([first, second])
    with pytest.raises(SetupError, match="already"):
        first.form_matches()(form)
