"""Several nodes as one platform: names, membership, and what players of different nodes see of each other."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palestra import Game
from palestra.app.lifecycle import Node
from palestra.cli.cluster import forget, status
from palestra.cluster import bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.core.config import ResumeSettings, SessionSettings, Settings
from palestra.core.errors import SetupError, Unavailable
from palestra.core.processes import Process
from palestra.features.nodes.contract import AloneTogether, NameTaken
from palestra.features.nodes.store import NodeStore
from palestra.features.streams import copying, replication
from palestra.features.streams.contract import RELAYED_MATCH, Stream
from palestra.testing import Bot, BotError, Platform
from tests.cluster.servers import free_port, running, valkey_command
from tests.cluster.several import QUICK, Line, Town, others, several
from tests.waiting import until


async def on(platform: Platform, username: str = "") -> Bot:
    """A player with a socket on a node."""
    bot = await platform.bot(username)
    await bot.connect()
    return bot


@contextmanager
def elsewhere() -> Iterator[None]:
    """Nodes that start meanwhile are processes of another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("palestra.features.nodes.service.this_process", lambda: Process("another machine", 1, "1"))
        yield


async def test_a_node_that_comes_later_hears_of_more_presences_than_fit_into_a_packet(database_url: str) -> None:
    town = Town()
    async with several(database_url, names="a", town=town) as (a,):
        ada = await on(a)
        assert a.node.parts is not None
        (socket,) = a.node.parts.sockets.of_user(ada.id)
        for number in range(6_000):
            a.node.parts.services.live.presences.join(socket, Stream(RELAYED_MATCH, f"{number:036}"))
        async with several(database_url, names="b", town=town) as (b,):
            assert b.node.parts is not None
            counts = b.node.parts.services.live.presences.counts
            await until(lambda: counts["a"] >= 6_000)


async def test_nobody_leaves_when_a_part_of_a_copy_is_lost(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "PACKET_BYTES_MAX", 1)
    monkeypatch.setattr(copying, "PART_SESSIONS", 1)
    monkeypatch.setattr(replication, "ASK_SECONDS", 0.2)
    town = Town()
    async with several(database_url, town=town) as (a, b):
        for _ in range(4):
            await on(a)
        assert a.node.parts is not None
        assert b.node.parts is not None
        others = b.node.parts.services.live.others
        assert others is not None
        await until(lambda: len(others.remote) == 4)
        ended: list[str] = []
        others.on_end(lambda session: ended.append(session.id))
        parts = 0
        publish = Line.publish

        def losing(self: Line, to: str, packet: bytes) -> bool:
            nonlocal parts
            parts += b"presence.part" in packet
            return (b"presence.part" in packet and parts in (2, 6, 9)) or publish(self, to, packet)

        monkeypatch.setattr(Line, "publish", losing)
        before = others.corrections
        others._ask("a")  # pyright: ignore[reportPrivateUsage]
        await until(lambda: others.corrections > before and parts > 9)
        assert ended == []
        assert len(others.remote) == 4


async def test_what_happens_while_a_copy_is_told_is_in_it(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "PART_SESSIONS", 1)
    async with several(database_url) as (a, b):
        bots = [await on(a) for _ in range(4)]
        assert b.node.parts is not None
        live = b.node.parts.services.live
        others = live.others
        assert others is not None
        await until(lambda: len(others.remote) == 4)
        before = others.corrections
        others._ask("a")  # pyright: ignore[reportPrivateUsage]
        await bots[0].leave()
        late = await on(a)
        await late.ask(match_create={"name": "late"})
        await bots[3].leave()
        await until(lambda: others.corrections > before)
        assert {one.caller.user_id for one in others.remote.values()} == {bots[1].id, bots[2].id, late.id}
        assert others.corrections == before + 1
        assert live.presences.counts["a"] >= 1


