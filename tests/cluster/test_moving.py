"""Sessions that move between nodes: nobody leaves, nothing is lost, and everything arrives once and in order."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from typing import Any

import msgspec
import pytest

from palestra.cluster import bus as cluster_bus
from palestra.core.config import Settings
from palestra.features.streams import moving
from palestra.features.streams.contract import RELAYED_MATCH, Stream
from palestra.features.streams.copying import Opened
from palestra.features.streams.moving import Gave, Moved
from palestra.features.streams.replication import Left
from palestra.gateway.push import RawPush
from palestra.gateway.websocket.socket import Socket
from palestra.testing import Bot, Platform
from tests.cluster.several import QUICK, Town, others, several
from tests.cluster.tally import add, asked, heard, hears_of_leaves, player, tally_game
from tests.waiting import until

KEY = "a-key-of-the-client"
FORMATS = pytest.mark.parametrize("format", ["json", "protobuf"])


async def on(platform: Platform, format: str = "json") -> Bot:
    """A player with a socket on a node."""
    bot = await platform.bot()
    await bot.connect(format=format)
    return bot


def socket_of(platform: Platform, bot: Bot) -> Socket | None:
    """A player's session, where it is on this node."""
    parts = platform.node.parts
    assert parts is not None
    own = parts.sockets.of_user(bot.id)
    return own[0] if own else None


async def lose(platform: Platform, bot: Bot) -> None:
    """Break a player's connection off, and wait until its node has heard."""
    await bot.drop()
    await until(lambda: (one := socket_of(platform, bot)) is not None and one.away)


async def move(bot: Bot, source: Platform, target: Platform, format: str = "json", resume: str = "") -> None:
    """Have a player come back on another node."""
    await lose(source, bot)
    await bot.connect(format=format, url=target.url, resume=resume)
    assert socket_of(source, bot) is None
    assert socket_of(target, bot) is not None


def events(bot: Bot, kind: str) -> list[dict[str, Any]]:
    """The events of joins and leaves that a player has heard."""
    return [one[kind] for one in bot.pushes if kind in one]


def numbers(bot: Bot) -> list[int]:
    """What was said in the match, as numbers, in the order of arrival."""
    data = [one["match_data"]["data"] for one in bot.pushes if "match_data" in one]
    return [int(base64.b64decode(one)) for one in data]


def knows(platform: Platform, bot: Bot) -> bool:
    """Whether a node has heard of a player's session on another."""
    parts = platform.node.parts
    assert parts is not None
    assert parts.services.live.others is not None
    return bool(list(parts.services.live.others.of_user(bot.id)))


def known(platform: Platform) -> tuple[int, list[int]]:
    """How many sessions and how many presences of each node a node knows of."""
    parts = platform.node.parts
    assert parts is not None
    assert parts.services.live.others is not None
    counts = sorted(count for count in parts.services.live.presences.counts.values() if count)
    return len(parts.sockets.sessions) + len(parts.services.live.others.remote), counts


async def settled(*platforms: Platform) -> None:
    """Wait until all nodes know the same."""
    await until(lambda: all(known(one) == known(platforms[0]) for one in platforms))


