"""Parties whose members are on several nodes: the same to all of them as on one node."""

from __future__ import annotations

import json
import re
from typing import Any

from palestra.core.config import PartySettings, SessionSettings, Settings
from palestra.testing import Bot, BotError, Platform
from tests.cluster.cut import cut, kill, parts_of
from tests.cluster.several import QUICK, several
from tests.cluster.test_matchmaker import led
from tests.cluster.test_nodes import on
from tests.waiting import until

NAMES = "ada", "bob", "eve"
LIFE: list[tuple[str, str, dict[str, Any]]] = [
    ("bob", "party_join", {}),
    ("ada", "party_join_request_list", {}),
    ("bob", "party_accept", {"presence": "bob"}),
    ("ada", "party_accept", {"presence": "bob"}),
    ("eve", "party_join", {}),
    ("eve", "party_join", {}),
    ("ada", "party_remove", {"presence": "eve"}),
    ("eve", "party_join", {}),
    ("ada", "party_accept", {"presence": "eve"}),
    ("bob", "party_data_send", {"op_code": "5", "data": "aGk="}),
    ("eve", "party_data_send", {"op_code": "6", "data": "eW8="}),
    ("bob", "party_promote", {"presence": "bob"}),
    ("ada", "party_promote", {"presence": "bob"}),
    ("ada", "party_update", {"label": "{}"}),
    ("bob", "party_update", {"label": '{"map":"ice"}', "open": True}),
    ("eve", "party_matchmaker_add", {"min_count": 4, "max_count": 4, "query": "*"}),
    ("bob", "party_matchmaker_add", {"min_count": 1, "max_count": 4, "query": "*"}),
    ("bob", "party_matchmaker_add", {"min_count": 4, "max_count": 4, "query": "*"}),
    ("eve", "party_leave", {}),
    ("eve", "party_data_send", {"op_code": "7", "data": "eW8="}),
    ("eve", "party_join", {}),
    ("bob", "party_promote", {"presence": "eve"}),
    ("bob", "party_close", {}),
    ("eve", "party_remove", {"presence": "ada"}),
    ("ada", "party_join", {}),
    ("eve", "leave", {}),
    ("ada", "party_leave", {}),
    ("ada", "party_join", {}),
    ("ada", "party_close", {}),
    ("bob", "party_promote", {"presence": "ada"}),
    ("ada", "party_close", {}),
    ("bob", "party_join", {}),
]


async def act(bot: Bot, **message: Any) -> dict[str, Any]:
    """The reply, be it a refusal, without its cid."""
    try:
        reply = await bot.ask(**message)
    except BotError as error:
        return {"error": [error.code, error.message]}
    return {key: value for key, value in reply.items() if key != "cid"}


class Story:
    """What three players were told, step by step, with the ids of players and sessions numbered."""

    def __init__(self, bots: dict[str, Bot]) -> None:
        self.bots = bots
        self.counts: list[list[int]] = []
        self.replies: list[dict[str, Any]] = []
        self.presences: dict[str, Any] = {}

    async def live(self, like: Story | None = None) -> None:
        """All of it; where another story is told, at each step until as much was said."""
        self.replies.append(await act(self.bots["ada"], party_create={"max_size": 4}))
        party_id = self.replies[0]["party"]["party_id"]
        for name, bot in self.bots.items():
            own = (await bot.ask(channel_join={"target": f"own-{name}", "type": 1}))["channel"]["self"]
            self.presences[name] = {key: own[key] for key in ("user_id", "session_id", "username")}
        for step, (name, message, more) in enumerate(LIFE):
            asked = {**more, "party_id": party_id}
            if "presence" in more:
                asked["presence"] = self.presences[more["presence"]]
            if message == "leave":
                await self.bots[name].leave()
            else:
                self.replies.append(await act(self.bots[name], **{message: asked}))
            await self.heard(None if like is None else like.counts[step])
            self.counts.append([len(self.said(bot)) for bot in self.bots.values()])

    async def heard(self, counts: list[int] | None) -> None:
        if counts is not None:
            wanted = list(zip(self.bots.values(), counts, strict=True))
            await until(lambda: all(len(self.said(bot)) >= count for bot, count in wanted), 5)
        for bot in self.bots.values():
            if bot.connected:
                await bot.ask(ping={})

    def said(self, bot: Bot) -> list[dict[str, Any]]:
        return [push for push in bot.pushes if "channel_presence_event" not in push]

    def text(self, marks: str) -> str:
        told = json.dumps([self.replies, *[self.said(bot) for bot in self.bots.values()]], indent=1)
        seen: dict[str, str] = {}
        told = re.sub(
            r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda one: seen.setdefault(one[0], f"#{len(seen)}"), told
        )
        return told.replace(marks, "")


async def story(nodes: list[Platform], marks: str, places: str, like: Story | None = None) -> Story:
    by_name = {one.node.settings.node: one for one in nodes}
    told = Story({name: await on(by_name[place], name + marks) for name, place in zip(NAMES, places, strict=True)})
    await told.live(like)
    return told