async def test_a_node_that_was_given_up_goes_on_asking_for_an_epoch_whatever_it_is_told(database_url: str) -> None:
    async with several(database_url) as (a, b):
        assert a.node.parts is not None
        members, end = a.node.parts.cluster.members, a.node.parts.cluster.bus
        before, claim = end.epoch, a.node.parts.services.nodes.claim
        refusals = [AloneTogether("c"), Unavailable("away")]

        async def refused_at_first() -> int:
            if refusals:
                raise refusals.pop()
            return await claim()

        members._new_epoch = refused_at_first  # pyright: ignore[reportPrivateUsage]
        end.send("a", "node.dead", msgspec.msgpack.encode(("a", before)))
        await until(lambda: end.epoch > before)
        await until(lambda: others(b) == ["a"] and others(a) == ["b"])


async def test_a_relayed_match_spans_nodes(database_url: str) -> None:
    async with several(database_url) as (a, b):
        ada, bob = await on(a), await on(b)
        match = (await ada.ask(match_create={}))["match"]
        joined = (await bob.ask(match_join={"match_id": match["match_id"]}))["match"]
        assert [one["user_id"] for one in joined["presences"]] == [ada.id]
        event = await ada.push("match_presence_event")
        while "joins" not in event or event["joins"][0]["user_id"] != bob.id:
            event = await ada.push("match_presence_event")
        for sender, receiver in ((ada, bob), (bob, ada)):
            await sender.send(match["match_id"], 7, {"from": sender.id})
            data = await receiver.push("match_data")
            assert (data["op_code"], json.loads(base64.b64decode(data["data"]))) == ("7", {"from": sender.id})
        await bob.leave()
        await until(lambda: any(one.get("match_presence_event", {}).get("leaves") for one in ada.pushes))


async def test_a_match_is_found_on_another_node_before_the_news_of_it_arrives(database_url: str) -> None:
    slow = Town(seconds=lambda: 0.05)
    async with several(database_url, town=slow) as (a, b):
        ada, bob = await on(a), await on(b)
        match_id = (await ada.ask(match_create={}))["match"]["match_id"]
        assert (await bob.ask(match_join={"match_id": match_id}))["match"]["size"] == 1
        with pytest.raises(BotError, match="Match not found"):
            await bob.ask(match_join={"match_id": "00000000-0000-4000-8000-000000000000."})


async def test_many_who_ask_for_unknown_matches_ask_the_other_nodes_together(database_url: str) -> None:
    async with several(database_url) as (a, b):
        assert a.node.parts is not None
        assert b.node.parts is not None
        members, at_b = a.node.parts.cluster.members, b.node.parts.cluster.bus
        before = at_b.messages_received
        await asyncio.gather(*[members.catch_up() for _ in range(1_000)])
        assert at_b.messages_received - before < 50


async def test_statuses_and_chat_cross_nodes_in_both_formats(database_url: str) -> None:
    async with several(database_url, names="abc") as (a, b, c):
        ada, bob = await on(a), await on(b)
        eve = await c.bot()
        await eve.connect(format="protobuf")
        for bot in (ada, bob):
            await bot.ask(status_update={"status": "here"})
        online = (await eve.ask(status_follow={"user_ids": [ada.id, bob.id]}))["status"]["presences"]
        assert sorted(one["user_id"] for one in online) == sorted([ada.id, bob.id])
        await ada.ask(status_update={"status": "busy"})
        assert (await eve.push("status_presence_event"))["joins"][0]["status"] == "busy"
        channels = [(await bot.ask(channel_join={"target": "hall", "type": 1}))["channel"] for bot in (ada, bob, eve)]
        assert len(channels[2]["presences"]) == 2
        await eve.ask(channel_message_send={"channel_id": channels[0]["id"], "content": '{"say":"hello"}'})
        for bot in (ada, bob):
            assert (await bot.push("channel_message"))["content"] == '{"say":"hello"}'