@FORMATS
async def test_a_match_goes_on_when_a_player_comes_back_on_another_node(database_url: str, format: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob, eve = await on(a), await on(a, format), await on(c)
        match_id = (await ada.ask(match_create={}))["match"]["match_id"]
        for bot in (bob, eve):
            await bot.ask(match_join={"match_id": match_id})
        before = socket_of(a, bob)
        assert before is not None
        await until(lambda: len(events(ada, "match_presence_event")) == 3)
        await lose(a, bob)
        for number in range(3):
            await (ada if number % 2 else eve).send(match_id, 1, str(number))
            await (ada if number % 2 else eve).settle()
        await bob.connect(format=format, url=b.url)
        for number in range(3, 6):
            await ada.send(match_id, 1, str(number))
        await until(lambda: len(numbers(bob)) == 6)
        assert sorted(numbers(bob)) == list(range(6))
        assert (moved := socket_of(b, bob)) is not None
        assert (moved.id, moved.moves) == (before.id, 1)
        await bob.send(match_id, 1, "7")
        for bot in (ada, eve):
            await until(lambda bot=bot: 7 in numbers(bot))
            assert not any("leaves" in one for one in events(bot, "match_presence_event"))
        await settled(a, b, c)
        await bob.leave()
        for bot in (ada, eve):
            await until(lambda bot=bot: "leaves" in events(bot, "match_presence_event")[-1])


class Speaker:
    """Says numbers in a match and in a channel, and is heard by others."""

    def __init__(self, bot: Bot, number: int, match_id: str, channel_id: str) -> None:
        self.bot = bot
        self.number = number
        self.said = 0
        self._match_id = match_id
        self._channel_id = channel_id
        self._stopping = False
        self._talking = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        while not self._stopping:
            content = json.dumps({"n": self.said, "by": self.number})
            await self.bot.send(self._match_id, self.number, str(self.said))
            await self.bot.ask(channel_message_send={"channel_id": self._channel_id, "content": content})
            self.said += 1
            await asyncio.sleep(0.002)

    async def stop(self) -> None:
        """Say no more, and wait for the last answer."""
        self._stopping = True
        await self._talking

    def heard_by(self, bot: Bot) -> tuple[list[int], list[int]]:
        """What of it somebody has heard in the match, and in the channel."""
        data = [one["match_data"] for one in bot.pushes if "match_data" in one]
        contents = [json.loads(one["channel_message"]["content"]) for one in bot.pushes if "channel_message" in one]
        return (
            [int(base64.b64decode(one["data"])) for one in data if int(one.get("op_code", 0)) == self.number],
            [one["n"] for one in contents if one["by"] == self.number],
        )


@FORMATS
async def test_what_is_sent_during_a_move_arrives_once_and_in_order(database_url: str, format: str) -> None:
    draw = random.Random(format)
    town = Town(lambda: draw.choice((0.0, 0.002, 0.01, 0.03)))
    async with several(database_url, names="abcd", town=town) as platforms:
        a, b, c, d = platforms
        bots = [await on(platform) for platform in (a, b, c, d)]
        bob = await a.bot()
        await bob.connect(format=format, resume=KEY)
        match_id = (await bob.ask(match_create={}))["match"]["match_id"]
        hall = {"target": "hall", "type": 1, "persistence": False}
        channel_id = (await bob.ask(channel_join=hall))["channel"]["id"]
        await settled(*platforms)
        for bot in bots:
            await bot.ask(match_join={"match_id": match_id})
            await bot.ask(channel_join=hall)
        await settled(*platforms)
        speakers = [Speaker(bot, number, match_id, channel_id) for number, bot in enumerate(bots, 1)]
        place = a
        for target in (b, c, a, d, b, a):
            await move(bob, place, target, format, KEY)
            place = target
        for speaker in speakers:
            await speaker.stop()
        for speaker in speakers:
            whole = list(range(speaker.said))
            await until(lambda one=speaker: min(map(len, one.heard_by(bob))) >= one.said, 5)
            assert speaker.heard_by(bob) == (whole, whole)
        assert len(events(bob, "match_presence_event")) == len(bots) + 1
        for bot in bots:
            assert not any("leaves" in one for one in events(bot, "match_presence_event"))
            assert not any("leaves" in one for one in events(bot, "channel_presence_event"))
        await settled(*platforms)


class Returning:
    """A client that connects again when it is told to, to the nodes it is given in turn."""

    def __init__(self, bot: Bot, platforms: list[Platform], format: str = "json") -> None:
        self.bot = bot
        self.codes: list[int | None] = []
        self._platforms = platforms
        self._format = format
        self.staying = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        for platform in self._platforms:
            self.codes.append(await self.bot.closed())
            await self.bot.connect(format=self._format, url=platform.url)


@FORMATS
async def test_a_node_that_goes_leaves_its_players_to_the_others(database_url: str, format: str) -> None:
    settings = Settings(cluster=QUICK, drain_seconds=0.5)
    async with several(database_url, names="abc", settings=settings) as (a, b, c):
        ada, bob = await on(a, format), await on(b)
        away = await on(a, format)
        match_id = (await bob.ask(match_create={}))["match"]["match_id"]
        for bot in (ada, away):
            await bot.ask(match_join={"match_id": match_id})
        await bob.ask(status_update={"status": "here"})
        await ada.ask(status_follow={"user_ids": [bob.id]})
        ticket = (await ada.ask(matchmaker_add={"min_count": 2, "max_count": 2, "query": "*"}))["matchmaker_ticket"]
        socket, lost = socket_of(a, ada), socket_of(a, away)
        assert socket is not None
        assert lost is not None
        await lose(a, away)
        client = Returning(ada, [c], format)
        await a.node.stop()
        await client.staying
        assert client.codes == [1012]
        moved = socket_of(c, ada)
        assert moved is not None
        assert moved.id == socket.id
        # Whoever did not come in time is somewhere all the same.
        (home,) = [one for one in (b, c) if socket_of(one, away) is not None]
        await away.connect(format=format, url=c.url)
        assert (found := socket_of(c, away)) is not None
        assert found.id == lost.id
        await until(lambda: others(b) == ["c"])
        for number, bot in enumerate((ada, away)):
            await bot.send(match_id, 1, str(number))
            await until(lambda number=number: numbers(bob)[-1:] == [number])
        assert not any("leaves" in one for one in events(bob, "match_presence_event"))
        await bob.ask(status_update={"status": "busy"})
        await until(lambda: any("joins" in one for one in events(ada, "status_presence_event")))
        assert home in (b, c)
        await bob.ask(matchmaker_add={"min_count": 2, "max_count": 2, "query": "*"})
        matched = await ada.push("matchmaker_matched")
        assert matched["ticket"] == ticket["ticket"]
        await settled(b, c)


async def test_the_last_node_says_goodbye_as_ever(database_url: str) -> None:
    settings = Settings(cluster=QUICK, drain_seconds=0.2)
    async with several(database_url, names="ab", settings=settings) as (a, b):
        ada, bob = await on(a), await on(b)
        await a.node.stop()
        assert await ada.closed() == 1012
        await b.node.stop()
        assert await bob.closed() == 1000


async def test_two_connections_that_come_to_two_nodes_get_one_session_each(database_url: str) -> None:
    draw = random.Random(7)
    async with several(database_url, names="abc", town=Town(lambda: draw.choice((0.0, 0.01)))) as (a, b, c):
        ada, bob = await on(a), await on(a)
        match_id = (await bob.ask(match_create={}))["match"]["match_id"]
        await ada.ask(match_join={"match_id": match_id})
        former = socket_of(a, ada)
        assert former is not None
        await until(lambda: knows(b, ada) and knows(c, ada))
        await lose(a, ada)
        twin = Bot(b.http, b.url, "defaultkey", ada.device_id)
        twin.token, twin.id = ada.token, ada.id
        await asyncio.gather(ada.connect(url=b.url), twin.connect(url=c.url))
        sessions = [one for platform in (a, b, c) if (one := socket_of(platform, ada)) is not None]
        assert len(sessions) == 2
        assert [one.id for one in sessions].count(former.id) == 1
        await settled(a, b, c)
        assert not any("leaves" in one for one in events(bob, "match_presence_event"))
        await twin.leave()


async def test_a_client_with_a_key_moves_before_its_node_knows_that_its_connection_is_dead(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, b):
        ada, bob = await a.bot(), await on(a)
        await ada.connect(resume=KEY)
        match_id = (await bob.ask(match_create={}))["match"]["match_id"]
        await ada.ask(match_join={"match_id": match_id})
        former = socket_of(a, ada)
        assert former is not None
        second = Bot(b.http, b.url, "defaultkey", ada.device_id)
        second.token, second.id, second.received, second._key = ada.token, ada.id, ada.received, KEY
        await second.connect(resume=KEY)
        assert socket_of(a, ada) is None
        assert (moved := socket_of(b, ada)) is not None
        assert moved.id == former.id
        await bob.send(match_id, 1, "5")
        await until(lambda: numbers(second) == [5])
        await second.leave()


async def test_an_open_session_is_not_taken_by_another_device(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, b):
        ada = await on(a)
        second = Bot(b.http, b.url, "defaultkey", ada.device_id)
        await second.log_in()
        await second.connect()
        assert socket_of(a, ada) is not None
        assert socket_of(b, ada) is not None
        assert ada.connected
        await second.leave()


async def test_a_party_leader_and_a_member_move_and_the_party_stays(database_url: str) -> None:
    async with several(database_url, names="ab") as (a, b):
        ada, bob, eve = await on(a), await on(a), await on(a)
        party = (await ada.ask(party_create={"open": False, "max_size": 4}))["party"]
        await bob.ask(party_join={"party_id": party["party_id"]})
        request = (await ada.push("party_join_request"))["presences"][0]
        await move(bob, a, b)
        await ada.ask(party_accept={"party_id": party["party_id"], "presence": request})
        assert len((await bob.push("party"))["presences"]) == 2
        await eve.ask(party_join={"party_id": party["party_id"]})
        await ada.push("party_join_request")
        await move(ada, a, b)
        await eve.leave()
        again = await on(a)
        await again.ask(party_join={"party_id": party["party_id"]})
        assert len((await ada.push("party_join_request"))["presences"]) == 1
        for bot in (ada, bob):
            assert not events(bot, "party_close")
            assert not any("leaves" in one for one in events(bot, "party_presence_event"))


async def test_a_ticket_that_is_matched_while_its_player_moves_is_told_to_the_player(database_url: str) -> None:
    draw = random.Random(3)
    async with several(database_url, names="abc", town=Town(lambda: draw.choice((0.0, 0.01)))) as (a, b, c):
        for _ in range(5):
            ada, bob = await on(a), await on(c)
            wanted = {"min_count": 2, "max_count": 2, "query": "*"}
            ticket = (await ada.ask(matchmaker_add=wanted))["matchmaker_ticket"]["ticket"]
            await until(lambda ada=ada: knows(b, ada))
            await lose(a, ada)
            await asyncio.gather(ada.connect(url=b.url), bob.ask(matchmaker_add=wanted))
            mine, other = await ada.push("matchmaker_matched"), await bob.push("matchmaker_matched")
            assert (mine["ticket"], mine["token"]) == (ticket, other["token"])
            assert not events(ada, "matchmaker_matched")


async def test_a_node_that_does_not_answer_costs_the_player_a_new_session_and_no_more(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palestra.features.streams.moving.FETCH_SECONDS", 0.1)
    async with several(database_url, names="ab") as (a, b):
        ada = await on(a)
        former = socket_of(a, ada)
        assert former is not None
        await lose(a, ada)
        parts = a.node.parts
        assert parts is not None
        parts.cluster.bus._questions.clear()
        await ada.connect(url=b.url)
        assert (found := socket_of(b, ada)) is not None
        assert found.id != former.id
        assert former.away


async def test_what_a_former_node_says_of_a_session_is_not_believed(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob = await on(a), await on(c)
        match_id = (await bob.ask(match_create={}))["match"]["match_id"]
        await ada.ask(match_join={"match_id": match_id})
        await move(ada, a, b)
        await settled(a, b, c)
        parts, here = a.node.parts, socket_of(b, ada)
        assert parts is not None
        assert here is not None
        stream = Stream(RELAYED_MATCH, match_id.rstrip("."))
        for topic, message in (
            ("presence.left", Left(here.id, stream)),
            ("session.ended", here.id),
            ("session.gave", Gave(here.id, 1)),
            ("session.moved", Moved(Opened(here.id, ada.id, ada.username, 0), "c")),
        ):
            parts.cluster.bus.broadcast(topic, msgspec.msgpack.encode(message))
        await ada.send(match_id, 1, "1")
        await until(lambda: numbers(bob) == [1])
        await settled(a, b, c)
        assert not any("leaves" in one for one in events(bob, "match_presence_event"))


async def test_a_session_on_more_streams_than_can_move_stays_whole_where_it_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_bus, "MESSAGE_BYTES_MAX", 20_000)
    monkeypatch.setattr(cluster_bus, "LONG_BYTES_MAX", 100_000)
    monkeypatch.setattr(moving, "PLACED_BYTES_MAX", 50_000)
    async with several(database_url) as (a, _):
        ada = await on(a)
        parts = a.node.parts
        assert parts is not None
        assert parts.services.live.moving is not None
        socket = socket_of(a, ada)
        assert socket is not None
        for number in range(1_000):
            parts.services.live.presences.join(socket, Stream(RELAYED_MATCH, f"{number:036}"))
        await lose(a, ada)
        assert not parts.services.live.moving.hand_over(socket, "b")
        assert socket_of(a, ada) is socket
        assert not parts.services.live.presences.moves
        await ada.connect()
        assert (await ada.ask(match_create={}))["match"]["size"] == 1


async def test_what_is_for_a_session_that_was_lost_between_two_nodes_does_not_go_to_and_fro(database_url: str) -> None:
    async with several(database_url) as (a, b):
        ada = await on(a)
        parts = [one.node.parts for one in (a, b)]
        here, there = (one.services.live.others for one in parts if one is not None)
        assert here is not None
        assert there is not None
        await until(lambda: bool(there.remote))
        socket = socket_of(a, ada)
        assert socket is not None
        await lose(a, ada)
        # The message with which it moves is lost.
        stream = Stream(RELAYED_MATCH, "of-both")
        here._engine.join(socket, stream)  # pyright: ignore[reportPrivateUsage]
        await until(lambda: bool(there._engine.audience(stream)))  # pyright: ignore[reportPrivateUsage]
        assert parts[0] is not None
        parts[0].sockets.release(socket)
        here.gives(socket, "b")
        bus = parts[0].cluster.bus
        before = bus.messages_received
        for session in (here.remote[socket.id], there.remote[socket.id]):
            session.send(RawPush(b"{}"))
            session.close("no more of you")
        there._engine.update(socket.id, stream, "lost")  # pyright: ignore[reportPrivateUsage]
        for _ in range(500):
            await asyncio.sleep(0)
        assert bus.messages_received - before < 30


async def test_a_seat_in_a_match_of_the_server_moves_back_and_forth(database_url: str) -> None:
    async with several(database_url, tally_game(), names="abc") as (a, b, c):
        ada, bob = await player(a, "ada"), await a.bot("bob")
        await bob.connect(resume=KEY)
        match_id = await ada.rpc_text("make")
        for bot in (ada, bob):
            await bot.ask(match_join={"match_id": match_id})
            assert await heard(bot) == {"welcome": 0}
        place = a
        for turn, target in enumerate((b, c, a, b), 1):
            await move(bob, place, target, resume=KEY)
            place = target
            for bot in (ada, bob):
                await add(bot, match_id, turn)
                assert await heard(ada) == await heard(bob)
        state = await asked(ada, match_id)
        assert (state["players"], state["left"], state["total"]) == (["ada", "bob"], [], 20)
        assert not hears_of_leaves(ada)


async def test_a_node_that_goes_leaves_its_matches_and_their_players_to_others(database_url: str) -> None:
    settings = Settings(cluster=QUICK, drain_seconds=1.0)
    async with several(database_url, tally_game(), names="abc", settings=settings) as (a, b, c):
        ada, bob = await player(a, "ada"), await player(b, "bob")
        match_id = await ada.rpc_text("make")
        for bot in (ada, bob):
            await bot.ask(match_join={"match_id": match_id})
            assert await heard(bot) == {"welcome": 0}
        client = Returning(ada, [c])
        await a.node.stop()
        await client.staying
        for number, bot in enumerate((ada, bob), 1):
            await add(bot, match_id, number)
            assert await heard(ada) == await heard(bob)
        state = await asked(bob, match_id)
        assert (state["players"], state["left"], state["total"]) == (["ada", "bob"], [], 3)
        assert state["node"] in ("b", "c")
        assert not hears_of_leaves(bob)


async def test_what_follows_a_message_that_nobody_waits_for_any_more_is_not_lost(database_url: str) -> None:
    async with several(database_url) as (a, b):
        ada = await on(a)
        assert b.node.parts is not None
        others = b.node.parts.services.live.others
        assert others is not None
        await until(lambda: bool(others.remote))
        (session,) = others.of_user(ada.id)
        done: list[int] = []
        session.begin_message()
        session.after_reply(lambda: done.append(1))
        session.begin_message()
        session.after_reply(lambda: done.append(2))
        session.end_message()
        session.end_message()
        assert done == [1, 2]
