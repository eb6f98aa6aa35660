"""Parties that outlive their node: handed over when it stops in good order, and nobody in them notices."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from palestra.cluster.bus import Unreachable
from palestra.core.config import PartySettings, Settings
from palestra.core.errors import Unavailable
from palestra.features.parties.handover import PartyHandOver
from palestra.features.parties.homes import Home
from palestra.features.parties.rules import split_party_id
from palestra.testing import Bot, Platform
from tests.cluster.cut import kill, parts_of
from tests.cluster.several import QUICK, Town, several
from tests.cluster.test_matchmaker import led
from tests.cluster.test_moving import move, socket_of
from tests.cluster.test_nodes import on
from tests.cluster.test_parties import act, join, make
from tests.waiting import until

HI = {"op_code": "5", "data": "aGk="}
TICKET = {"min_count": 4, "max_count": 4, "query": "*"}
NOTICED = "party_close", "party_presence_event", "party_leader", "party", "party_join_request"


def mover(platform: Platform) -> PartyHandOver:
    """What hands a node's parties over."""
    others = parts_of(platform).services.live.other_parties
    assert others is not None
    return others.mover


def has(platform: Platform, party_id: str) -> bool:
    """Whether a party is on a node."""
    return parts_of(platform).services.live.parties.has(split_party_id(party_id))


def home(platforms: list[Platform], party_id: str) -> Platform:
    """The one node that a party is on."""
    (found,) = [one for one in platforms if has(one, party_id)]
    return found


async def party_of(*bots: Bot, **more: Any) -> str:
    """A party of these, led by the first, who have heard of each other."""
    party_id = await make(bots[0], **more)
    for bot in bots[1:]:
        await join(bot, party_id)
    for number, bot in enumerate(bots):
        await until(lambda bot=bot, number=number: joins(bot) == len(bots) - number)
    return party_id


def joins(bot: Bot) -> int:
    """How many coming to a party a player has heard of."""
    return sum(len(push.get("party_presence_event", {}).get("joins", ())) for push in bot.pushes)


def forget(*bots: Bot) -> None:
    """Begin to listen anew."""
    for bot in bots:
        bot.pushes.clear()


def noticed(bot: Bot) -> list[dict[str, Any]]:
    """Whatever tells that something has become of a party."""
    return [push for push in bot.pushes if any(kind in push for kind in NOTICED)]


async def talk(party_id: str, *bots: Bot) -> None:
    """Each sends to all others, who hear it."""
    for sender in bots:
        heard = {bot: count(bot, "party_data") for bot in bots}
        await sender.ask(party_data_send={"party_id": party_id, **HI})
        for bot in bots:
            if bot is not sender:
                await until(lambda bot=bot, heard=heard: count(bot, "party_data") == heard[bot] + 1)


def count(bot: Bot, kind: str) -> int:
    """How many pushes of a kind a player has heard."""
    return sum(kind in push for push in bot.pushes)


async def presence(bot: Bot) -> dict[str, Any]:
    """What a player's socket is called."""
    own = (await bot.ask(channel_join={"target": f"own-{bot.username}", "type": 1}))["channel"]["self"]
    return {key: own[key] for key in ("user_id", "session_id", "username")}


async def listed(bot: Bot) -> list[str]:
    """The parties that a player is shown."""
    return [one["party_id"] for one in (await bot.call("GET", "/v2/party")).get("parties", [])]


