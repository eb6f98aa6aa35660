"""The matchmaker as players meet it, over real sockets."""

from __future__ import annotations

from typing import Any

import pytest

from palestra.core.clock import ManualClock
from palestra.testing import Bot, Platform
from palestra.testing.bot import BotError
from tests.features.matchmaker.conftest import connected


async def add(bot: Bot, **request: Any) -> str:
    """A ticket, for two unless said otherwise."""
    reply = await bot.ask(matchmaker_add={"min_count": 2, "max_count": 2, **request})
    return reply["matchmaker_ticket"]["ticket"]


async def refused(bot: Bot, **message: Any) -> tuple[int, str]:
    with pytest.raises(BotError) as error:
        await bot.ask(**message)
    return error.value.code, error.value.message


async def quiet(bot: Bot) -> bool:
    """Whether nothing of the matchmaker has come to a player."""
    await bot.ask(ping={})
    return not any("matchmaker_matched" in envelope for envelope in bot.pushes)


async def test_two_players_are_matched_and_meet_by_token(platform: Platform) -> None:
    ann, bob = await connected(platform, 2)
    anns = await add(ann, query="*", string_properties={"region": "eu"}, numeric_properties={"rank": 7})
    bobs = await add(bob, query="+properties.rank:>=7")
    seen = [await ann.push("matchmaker_matched"), await bob.push("matchmaker_matched")]
    assert [one["ticket"] for one in seen] == [anns, bobs]
    assert seen[0]["token"] == seen[1]["token"]
    assert "match_id" not in seen[0]
    assert seen[0]["users"] == seen[1]["users"] == [seen[0]["self"], seen[1]["self"]]
    assert seen[0]["self"]["string_properties"] == {"region": "eu"}
    assert seen[0]["self"]["numeric_properties"] == {"rank": 7}
    assert seen[0]["self"]["presence"]["username"] == ann.username
    assert set(seen[1]["self"]) == {"presence"}

    first = (await ann.ask(match_join={"token": seen[0]["token"]}))["match"]
    second = (await bob.ask(match_join={"token": seen[1]["token"]}))["match"]
    assert first["match_id"] == second["match_id"]
    assert second["size"] == 1


async def test_a_text_and_a_number_of_the_same_name_are_both_shown_and_queries_see_the_number(
    platform: Platform,
) -> None:
    ann, bob = await connected(platform, 2)
    await add(ann, string_properties={"rank": "gold"}, numeric_properties={"rank": 7})
    await add(bob, query="+properties.rank:7 -properties.rank:gold")
    shown = (await ann.push("matchmaker_matched"))["self"]
    assert (shown["string_properties"], shown["numeric_properties"]) == ({"rank": "gold"}, {"rank": 7})


async def test_the_reply_comes_before_the_match(platform: Platform) -> None:
    ann, bob = await connected(platform, 2)
    await add(ann)
    ticket = await add(bob)
    assert (await bob.push("matchmaker_matched"))["ticket"] == ticket


async def test_the_game_may_send_players_to_a_match_of_its_own(platform: Platform) -> None:
    ann, bob = await connected(platform, 2)
    for bot in (ann, bob):
        await add(bot, string_properties={"meet": "here"})
    for bot in (ann, bob):
        matched = await bot.push("matchmaker_matched")
        assert matched["match_id"] == "11111111-1111-4111-8111-111111111111.palestra"
        assert "token" not in matched


async def test_a_game_that_fails_leaves_players_with_a_relayed_match(platform: Platform) -> None:
    ann, bob = await connected(platform, 2)
    for bot in (ann, bob):
        await add(bot, string_properties={"meet": "fails"})
    assert "token" in await ann.push("matchmaker_matched")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"min_count": 1, "max_count": 2}, "Invalid minimum count, must be >= 2"),
        ({"min_count": 3, "max_count": 2}, "Invalid maximum count, must be >= minimum count"),
        ({"min_count": 2, "max_count": 2, "count_multiple": 0}, "Invalid count multiple, must be >= 1"),
        (
            {"min_count": 3, "max_count": 4, "count_multiple": 2},
            "Invalid count multiple for minimum count, must divide",
        ),
        (
            {"min_count": 2, "max_count": 3, "count_multiple": 2},
            "Invalid count multiple for maximum count, must divide",
        ),
    ],
)
async def test_counts_that_do_not_go_together_are_refused(
    platform: Platform, request_: dict[str, Any], message: str
) -> None:
    (bot,) = await connected(platform, 1)
    assert await refused(bot, matchmaker_add=request_) == (3, message)


async def test_other_refusals_do_not_tell_their_cause(platform: Platform) -> None:
    (bot,) = await connected(platform, 1)
    plain = {"min_count": 2, "max_count": 2}
    failed = (0, "Error adding to matchmaker")
    assert await refused(bot, matchmaker_add={**plain, "query": '"'}) == failed
    assert await refused(bot, matchmaker_add={"min_count": 257, "max_count": 300}) == failed
    for _ in range(3):
        await add(bot, query="+properties.x:1")
    assert await refused(bot, matchmaker_add=plain) == failed