async def test_notifications_and_sessions_are_found_wherever_they_are(database_url: str) -> None:
    game = Game("post")

    @game.rpc
    async def tell(ctx: Any, payload: str) -> str:
        await ctx.notifications.send(payload, "hello", {"n": 1}, 1, persistent=False)
        sessions = await ctx.sockets.of_player(payload)
        return str(len(sessions))

    @game.rpc
    async def throw_out(ctx: Any, payload: str) -> str:
        (session,) = await ctx.sockets.of_player(payload)
        return str(await ctx.sockets.disconnect(session))

    async with several(database_url, game) as (a, b):
        ada, bob = await on(a), await on(b)
        assert await ada.rpc_text("tell", bob.id) == "1"
        assert (await bob.push("notifications"))["notifications"][0]["subject"] == "hello"
        assert await ada.rpc_text("throw_out", bob.id) == "True"
        await until(lambda: not bob.connected)


async def test_a_log_out_and_a_ban_hold_on_every_node(database_url: str) -> None:
    game = Game("ban")

    @game.rpc
    async def ban(ctx: Any, payload: str) -> str:
        await ctx.accounts.ban([payload])
        return ""

    async with several(database_url, game) as (a, b):
        ada, bob = await on(a), await on(b)
        there = Bot(a.http, b.url, "defaultkey", ada.device_id)
        there.token = ada.token
        await there.call("GET", "/v2/account")
        await ada.rpc_text("ban", bob.id)
        await until(lambda: not bob.connected)
        await ada.call("POST", "/v2/session/logout", {"token": ada.token})
        async with asyncio.timeout(1.0):
            while True:
                try:
                    await there.call("GET", "/v2/account")
                except BotError as error:
                    assert error.status == 401
                    break


async def test_a_player_has_one_socket_in_the_whole_cluster(database_url: str) -> None:
    settings = Settings(cluster=QUICK, session=SessionSettings(single_socket=True))
    async with several(database_url, settings=settings) as (a, b):
        ada = await on(a)
        again = Bot(a.http, b.url, "defaultkey", ada.device_id)
        await again.log_in()
        await again.connect()
        await until(lambda: not ada.connected)
        assert again.connected
        await again.leave()


async def test_a_node_that_goes_takes_its_players_with_it(database_url: str) -> None:
    # Else they would wait on another node for their players to come back.
    settings = Settings(cluster=QUICK, resume=ResumeSettings(seconds=0))
    async with several(database_url, names="abc", settings=settings) as (a, b, c):
        ada, bob = await on(a), await on(b)
        await bob.ask(status_update={"status": "here"})
        while not (await ada.ask(status_follow={"user_ids": [bob.id]}))["status"]:
            pass
        await b.node.stop()
        assert (await ada.push("status_presence_event"))["leaves"][0]["user_id"] == bob.id
        await until(lambda: others(a) == ["c"] and others(c) == ["a"])


async def test_a_name_is_had_by_one_node(database_url: str) -> None:
    town = Town()
    async with several(database_url, names="a", town=town):
        settings = Settings(node="a", port=0, console_port=0, data_dir=str(town.folder), database_url=database_url)
        second = Node(settings, [], [], transport=LocalTransport(LocalBroker()))
        parts_process = "palestra.features.nodes.service.this_process"
        with pytest.MonkeyPatch.context() as patch:
            from palestra.core.processes import Process

            patch.setattr(parts_process, lambda: Process("elsewhere", 1, "1"))
            with pytest.raises(NameTaken, match="--node"):
                await second.start()
            await second.stop()


async def test_two_nodes_without_a_bus_do_not_share_a_database(database_url: str, tmp_path: Path) -> None:
    first = Settings(node="one", port=0, console_port=0, data_dir=str(tmp_path), database_url=database_url)
    node = Node(first, [], [])
    await node.start()
    try:
        settings = Settings(node="two", port=0, console_port=0, data_dir=str(tmp_path), database_url=database_url)
        second = Node(settings, [], [])
        with elsewhere(), pytest.raises(AloneTogether, match="redis-url"):
            await second.start()
        await second.stop()
    finally:
        await node.stop()