async def test_nobody_notices_that_the_node_of_their_party_stops(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob, eve = await on(a, "ada"), await on(b, "bob"), await on(c, "eve")
        bots = ada, bob, eve
        party_id = await party_of(*bots, label='{"mode":"duo"}')
        await move(ada, a, b)
        forget(*bots)
        await a.node.stop()
        assert has(b, party_id) != has(c, party_id)
        await talk(party_id, *bots)
        for bot in bots:
            assert noticed(bot) == []
        for bot in (bob, eve):
            assert await listed(bot) == [party_id]
        # Everything goes on being possible, for those who are in it and those who come.
        await ada.ask(party_promote={"party_id": party_id, "presence": await presence(bob)})
        for bot in bots:
            assert (await bot.push("party_leader"))["presence"]["username"] == "bob"
        await bob.ask(party_update={"party_id": party_id, "label": '{"mode":"trio"}', "open": False})
        for bot in bots:
            assert (await bot.push("party_update"))["label"] == '{"mode":"trio"}'
        for platform in (b, c):
            dan = await on(platform)
            await dan.ask(party_join={"party_id": party_id})
            request = (await bob.push("party_join_request"))["presences"][0]
            waiting = await bob.ask(party_join_request_list={"party_id": party_id})
            assert waiting["party_join_request"]["presences"] == [request]
            await bob.ask(party_accept={"party_id": party_id, "presence": request})
            shown = await dan.push("party")
            assert (shown["leader"]["username"], shown["max_size"]) == ("bob", 8)
            assert [one["username"] for one in shown["presences"]] == ["ada", "bob", "eve", dan.username]
            await bob.ask(party_remove={"party_id": party_id, "presence": request})
            assert (await dan.push("party_close"))["party_id"] == party_id
        await eve.ask(party_leave={"party_id": party_id})
        await bob.ask(party_close={"party_id": party_id})
        assert (await ada.push("party_close"))["party_id"] == party_id
        await until(lambda: not has(b, party_id) and not has(c, party_id))
        assert await listed(bob) == []


async def test_who_is_on_the_node_that_stops_stays_in_the_party(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, b):
        ada, bob = await on(a, "ada"), await on(b, "bob")
        party_id = await party_of(ada, bob)
        forget(ada, bob)
        stopping = asyncio.create_task(a.node.stop())
        await ada.closed()
        await ada.connect(url=b.url)
        await stopping
        assert socket_of(b, ada) is not None
        await talk(party_id, ada, bob)
        assert noticed(ada) == noticed(bob) == []
        await ada.ask(party_close={"party_id": party_id})
        assert (await bob.push("party_close"))["party_id"] == party_id


async def test_a_partys_ticket_goes_along_and_is_matched_once_with_all(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        await led(a, b, c)
        ada, bob, eve = await on(a, "ada"), await on(b, "bob"), await on(c, "eve")
        party_id = await party_of(ada, bob, eve)
        added = await ada.ask(party_matchmaker_add={"party_id": party_id, **TICKET})
        ticket = added["party_matchmaker_ticket"]["ticket"]
        await move(ada, a, b)
        before = parts_of(a).services.live.matchmaker.own.get(ticket)
        assert before is not None
        await a.node.stop()
        at = home([b, c], party_id)
        after = parts_of(at).services.live.matchmaker.own.get(ticket)
        assert after is not None
        assert (after.created_at, after.number) == (before.created_at, before.number)
        assert abs(after.entered_at - before.entered_at) < 1
        await led(b, c)
        dan = await on(c, "dan")
        await dan.ask(matchmaker_add=TICKET)
        told = [await bot.push("matchmaker_matched") for bot in (ada, bob, eve, dan)]
        assert [one["ticket"] == ticket for one in told] == [True, True, True, False]
        assert len({one["token"] for one in told}) == 1
        assert [user.get("party_id") for user in told[0]["users"]] == [party_id] * 3 + [None]
        again = (await ada.ask(party_matchmaker_add={"party_id": party_id, **TICKET}))["party_matchmaker_ticket"]
        await ada.ask(party_matchmaker_remove={"party_id": party_id, "ticket": again["ticket"]})
        assert len(parts_of(at).services.live.matchmaker.own) == 0
        for bot in (ada, bob, eve, dan):
            await bot.settle()
            assert count(bot, "matchmaker_matched") == 0


async def test_a_ticket_that_a_match_has_claimed_follows_when_nothing_comes_of_it(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, b):
        await led(a, b)
        ada, bob = await on(a), await on(b)
        party_id = await party_of(ada, bob)
        added = await ada.ask(party_matchmaker_add={"party_id": party_id, **TICKET})
        ticket = added["party_matchmaker_ticket"]["ticket"]
        old, new = parts_of(a).services.live.matchmaker.own, parts_of(b).services.live.matchmaker.own
        assert old.claim("a match", "b", [ticket], "", 0)
        await mover(a).hand_over(5.0)
        assert old.get(ticket) is not None and new.get(ticket) is None
        sharing = parts_of(a).services.live.matchmaker.sharing
        sharing._give_back("a match")  # type: ignore[union-attr]
        await until(lambda: new.get(ticket) is not None)
        assert old.get(ticket) is None
        await ada.ask(party_matchmaker_remove={"party_id": party_id, "ticket": ticket})
        assert len(new) == 0


async def leave_for(source: Platform, target: Platform, others: list[Platform]) -> None:
    """Stop a node when it knows that one of the others, and no other, takes its parties."""
    for one in others:
        parts_of(one).cluster.members.draining = one is not target
    await until(lambda: mover(source)._candidates() == [target.node.settings.node])
    await source.node.stop()


async def test_a_party_moves_on_and_on_and_stays_where_it_is_when_the_first_name_is_back(database_url: str) -> None:
    town = Town()
    async with several(database_url, names="abcd", town=town) as (a, b, c, d):
        ada, bob, eve = await on(a, "ada"), await on(b, "bob"), await on(c, "eve")
        party_id = await party_of(ada, bob, eve)
        await move(ada, a, b)
        await leave_for(a, d, [b, c, d])
        assert has(d, party_id)
        async with several(database_url, names="a", town=town) as (again,):
            ann = await on(again, "ann")
            await join(ann, party_id)
            assert has(d, party_id) and not has(again, party_id)
            bots = ada, bob, eve, ann
            await talk(party_id, *bots)
            assert await listed(ann) == [party_id]
            await until(lambda: len([one for one in noticed(ada) if "party_presence_event" in one]) == 4)
            for bot in bots:
                await bot.settle()
            forget(*bots)
            await leave_for(d, again, [again, b, c])
            assert has(again, party_id)
            await talk(party_id, *bots)
            assert [noticed(bot) for bot in bots] == [[], [], [], []]
            assert await listed(ann) == [party_id]
            for one in (b, c):
                parts_of(one).cluster.members.draining = False
            await kill(again)
            for bot in (ada, bob, eve):
                assert (await bot.push("party_close"))["party_id"] == party_id
                assert (await act(bot, party_join={"party_id": party_id}))["error"][1].endswith("party not found")


async def test_many_parties_are_shared_out_among_the_nodes_that_stay(database_url: str) -> None:
    settings = Settings(cluster=QUICK, party=PartySettings(per_session_max=200))
    async with several(database_url, names="abc", settings=settings) as (a, b, c):
        ada, bob = await on(a), await on(b)
        parties = [await make(ada) for _ in range(100)]
        for party_id in parties:
            await bob.ask(party_join={"party_id": party_id})
        await ada.leave()
        await a.node.stop()
        assert [sum(has(one, party_id) for party_id in parties) for one in (b, c)] == [50, 50]
        await until(lambda: count(bob, "party") == 100)
        for party_id in parties:
            await bob.ask(party_data_send={"party_id": party_id, **HI})
        assert count(bob, "party_close") == 0


# -- what happens while a party moves


def meanwhile(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, before: Callable[[], Any], answers: bool | Exception = True
) -> None:
    """Do something when a node is about to give a party away; it may not get the answer then."""
    calls = parts_of(platform).cluster.calls
    real = calls.call

    async def call(node: str, name: str, *more: Any) -> Any:
        if name != "party.take":
            return await real(node, name, *more)
        await before()
        if isinstance(answers, Unavailable) and not isinstance(answers, Unreachable):
            raise answers
        answer = await real(node, name, *more)
        if isinstance(answers, Unreachable):
            raise answers
        return answer

    monkeypatch.setattr(calls, "call", call)


@pytest.mark.parametrize("taken", [True, False])
async def test_who_leaves_while_a_party_moves_is_told_of_once_and_another_leads(
    database_url: str, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    async with several(database_url, names="ab") as (a, b):
        dan, ada, bob, eve = [await on(one, name) for one, name in ((a, "dan"), (b, "ada"), (b, "bob"), (a, "eve"))]
        party_id = await party_of(dan, ada, bob, eve)
        stream = split_party_id(party_id)
        audiences = [parts_of(one).services.live.presences.audience for one in (a, b)]
        forget(ada, bob, eve)

        async def before() -> None:
            await dan.leave()
            await bob.leave()
            await until(lambda: all(len(audience(stream)) == 2 for audience in audiences))

        meanwhile(a, monkeypatch, before, True if taken else Unavailable("no"))
        await mover(a).hand_over(5.0)
        assert (has(a, party_id), has(b, party_id)) == (not taken, taken)
        for bot in (ada, eve):
            assert (await bot.push("party_leader"))["presence"]["username"] == "ada"
            gone = (await bot.push("party_presence_event"))["leaves"]
            assert sorted(one["username"] for one in gone) == ["bob", "dan"]
        await talk(party_id, ada, eve)
        assert noticed(ada) == noticed(eve) == []


async def test_a_party_that_all_leave_while_it_moves_is_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several(database_url, names="ab") as (a, b):
        bob = await on(b)
        party_id = await make(ada := await on(a))
        await join(bob, party_id)

        async def before() -> None:
            await ada.leave()
            await bob.leave()
            await until(lambda: not any(parts_of(one).services.live.presences.of_mode(7) for one in (a, b)))

        meanwhile(a, monkeypatch, before)
        await mover(a).hand_over(5.0)
        assert not has(a, party_id) and not has(b, party_id)
        assert await listed(await on(b)) == []


async def test_what_is_asked_of_a_party_while_it_moves_is_done_once_by_its_new_node(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob, eve = await on(a, "ada"), await on(b, "bob"), await on(c, "eve")
        party_id = await party_of(ada, bob, eve)
        forget(ada, bob, eve)
        asked: list[asyncio.Task[Any]] = []

        async def before() -> None:
            for bot in (ada, bob, eve):
                asked.append(asyncio.create_task(bot.ask(party_data_send={"party_id": party_id, **HI})))
            dan = await on(c, "dan")
            asked.append(asyncio.create_task(dan.ask(party_join={"party_id": party_id})))
            assert await listed(dan) == [party_id]
            for task in asked:
                assert not task.done()

        meanwhile(a, monkeypatch, before)
        await mover(a).hand_over(5.0)
        assert has(b, party_id) or has(c, party_id)
        async with asyncio.timeout(10):
            await asyncio.gather(*asked)
        for bot in (ada, bob, eve):
            assert [one["username"] for one in (await bot.push("party_presence_event"))["joins"]] == ["dan"]
            await until(lambda bot=bot: count(bot, "party_data") == 2)
            assert noticed(bot) == []


async def test_a_party_stays_when_nobody_takes_it_and_goes_to_who_does(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob = await on(a), await on(b)
        party_id = await party_of(ada, bob)
        added = await ada.ask(party_matchmaker_add={"party_id": party_id, **TICKET})
        ticket = added["party_matchmaker_ticket"]["ticket"]
        forget(ada, bob)
        for one in (b, c):
            parts_of(one).cluster.members.draining = True
        await mover(a).hand_over(5.0)
        assert has(a, party_id)
        assert parts_of(a).services.live.matchmaker.own.get(ticket) is not None
        parts_of(c).cluster.members.draining = False
        await until(lambda: "c" in mover(a)._candidates())
        await mover(a).hand_over(5.0)
        assert has(c, party_id)
        assert parts_of(c).services.live.matchmaker.own.get(ticket) is not None
        await talk(party_id, ada, bob)
        assert noticed(ada) == noticed(bob) == []


async def test_a_party_of_which_nobody_knows_where_it_is_ends(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob, eve = await on(a), await on(b), await on(c)
        party_id = await party_of(ada, bob, eve)
        await ada.ask(party_matchmaker_add={"party_id": party_id, **TICKET})

        async def before() -> None:
            """Nothing happens."""

        meanwhile(a, monkeypatch, before, Unreachable("b"))
        await mover(a).hand_over(5.0)
        for bot in (ada, bob, eve):
            assert (await bot.push("party_close"))["party_id"] == party_id
            await bot.settle()
            assert count(bot, "party_close") == 0
            assert (await act(bot, party_join={"party_id": party_id}))["error"][1].endswith("party not found")
        for one in (a, b, c):
            live = parts_of(one).services.live
            assert not has(one, party_id)
            assert not live.presences.of_mode(7)
            assert len(live.matchmaker.own) == 0
        assert await listed(eve) == []


async def test_a_node_that_does_not_hear_of_a_move_learns_of_it_with_the_next_heartbeat(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, eve = await on(a), await on(c)
        party_id = await party_of(ada, eve)
        forget(ada, eve)
        stream = split_party_id(party_id)
        homes = [mover(one)._homes for one in (a, b, c)]
        parts_of(c).cluster.bus.on("party.moved", lambda sender, data: None)
        await mover(a).hand_over(5.0)
        at = home([b, c], party_id).node.settings.node
        await until(lambda: [one.of(stream) for one in homes] == [at] * 3)
        await kill(a)
        await until(lambda: "a" not in [info.name for info in parts_of(c).cluster.members])
        await eve.settle()
        assert count(eve, "party_close") == 0
        await eve.ask(party_close={"party_id": party_id})
        await until(lambda: [one.of(stream) for one in homes[1:]] == ["a"] * 2)


async def test_a_node_that_was_given_up_takes_nothing_that_it_was_asked_before(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, eve = await on(a), await on(c)
        party_id = await party_of(ada, eve)
        forget(ada, eve)
        cluster = parts_of(b).cluster
        caught_up = cluster.members.catch_up

        async def given_up_meanwhile() -> None:
            await caught_up()
            cluster.bus.begin(cluster.bus.epoch + 1)

        monkeypatch.setattr(cluster.members, "catch_up", given_up_meanwhile)
        mover(a)._turn = 0
        assert mover(a)._candidates() == ["b", "c"]
        await mover(a).hand_over(5.0)
        assert home([a, b, c], party_id) is c
        await talk(party_id, ada, eve)
        assert noticed(ada) == noticed(eve) == []


async def test_a_refusal_after_a_question_without_an_answer_leaves_no_second_party(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, eve = await on(a), await on(c)
        party_id = await party_of(ada, eve)
        calls, real, asked = parts_of(a).cluster.calls, parts_of(a).cluster.calls.call, []

        async def call(node: str, name: str, *more: Any) -> Any:
            answer = await real(node, name, *more)
            if name == "party.take":
                asked.append(node)
                # It has the party, which a does not hear, and begins to give it away.
                parts_of(b).cluster.members.draining = True
                parts_of(b).services.live.parties.set_aside(split_party_id(party_id))
                raise Unreachable(node)
            return answer

        monkeypatch.setattr(calls, "call", call)
        mover(a)._turn = 0
        await mover(a).hand_over(5.0)
        assert asked == ["b"]
        for bot in (ada, eve):
            assert (await bot.push("party_close"))["party_id"] == party_id
        parts_of(b).services.live.parties.put_back(split_party_id(party_id))
        assert not any(has(one, party_id) for one in (a, b, c))


async def test_nothing_is_begun_with_while_nobody_hears_the_node(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, _):
        ada = await on(a)
        party_id = await make(ada)
        parts_of(a).cluster.members.mute = True
        await mover(a).hand_over(5.0)
        assert has(a, party_id)
        parts_of(a).cluster.members.mute = False
        assert mover(a)._candidates() == ["b"]


async def test_a_node_believes_nobody_that_its_own_party_is_elsewhere(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, b):
        ada, bob = await on(a), await on(b)
        party_id = await party_of(ada, bob)
        await mover(a).hand_over(5.0)
        stream, homes = split_party_id(party_id), mover(b)._homes
        homes._put(Home(stream, "a", 1))
        assert homes.of(stream) == "b"
        await talk(party_id, ada, bob)


async def test_a_node_that_does_not_know_all_members_yet_takes_no_party(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, eve = await on(a), await on(c)
        party_id = await party_of(ada, eve)
        forget(ada, eve)
        for one, missing in ((b, "c"), (c, "a")):
            others = parts_of(one).services.live.others
            assert others is not None
            others._ask = lambda node: None  # type: ignore[method-assign]
            others._wanted.add(missing)
        await mover(a).hand_over(5.0)
        assert has(a, party_id)
        parts_of(c).services.live.others._wanted.clear()  # type: ignore[union-attr]
        await mover(a).hand_over(5.0)
        assert has(c, party_id)
        await talk(party_id, ada, eve)
        assert noticed(ada) == noticed(eve) == []


async def test_a_party_goes_to_another_node_when_the_first_one_dies_instead_of_answering(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob = await on(a), await on(b)
        party_id = await party_of(ada, bob)
        forget(ada, bob)
        mover(a)._turn = 1
        assert mover(a)._candidates()[0] == "c"
        await kill(c)
        await mover(a).hand_over(5.0)
        assert has(b, party_id)
        await talk(party_id, ada, bob)
        assert noticed(ada) == noticed(bob) == []


async def test_parties_of_two_nodes_that_stop_at_once_go_to_the_one_that_stays(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        eve = await on(c, "eve")
        parties = []
        for one in (a, b):
            leader = await on(one)
            parties += [await party_of(leader, eve)]
            await leader.ask(party_promote={"party_id": parties[-1], "presence": await presence(eve)})
            await eve.push("party_leader")
            await leader.leave()
            await until(lambda: any("leaves" in one.get("party_presence_event", {}) for one in eve.pushes))
            forget(eve)
        await asyncio.gather(a.node.stop(), b.node.stop())
        assert all(has(c, party_id) for party_id in parties)
        assert noticed(eve) == []
        assert sorted(await listed(eve)) == sorted(parties)


class Witness:
    """Comes and goes, talks, and remembers whom it takes to be in the party by what it is told."""

    def __init__(self, bot: Bot, party_id: str) -> None:
        self.bot = bot
        self.party_id = party_id
        self.said = 0
        self.present: set[str] = set()
        self.heard: dict[str, list[int]] = {}
        self.odd: list[Any] = []

    async def speak(self) -> None:
        """Say the next number."""
        self.said += 1
        data = {"op_code": str(self.said), "data": "aGk="}
        await self.bot.ask(party_data_send={"party_id": self.party_id, **data})

    def listen(self) -> None:
        """Take in what was told since."""
        while self.bot.pushes:
            push = self.bot.pushes.popleft()
            if "party" in push:
                self.present = {one["username"] for one in push["party"]["presences"]}
            elif "party_data" in push:
                said = push["party_data"]
                self.heard.setdefault(said["presence"]["username"], []).append(int(said["op_code"]))
            elif "party_presence_event" in push:
                event = push["party_presence_event"]
                self.present |= {one["username"] for one in event.get("joins", ())}
                left = {one["username"] for one in event.get("leaves", ())}
                self.odd += left - self.present
                self.present -= left
            elif "party_close" in push:
                self.odd.append(push)


async def test_a_party_that_moves_and_moves_while_many_come_go_and_talk_is_one_party(database_url: str) -> None:
    draw = random.Random(7)
    town = Town(lambda: draw.choice((0.0, 0.002, 0.02)))
    async with several(database_url, names="abc", town=town) as nodes:
        party_id = await make(first := await on(nodes[0], "first"), max_size=32)
        staying = [Witness(first, party_id)]
        for number in range(1, 4):
            bot = await on(nodes[number % 3], f"staying{number}")
            await join(bot, party_id)
            staying.append(Witness(bot, party_id))
        names = {one.bot.username for one in staying}
        for one in staying:
            one.present = set(names)
            await until(lambda one=one: joins(one.bot) >= len(names) - staying.index(one))
            one.bot.pushes.clear()
        restless = [Witness(await on(nodes[number % 3], f"restless{number}"), party_id) for number in range(6)]
        moving = True

        async def talk_on(one: Witness) -> None:
            while moving:
                await one.speak()

        async def come_and_go(one: Witness) -> None:
            while moving:
                await one.bot.ask(party_join={"party_id": party_id})
                await one.bot.ask(party_leave={"party_id": party_id})

        async with asyncio.timeout(60):
            tasks = [asyncio.create_task(talk_on(one)) for one in staying]
            tasks += [asyncio.create_task(come_and_go(one)) for one in restless]
            for _ in range(12):
                before = home(nodes, party_id)
                await mover(before).hand_over(5.0)
                assert home(nodes, party_id) is not before
                said = [one.said for one in staying]
                await until(lambda said=said: all(one.said > of for one, of in zip(staying, said, strict=True)))
            moving = False
            await asyncio.gather(*tasks)
        at = parts_of(home(nodes, party_id)).services.live
        stream = split_party_id(party_id)
        audiences = [parts_of(one).services.live.presences.audience for one in nodes]
        await until(lambda: all({m.presence.username for m in one(stream).values()} == names for one in audiences))
        assert {one.caller.username for one in at.parties._parties[stream].members.values()} == names
        for one in staying:
            others = [other for other in staying if other is not one]

            def all_heard(one: Witness = one, others: list[Witness] = others) -> bool:
                one.listen()
                return one.present == names and all(
                    len(one.heard.get(other.bot.username, ())) >= other.said for other in others
                )

            await until(all_heard)
            assert one.odd == []
            for other in others:
                assert one.heard[other.bot.username] == list(range(1, other.said + 1))