async def test_a_party_across_nodes_lives_as_one_on_a_node(database_url: str) -> None:
    async with several(database_url, names="abc") as nodes:
        alone = await story(nodes, "-alone", "aaa")
        for marks, places in (("-three", "abc"), ("-two", "aab")):
            together = await story(nodes, marks, places, alone)
            assert together.text(marks) == alone.text("-alone")
    for kind in ("party", "party_join_request", "party_presence_event", "party_leader", "party_update", "party_data"):
        assert f'"{kind}": {{' in alone.text("-alone")


async def make(bot: Bot, **more: Any) -> str:
    return (await bot.ask(party_create={"open": True, "max_size": 8, **more}))["party"]["party_id"]


async def join(bot: Bot, party_id: str) -> None:
    await bot.ask(party_join={"party_id": party_id})
    await bot.push("party")


async def test_a_party_has_one_ticket_whose_players_are_told_wherever_they_are(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        await led(a, b, c)
        ada, bob, eve = await on(a, "ada"), await on(b, "bob"), await on(c, "eve")
        party_id = await make(ada)
        await join(bob, party_id)
        asked = {"party_id": party_id, "min_count": 3, "max_count": 3, "query": "*"}
        ticket = (await ada.ask(party_matchmaker_add=asked))["party_matchmaker_ticket"]["ticket"]
        assert (await bob.push("party_matchmaker_ticket"))["ticket"] == ticket
        await eve.ask(matchmaker_add={"min_count": 3, "max_count": 3, "query": "*"})
        told = [await bot.push("matchmaker_matched") for bot in (ada, bob, eve)]
        assert [one["ticket"] == ticket for one in told] == [True, True, False]
        assert len({one["token"] for one in told}) == 1
        assert [user.get("party_id") for user in told[0]["users"]] == [party_id, party_id, None]
        # Whoever comes makes the party another one than the one that the ticket was for.
        await bob.ask(party_leave={"party_id": party_id})
        await ada.ask(party_matchmaker_add=asked)
        await join(bob, party_id)
        assert len(parts_of(a).services.live.matchmaker.own) == 0


async def test_limits_of_a_session_count_parties_of_all_nodes(database_url: str) -> None:
    settings = Settings(cluster=QUICK, party=PartySettings(per_session_max=2))
    async with several(database_url, names="abc", settings=settings) as (a, b, c):
        ada, bob, eve = await on(a), await on(b), await on(c)
        parties = [await make(ada), await make(bob), await make(eve)]
        await join(eve, parties[0])
        assert "too many parties" in (await act(eve, party_join={"party_id": parties[1]}))["error"][1]
        await eve.ask(party_leave={"party_id": parties[2]})
        await join(eve, parties[1])
        assert "too many parties" in (await act(eve, party_create={"max_size": 2}))["error"][1]


async def test_who_may_be_in_one_party_only_leaves_that_of_another_node(database_url: str) -> None:
    settings = Settings(cluster=QUICK, session=SessionSettings(single_party=True))
    async with several(database_url, names="abc", settings=settings) as (a, b, c):
        ada, bob, eve = await on(a), await on(b), await on(c)
        first, second = await make(ada), await make(bob)
        await join(eve, first)
        await ada.push("party_presence_event")
        await join(eve, second)
        await until(lambda: any(one.get("party_presence_event", {}).get("leaves") for one in ada.pushes))
        assert first != second


async def test_all_nodes_list_the_parties_of_all_page_by_page(database_url: str) -> None:
    async with several(database_url, names="abc") as nodes:
        bots = [await on(one) for one in nodes]
        made: list[str] = []
        for number in range(9):
            made.insert(0, await make(bots[number % 3], label=json.dumps({"n": number})))
        for bot in bots:
            for query, wanted in (("", made), ("+label.n:>=4", made[:5])):
                shown, cursor = [], ""
                while True:
                    page = await bot.call("GET", "/v2/party", query={"limit": 2, "cursor": cursor, "query": query})
                    shown += [one["party_id"] for one in page["parties"]]
                    cursor = page.get("cursor", "")
                    if not cursor:
                        break
                assert shown == wanted
        assert len(nodes) == 3


async def test_a_party_ends_with_its_node_and_its_members_are_told(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob, eve = await on(a), await on(b), await on(c)
        party_id = await make(ada)
        for bot in (bob, eve):
            await join(bot, party_id)
        await kill(a)
        for bot in (bob, eve):
            assert (await bot.push("party_close"))["party_id"] == party_id
            assert (await act(bot, party_join={"party_id": party_id}))["error"][1].endswith("party not found")
        other = await make(bob)
        await join(eve, other)
        assert len((await eve.push("party_presence_event"))["joins"]) == 1


async def test_a_node_that_was_given_up_has_no_parties_when_it_is_back(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, b):
        ada, bob = await on(a), await on(b)
        kept = await make(bob)
        party_id = await make(ada)
        await join(bob, party_id)
        await join(ada, kept)
        mend = cut(a)
        assert (await bob.push("party_close"))["party_id"] == party_id
        mend()
        await until(lambda: not ada.connected)
        await until(lambda: parts_of(b).cluster.members.get("a") is not None)
        back = await on(a)
        await until(lambda: len(parts_of(a).services.live.all_sockets.sessions) == 2)
        assert [one["party_id"] for one in (await back.call("GET", "/v2/party"))["parties"]] == [kept]
        await join(back, kept)