async def test_tickets_are_removed_by_their_owner_only(platform: Platform) -> None:
    ann, bob = await connected(platform, 2)
    ticket = await add(ann, query="+properties.x:1")
    unknown = (3, "Matchmaker ticket not found")
    assert await refused(bob, matchmaker_remove={"ticket": ticket}) == unknown
    assert await refused(ann, matchmaker_remove={}) == (3, "Invalid matchmaker ticket")
    assert await ann.ask(matchmaker_remove={"ticket": ticket}) == {}
    assert await refused(ann, matchmaker_remove={"ticket": ticket}) == unknown
    for _ in range(3):
        await add(ann, query="+properties.x:1")


async def test_who_leaves_waits_no_more(platform: Platform) -> None:
    ann, bob = await connected(platform, 2)
    await add(ann)
    await ann.leave()
    await add(bob)
    assert await quiet(bob)
    assert (await bob.call("GET", "/v2/matchmaker/stats"))["ticket_count"] == 1


async def test_figures_tell_of_tickets_and_of_the_last_that_were_matched(
    platform: Platform, clock: ManualClock
) -> None:
    ann, bob, eve = await connected(platform, 3)
    assert await ann.call("GET", "/v2/matchmaker/stats") == {}
    await add(ann)
    clock.advance(2)
    await add(bob)
    await bob.push("matchmaker_matched")
    await add(eve)
    found = await ann.call("GET", "/v2/matchmaker/stats")
    assert found["ticket_count"] == 1
    assert found["oldest_ticket_create_time"] == "2025-06-15T15:06:42Z"
    assert found["completions"] == [
        {"create_time": "2025-06-15T15:06:40Z", "complete_time": "2025-06-15T15:06:42Z"},
        {"create_time": "2025-06-15T15:06:42Z", "complete_time": "2025-06-15T15:06:42Z"},
    ]


async def test_what_the_game_declared_relaxes_as_time_goes_by(platform: Platform, clock: ManualClock) -> None:
    ann, bob = await connected(platform, 2)
    await add(ann, query="+properties.region:eu", string_properties={"region": "eu"}, numeric_properties={"skill": 10})
    ticket = await add(
        bob, query="+properties.region:us", string_properties={"region": "us"}, numeric_properties={"skill": 80}
    )
    assert await bob.rpc_text("why", ticket) == '{"query":1}'
    clock.advance(11)
    platform.relax()
    assert (await bob.push("matchmaker_matched"))["ticket"] == ticket


async def test_a_running_match_is_filled(platform: Platform) -> None:
    ann, bob, eve = await connected(platform, 3)
    backfill = await ann.rpc_text("fill", "2")
    joins = {"join": "running"}
    await add(ann, min_count=2, max_count=4, string_properties=joins)
    matched = await ann.push("matchmaker_matched")
    assert matched["match_id"] == "22222222-2222-4222-8222-222222222222.palestra"
    assert matched["users"] == [matched["self"]]
    await add(bob, min_count=2, max_count=2, string_properties=joins)
    assert await quiet(bob)
    assert await ann.rpc_text("end", backfill) == "1"
    assert await ann.rpc_text("end", backfill) == "0"
    await add(eve, min_count=2, max_count=4, string_properties=joins)
    assert await quiet(eve)


async def test_the_game_may_withdraw_a_ticket(platform: Platform) -> None:
    (ann,) = await connected(platform, 1)
    ticket = await add(ann)
    assert await ann.rpc_text("withdraw", ticket) == "0"
    with pytest.raises(BotError, match="matchmaker ticket not found"):
        await ann.rpc_text("withdraw", ticket)


async def test_players_learn_why_their_own_ticket_waits_and_nothing_of_others(
    platform: Platform, clock: ManualClock
) -> None:
    ann, bob, eve = await connected(platform, 3)
    ticket = await add(ann, query="+properties.mode:duel", string_properties={"mode": "duel"})
    await add(bob, string_properties={"mode": "team"})
    await add(eve, min_count=3, max_count=3, string_properties={"mode": "duel"})
    clock.advance(4)
    path = f"/v2/palestra/matchmaker/{ticket}"
    assert await ann.call("GET", path) == {
        "ticket": ticket,
        "query": "+properties.mode:duel",
        "waited_seconds": 4.0,
        "looked_at": 2,
        "reasons": {"query": 1, "counts": 1},
    }
    for asks, asked in ((bob, path), (ann, "/v2/palestra/matchmaker/no-such-ticket")):
        with pytest.raises(BotError) as error:
            await asks.call("GET", asked)
        assert (error.value.status, error.value.code) == (404, 5)
