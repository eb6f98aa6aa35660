"""Channels as players meet them: bots on a whole node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from palestra import ChannelKind, Context, Game, GameError
from palestra.core.errors import Unavailable
from palestra.core.ids import new_id
from palestra.features.chat.addresses import Addresses
from palestra.features.streams.contract import Stream
from palestra.requests import ChatSend
from palestra.testing import Bot, BotError, Platform
from tests.features.chat.world import refused as refused_call

HELLO = '{"t":"hello"}'
UNKNOWN = "11111111-2222-4333-8444-555555555555"


class Line(msgspec.Struct):
    """What the game is asked to do in a channel."""

    channel: str = ""
    message: str = ""
    target: str = ""
    kind: int = 1
    as_caller: bool = False
    persist: bool = True


def game() -> Game:
    game = Game("speaker")

    @game.rpc
    async def say(ctx: Context, line: Line) -> str:
        sender = (ctx.player.id, ctx.player.username) if line.as_caller else ("", "")
        sent = await ctx.chat.send(line.channel, {"by": "game"}, *sender, persist=line.persist)
        return sent.id

    @game.rpc
    async def edit(ctx: Context, line: Line) -> None:
        await ctx.chat.update(line.channel, line.message, {"by": "editor"})

    @game.rpc
    async def erase(ctx: Context, line: Line) -> None:
        await ctx.chat.remove(line.channel, line.message)

    @game.rpc
    async def address(ctx: Context, line: Line) -> str:
        return await ctx.chat.channel_id(line.target, line.kind, ctx.player.id if line.as_caller else "")

    @game.before("chat.send")
    async def no_shouting(ctx: Context, request: ChatSend) -> ChatSend:
        if request.content.isupper():
            raise GameError("no shouting", "permission_denied")
        return request

    return game


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game(), database_url=database_url) as platform:
        yield platform


async def connected(platform: Platform, *names: str) -> list[Bot]:
    bots = [await platform.bot(name) for name in names]
    for bot in bots:
        await bot.connect()
    return bots


async def join(bot: Bot, target: str, kind: int = 1, **more: Any) -> dict[str, Any]:
    return (await bot.ask(channel_join={"target": target, "type": kind, **more}))["channel"]


async def send(bot: Bot, channel: str, content: str = HELLO) -> dict[str, Any]:
    return (await bot.ask(channel_message_send={"channel_id": channel, "content": content}))["channel_message_ack"]


async def refused(waiting: Any) -> tuple[int, str]:
    with pytest.raises(BotError) as caught:
        await waiting
    return caught.value.code, caught.value.message


async def heard(bot: Bot) -> list[dict[str, Any]]:
    """Everything that was pushed so far."""
    await bot.ask(ping={})
    pushes = list(bot.pushes)
    bot.pushes.clear()
    return pushes


async def test_everybody_in_a_room_reads_what_is_said_and_the_sender_before_the_acknowledgement(
    platform: Platform,
) -> None:
    ann = await platform.bot("ann")
    url = f"{platform.url.replace('http', 'ws')}/ws?token={ann.token}"
    async with platform.http.ws_connect(url) as socket:

        async def hear() -> Any:
            frame = await socket.receive(10)
            assert frame.type is aiohttp.WSMsgType.TEXT
            return json.loads(frame.data)

        await socket.send_str(json.dumps({"cid": "1", "channel_join": {"target": "lobby", "type": 1}}))
        reply = await hear()
        own = reply["channel"]["self"]
        assert own == {"user_id": ann.id, "session_id": own["session_id"], "username": "ann", "persistence": True}
        assert reply == {"cid": "1", "channel": {"id": "2...lobby", "room_name": "lobby", "self": own}}
        event = {"channel_id": "2...lobby", "room_name": "lobby", "joins": [own]}
        assert await hear() == {"channel_presence_event": event}
        say = {"channel_id": "2...lobby", "content": HELLO}
        await socket.send_str(json.dumps({"cid": "2", "channel_message_send": say}))
        message, ack = (await hear())["channel_message"], (await hear())["channel_message_ack"]
        assert (message.pop("sender_id"), message.pop("content")) == (ann.id, HELLO)
        assert message == ack
        assert (ack["code"], ack["persistent"], ack["create_time"]) == (0, True, ack["update_time"])
        assert await history(ann, "2...lobby") == [(ack["message_id"], {"t": "hello"})]


async def history(bot: Bot, channel: str) -> list[tuple[str, Any]]:
    page = await bot.call("GET", f"/v2/channel/{channel}", query={"limit": 100})
    return [(one["message_id"], json.loads(one["content"])) for one in page.get("messages", [])]


async def test_who_is_there_is_shown_with_their_persistence_and_the_hidden_are_not(platform: Platform) -> None:
    ann, bob, ghost = await connected(platform, "ann", "bob", "ghost")
    await join(ghost, "den", hidden=True)
    assert await heard(ghost) == []
    anns = (await join(ann, "den", persistence=False))["self"]
    assert "persistence" not in anns
    reply = await join(bob, "den")
    assert reply["presences"] == [anns]
    again = await join(ann, "den", persistence=True, hidden=True)
    assert again["self"] == anns and again["presences"] == [anns, reply["self"]]
    await send(ann, "2...den")
    for bot in (ghost, bob, ann):
        message = await bot.push("channel_message")
        assert (message["content"], message["persistent"], message["code"]) == (HELLO, False, 0)
    assert await history(ann, "2...den") == []
    await bob.ask(channel_leave={"channel_id": "2...den"})
    await bob.ask(channel_leave={"channel_id": "2...den"})
    events = [one["channel_presence_event"] for one in await heard(ghost) if "channel_presence_event" in one]
    assert [(e.get("joins"), e.get("leaves")) for e in events] == [
        ([anns], None),
        ([reply["self"]], None),
        (None, [reply["self"]]),
    ]


async def test_senders_change_and_remove_their_own_messages_live(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    for bot in (ann, bob):
        await join(bot, "lobby")
    sent = await send(ann, "2...lobby")
    named = {"channel_id": "2...lobby", "message_id": sent["message_id"]}
    edited = (await ann.ask(channel_message_update={**named, "content": '{"t":"x"}'}))["channel_message_ack"]
    assert (edited["code"], edited["create_time"]) == (1, sent["create_time"])
    assert edited["update_time"] > sent["update_time"]
    missing = "Could not find message to update in channel history"
    assert await refused(bob.ask(channel_message_update={**named, "content": "{}"})) == (3, missing)
    assert await history(bob, "2...lobby") == [(sent["message_id"], {"t": "x"})]
    missing = "Could not find message to remove in channel history"
    assert await refused(bob.ask(channel_message_remove=named)) == (3, missing)
    removed = (await ann.ask(channel_message_remove=named))["channel_message_ack"]
    assert (removed["code"], removed["update_time"]) == (2, edited["update_time"])
    assert await history(bob, "2...lobby") == []
    told = [one["channel_message"] for one in await heard(bob) if "channel_message" in one]
    assert [(one["code"], one["message_id"], one["content"]) for one in told] == [
        (0, sent["message_id"], HELLO),
        (1, sent["message_id"], '{"t":"x"}'),
        (2, sent["message_id"], "{}"),
    ]


TARGET, NOT_JSON = "Invalid channel target", "Message content must be a valid JSON object"
JOIN, LEAVE, SEND = "channel_join", "channel_leave", "channel_message_send"
UPDATE, REMOVE = "channel_message_update", "channel_message_remove"
REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    (JOIN, {"type": 7}, TARGET),
    (JOIN, {"target": "x", "type": -1}, "Invalid channel type"),
    (JOIN, {"target": "x", "type": 4}, "Invalid channel type"),
    (JOIN, {"target": "é" * 33}, f"Channel name is required and must be 1-64 chars: {TARGET}"),
    (JOIN, {"target": "a\x7f"}, f"Channel name must not contain control chars: {TARGET}"),
    (JOIN, {"target": "x", "type": 2}, f"Invalid user ID in direct message join: {TARGET}"),
    (JOIN, {"target": UNKNOWN, "type": 2}, f"User ID not found: {TARGET}"),
    (JOIN, {"target": "x", "type": 3}, f"Invalid group ID in group channel join: {TARGET}"),
    (JOIN, {"target": UNKNOWN, "type": 3}, f"Group not found: {TARGET}"),
    (LEAVE, {"channel_id": "x"}, "Invalid channel identifier"),
    (SEND, {"channel_id": "2...", "content": "{}"}, "Invalid channel identifier"),
    (SEND, {"channel_id": "2...x", "content": " {}"}, NOT_JSON),
    (SEND, {"channel_id": "2...x", "content": '{"a":}'}, NOT_JSON),
    (SEND, {"channel_id": "2...x", "content": "{}"}, "Must join channel before sending messages"),
    (UPDATE, {"channel_id": "x", "message_id": "x"}, "Invalid message identifier"),
    (UPDATE, {"channel_id": "x", "message_id": UNKNOWN}, "Invalid channel identifier"),
    (
        UPDATE,
        {"channel_id": "2...x", "message_id": UNKNOWN, "content": "{}"},
        "Must join channel before updating messages",
    ),
    (REMOVE, {"channel_id": "2...x"}, "Invalid message identifier"),
    (REMOVE, {"channel_id": "2...x", "message_id": UNKNOWN}, "Must join channel before removing messages"),
]


async def test_a_refusal_says_why(platform: Platform) -> None:
    (ann,) = await connected(platform, "ann")
    for kind, fields, text in REFUSALS:
        assert await refused(ann.ask(**{kind: fields})) == (3, text), (kind, fields)


async def test_a_direct_channel_asks_the_absent_once_and_not_those_who_are_there(platform: Platform) -> None:
    ann, bob = sorted(await connected(platform, "ann", "bob"), key=lambda one: one.id)
    reply = await join(ann, bob.id.upper(), 2)
    channel = f"4.{ann.id}.{bob.id}."
    assert (reply["id"], reply["user_id_one"], reply["user_id_two"]) == (channel, ann.id, bob.id)
    (notification,) = (await bob.push("notifications"))["notifications"]
    assert (notification["code"], notification["sender_id"], notification["persistent"]) == (-1, ann.id, True)
    assert notification["subject"] == f"{ann.username} wants to chat"
    assert json.loads(notification["content"]) == {"username": ann.username}
    assert (await join(bob, ann.id, 2))["id"] == channel
    await send(ann, channel)
    assert (await bob.push("channel_message"))["user_id_two"] == bob.id
    pushes = [*await heard(ann), *await heard(bob)]
    assert [one for one in pushes if "notifications" in one] == []
    # With oneself is a place for notes.
    assert (await join(ann, ann.id, 2))["id"] == f"4.{ann.id}.{ann.id}."
    assert [one for one in await heard(ann) if "notifications" in one] == []


async def test_the_blocked_cannot_open_a_conversation_but_the_blocker_can(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    await ann.call("POST", "/v2/friend/block", query={"ids": bob.id})
    assert await refused(join(bob, ann.id, 2)) == (3, "User ID not found: Invalid channel target")
    await join(ann, bob.id, 2)


async def test_blocking_ends_the_conversation_without_a_word(platform: Platform) -> None:
    ann, bob, cid = await connected(platform, "ann", "bob", "cid")
    channel = (await join(ann, bob.id, 2))["id"]
    await join(bob, ann.id, 2)
    other = (await join(cid, ann.id, 2))["id"]
    await ann.call("POST", "/v2/friend/block", query={"ids": bob.id})
    for bot in (ann, bob):
        assert await refused(send(bot, channel)) == (3, "Must join channel before sending messages")
        assert not any("leaves" in one.get("channel_presence_event", {}) for one in await heard(bot))
    await send(cid, other)


async def test_whoever_is_blocked_while_asking_to_join_is_not_let_in(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    find = Addresses.find

    async def find_slowly(self: Addresses, target: str, kind: int, caller_id: str) -> Stream:
        found = await find(self, target, kind, caller_id)
        await ann.call("POST", "/v2/friend/block", query={"ids": bob.id})
        return found

    monkeypatch.setattr(Addresses, "find", find_slowly)
    assert await refused(join(bob, ann.id, 2)) == (3, "User ID not found: Invalid channel target")


async def test_a_groups_channel_follows_what_happens_to_the_group(platform: Platform) -> None:
    ann, bob, cid = await connected(platform, "ann", "bob", "cid")
    group = (await ann.call("POST", "/v2/group", {"name": "club", "open": True}))["id"]
    missing = (3, "Group not found: Invalid channel target")
    assert await refused(join(bob, group, 3)) == missing
    await join(ann, group, 3)
    for bot in (bob, cid):
        await bot.call("POST", f"/v2/group/{group}/join")
        await join(bot, group, 3)
    await ann.call("POST", f"/v2/group/{group}/promote", query={"user_ids": bob.id})
    await ann.call("POST", f"/v2/group/{group}/kick", query={"user_ids": bob.id})
    await cid.call("POST", f"/v2/group/{group}/leave")
    pushes = await heard(ann)
    codes = [(m["code"], m["username"]) for one in pushes if (m := one.get("channel_message"))]
    assert codes == [(3, "bob"), (3, "cid"), (7, "bob"), (6, "bob"), (5, "cid")]
    gone = [e["leaves"][0]["username"] for one in pushes if "leaves" in (e := one.get("channel_presence_event", {}))]
    assert gone == ["bob", "cid"]
    channel = f"3.{group}.."
    assert await refused(send(bob, channel)) == (3, "Must join channel before sending messages")
    assert await refused(join(cid, group, 3)) == missing
    page = await ann.call("GET", f"/v2/channel/{channel}", query={"limit": 100})
    assert [one["code"] for one in page["messages"]] == [3, 3, 7, 6, 5]


async def test_a_deleted_group_closes_its_channel_without_a_word(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    group = (await ann.call("POST", "/v2/group", {"name": "club", "open": True}))["id"]
    await bob.call("POST", f"/v2/group/{group}/join")
    for bot in (ann, bob):
        await join(bot, group, 3)
    await heard(ann)
    await heard(bob)
    await ann.call("DELETE", f"/v2/group/{group}")
    assert await refused(send(bob, f"3.{group}..")) == (3, "Must join channel before sending messages")
    assert (await heard(ann), await heard(bob)) == ([], [])


async def test_a_deleted_account_takes_its_groups_channels_along(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    group = (await ann.call("POST", "/v2/group", {"name": "club", "open": True}))["id"]
    await bob.call("POST", f"/v2/group/{group}/join")
    await join(bob, group, 3)
    await join(ann, "lobby")
    await join(bob, "lobby")
    await heard(bob)
    await ann.call("DELETE", "/v2/account")
    assert (await bob.push("channel_presence_event"))["leaves"][0]["username"] == "ann"
    assert await refused(send(bob, f"3.{group}..")) == (3, "Must join channel before sending messages")


async def test_a_banned_player_leaves_the_channels(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    await join(ann, "lobby")
    await join(bob, "lobby")
    await heard(ann)
    parts = platform.node.parts
    assert parts is not None
    await parts.services.accounts.ban([bob.id])
    assert (await ann.push("channel_presence_event"))["leaves"][0]["username"] == "bob"
    assert (await bob.push("notifications"))["notifications"][0]["code"] == -8


async def test_a_session_is_in_so_many_channels_and_no_more(platform: Platform) -> None:
    (ann,) = await connected(platform, "ann")
    for number in range(256):
        await join(ann, f"room {number}", hidden=True)
    text = "A session may be in 256 channels: leave one first."
    assert await refused(join(ann, "one more")) == (3, text)
    await join(ann, "room 7")
    await ann.ask(channel_leave={"channel_id": "2...room 7"})
    await join(ann, "one more")


async def test_players_of_either_wire_format_read_each_other(platform: Platform) -> None:
    (ann,) = await connected(platform, "ann")
    bob = await platform.bot("bob")
    await bob.connect(format="protobuf")
    own = (await join(ann, "lobby", persistence=False))["self"]
    assert (await join(bob, "lobby"))["presences"] == [own]
    ack = await send(bob, "2...lobby")
    assert (ack["code"], ack["persistent"], ack["room_name"]) == (0, True, "lobby")
    messages = [await bot.push("channel_message") for bot in (ann, bob)]
    assert messages[0]["content"] == messages[1]["content"] == HELLO
    assert messages[0]["message_id"] == messages[1]["message_id"] == ack["message_id"]
    await ann.ask(status_follow={"user_ids": [bob.id]})
    await bob.ask(status_update={"status": ""})
    assert (await ann.push("status_presence_event"))["joins"][0]["status"] == ""
    assert (await bob.push("status_presence_event"))["joins"][0]["status"] == ""


async def test_of_a_full_room_the_reply_lists_those_who_came_first(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palestra.features.chat.channels.PRESENCES_LISTED_MAX", 2)
    ann, bob, cid, dan = await connected(platform, "ann", "bob", "cid", "dan")
    for bot in (ann, bob, cid):
        await join(bot, "lobby")
    assert [one["username"] for one in (await join(dan, "lobby"))["presences"]] == ["ann", "bob"]


async def test_game_code_writes_changes_and_removes_live(platform: Platform) -> None:
    (ann,) = await connected(platform, "ann")
    await join(ann, "lobby")
    await heard(ann)
    message = await ann.rpc_text("say", '{"channel":"2...lobby"}')
    await ann.rpc("edit", {"channel": "2...lobby", "message": message})
    await ann.rpc("erase", {"channel": "2...lobby", "message": message})
    await ann.rpc_text("say", '{"channel":"2...lobby","persist":false,"as_caller":true}')
    told = [one["channel_message"] for one in await heard(ann)]
    system = "00000000-0000-0000-0000-000000000000"
    assert [(m["code"], m["sender_id"], m["content"], m["persistent"]) for m in told] == [
        (0, system, '{"by":"game"}', True),
        (1, system, '{"by":"editor"}', True),
        (2, system, "{}", True),
        (0, ann.id, '{"by":"game"}', False),
    ]
    assert await history(ann, "2...lobby") == []


async def test_game_code_finds_channels_as_their_sender_would(platform: Platform) -> None:
    ann, bob = await connected(platform, "ann", "bob")

    async def address(**line: Any) -> str:
        return await ann.rpc_text("address", json.dumps(line))

    low, high = sorted((ann.id, bob.id))
    assert await address(target="lobby") == "2...lobby"
    assert await address(target=bob.id, kind=ChannelKind.DIRECT, as_caller=True) == f"4.{low}.{high}."
    assert await address(target=UNKNOWN, kind=3) == f"3.{UNKNOWN}.."
    for line in (
        {"target": bob.id, "kind": 2},
        {"target": UNKNOWN, "kind": 3, "as_caller": True},
        {"target": "x" * 65},
    ):
        with pytest.raises(BotError, match="Invalid channel target"):
            await address(**line)


async def test_hooks_see_what_is_said_by_the_name_of_the_operation(platform: Platform) -> None:
    (ann,) = await connected(platform, "ann")
    await join(ann, "lobby")
    assert await refused(send(ann, "2...lobby", '{"T":"HELLO"}')) == (7, "no shouting")
    await send(ann, "2...lobby")


async def test_many_who_write_at_once_are_read_in_the_order_of_the_history(platform: Platform) -> None:
    bots = await connected(platform, "ann", "bob", "cid")
    for bot in bots:
        await join(bot, "lobby")
    await asyncio.gather(*(send(bot, "2...lobby", f'{{"t":"{n}"}}') for bot in bots for n in range(30)))
    orders = [[m["message_id"] for one in await heard(bot) if (m := one.get("channel_message"))] for bot in bots]
    page = await bots[0].call("GET", "/v2/channel/2...lobby", query={"limit": 100})
    assert orders[0] == orders[1] == orders[2] == [one["message_id"] for one in page["messages"]]
    assert len(orders[0]) == 90


async def test_what_cannot_be_kept_is_an_error_and_told_to_nobody(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await connected(platform, "ann", "bob")
    for bot in (ann, bob):
        await join(bot, "lobby")
    sent = await send(ann, "2...lobby")
    await heard(bob)
    parts = platform.node.parts
    assert parts is not None

    async def away(*_: Any) -> None:
        raise Unavailable

    store = parts.services.live.chat._store
    for name in ("send", "update", "remove"):
        monkeypatch.setattr(store, name, away)
    named = {"channel_id": "2...lobby", "message_id": sent["message_id"]}
    for waiting, what in (
        (send(ann, "2...lobby"), "message"),
        (ann.ask(channel_message_update={**named, "content": "{}"}), "message update"),
        (ann.ask(channel_message_remove=named), "message remove"),
    ):
        assert await refused(waiting) == (0, f"Could not persist {what} to channel history")
    assert await heard(bob) == []
    with pytest.raises(BotError):
        await ann.rpc("say", {"channel": "2...lobby"})
    await refused_call(parts.services.live.chat.send("2...lobby", {}, "no id"))
    await refused_call(parts.services.live.chat.send("2...lobby", {}, new_id()))