async def test_a_node_with_a_bus_does_not_join_one_without(database_url: str, tmp_path: Path) -> None:
    first = Settings(node="one", port=0, console_port=0, data_dir=str(tmp_path), database_url=database_url)
    node = Node(first, [], [])
    await node.start()
    try:
        parts = node.parts
        assert parts is not None
        await parts.services.nodes.see()
        settings = Settings(node="two", port=0, console_port=0, data_dir=str(tmp_path), database_url=database_url)
        second = Node(settings, [], [], transport=LocalTransport(LocalBroker()))
        with elsewhere(), pytest.raises(AloneTogether, match="redis-url"):
            await second.start()
        await second.stop()
    finally:
        await node.stop()


async def test_a_node_that_the_database_sees_and_the_bus_does_not_is_told_of(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("palestra.features.nodes.service.SEEN_SECONDS", 0.05)
    town = Town()
    async with several(database_url, settings=Settings(cluster=QUICK), town=town) as (a, _):
        town.cut_off("b")
        parts = a.node.parts
        assert parts is not None
        store = NodeStore(parts.database)
        while not (await store.read_all())[0].state.get("unheard"):
            await parts.services.nodes.see()
        assert await asyncio.to_thread(status, Settings(database_url=database_url), as_json=False) == 1
        assert "does not hear b" in capsys.readouterr().out


async def test_operators_see_nodes_leases_and_what_each_one_has(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with several(database_url) as (a, b):
        await on(a)
        for platform in (a, b):
            parts = platform.node.parts
            assert parts is not None
            await parts.services.nodes.see()
        code = await asyncio.to_thread(status, Settings(database_url=database_url), as_json=True)
        shown = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert code == 0
        assert [(node["name"], node["state"]["sockets"]) for node in shown["nodes"]] == [("a", 1), ("b", 0)]
        assert shown["nodes"][1]["state"]["sessions_elsewhere"] == 1
        await asyncio.to_thread(status, Settings(database_url=database_url), as_json=False)
        assert "alive" in capsys.readouterr().out


async def test_operators_see_a_node_on_the_bus_as_soon_as_it_is_ready(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    settings = Settings(cluster=QUICK, redis_url=f"redis://127.0.0.1:{port}")
    async with (
        running(valkey_command(port), port),
        several(database_url, names="a", settings=settings) as (a,),
    ):
        assert a.node.ready
        assert await asyncio.to_thread(status, Settings(database_url=database_url), as_json=False) == 0
        assert "alive" in capsys.readouterr().out


async def test_operators_drop_a_node_that_will_not_come_back_and_none_that_lives(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Settings(database_url=database_url)
    async with several(database_url, names="a") as (a,):
        parts = a.node.parts
        assert parts is not None
        store = NodeStore(parts.database)
        epoch = await store.claim("ghost", Process("another machine", 1, "1"), True, 60.0, 0)
        assert epoch is not None and await store.hold("haunting", "ghost", epoch, 3_600)
        assert await asyncio.to_thread(forget, asked, "ghost") == 1
        assert "it lives" in capsys.readouterr().out
        await parts.database.execute("UPDATE nodes SET seen_at = now() - interval '1 hour' WHERE name = 'ghost'")
        assert await asyncio.to_thread(status, asked, as_json=False) == 1
        assert await asyncio.to_thread(forget, asked, "ghost") == 0
        assert await asyncio.to_thread(status, asked, as_json=False) == 0
        shown = capsys.readouterr().out
        assert "ghost is forgotten; it was silent for 3600 s" in shown and "haunting" not in shown.split("forgotten")[1]
        with pytest.raises(SetupError, match="no node 'ghost' on this database; known: a"):
            await asyncio.to_thread(forget, asked, "ghost")
        assert await asyncio.to_thread(forget, asked, "a") == 1
