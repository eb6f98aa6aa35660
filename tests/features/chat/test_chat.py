"""Channel history as players notice it: who may read what, pages in both directions, edits, errors."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from palestra.core.errors import Code
from palestra.core.ids import new_id
from palestra.features.chat.announcing import Announcements
from palestra.features.chat.contract import Message
from palestra.features.chat.feature import subscribe
from palestra.features.groups.contract import Happening
from tests.features.chat.world import World, refused

INVALID = Code.INVALID_ARGUMENT
ROOM = "2...lobby.of v1"


def texts(page: dict[str, Any]) -> list[str]:
    return [msgspec.json.decode(one["content"])["t"] for one in page.get("messages", [])]


async def test_a_message_of_a_room_is_read_by_anybody(world: World) -> None:
    (ann, as_ann), (_, as_bob) = await world.reader("ann"), await world.reader("bob")
    world.clock.advance(0.25)
    sent = await world.chat.send(ROOM, {"t": "hi", "n": [1, None]}, ann, "ann")
    page = await as_bob("GET", f"/v2/channel/{ROOM}")
    (message,) = page["messages"]
    assert re.fullmatch(r"....-..-..T..:..:..\.250000Z", message["create_time"])
    assert message.pop("create_time") == message.pop("update_time")
    assert message == {
        "channel_id": ROOM,
        "message_id": sent.id,
        "code": 0,
        "sender_id": ann,
        "username": "ann",
        "content": '{"n": [1, null], "t": "hi"}',
        "persistent": True,
        "room_name": "lobby.of v1",
    }
    assert set(page) == {"messages", "cacheable_cursor"}
    assert await as_ann("GET", "/v2/channel/2...empty", limit=10) == {}


async def test_pages_lead_on_and_back_in_both_directions(world: World) -> None:
    _, as_ann = await world.reader("ann")
    path = f"/v2/channel/{ROOM}"
    await world.say(ROOM, "1", "2", "3", "4", "5")
    await world.say("2...other", "x")
    assert texts(await as_ann("GET", path)) == ["1"]
    assert texts(await as_ann("GET", path, limit=100)) == ["1", "2", "3", "4", "5"]
    assert texts(await as_ann("GET", path, limit=100, forward="false")) == ["5", "4", "3", "2", "1"]
    for forward, order in (("true", "12345"), ("false", "54321")):
        query = {"limit": 2, "forward": forward}
        one = await as_ann("GET", path, **query)
        two = await as_ann("GET", path, **query, cursor=one["next_cursor"])
        three = await as_ann("GET", path, **query, cursor=two["next_cursor"])
        assert "".join(texts(one) + texts(two) + texts(three)) == order
        assert "prev_cursor" not in one and "next_cursor" not in three
        back = await as_ann("GET", path, **query, cursor=three["prev_cursor"])
        assert texts(back) == texts(two)
        start = await as_ann("GET", path, **query, cursor=back["prev_cursor"])
        assert texts(start) == texts(one) and "prev_cursor" not in start
        again = await as_ann("GET", path, **query, cursor=start["next_cursor"])
        assert texts(again) == texts(two)


async def test_the_cacheable_cursor_fetches_what_was_said_since(world: World) -> None:
    _, as_ann = await world.reader("ann")
    path = f"/v2/channel/{ROOM}"
    await world.say(ROOM, "1", "2")
    cursor = (await as_ann("GET", path, limit=100))["cacheable_cursor"]
    nothing = await as_ann("GET", path, limit=100, cursor=cursor)
    assert set(nothing) == {"cacheable_cursor"}
    await world.say(ROOM, "3")
    for known in (cursor, nothing["cacheable_cursor"]):
        since = await as_ann("GET", path, limit=100, cursor=known)
        assert texts(since) == ["3"] and set(since) == {"messages", "prev_cursor", "cacheable_cursor"}
    # Also from a page that was read newest first.
    falling = await as_ann("GET", path, limit=1, forward="false")
    assert texts(await as_ann("GET", path, cursor=falling["cacheable_cursor"])) == []


async def test_a_group_is_read_by_its_members_only(world: World) -> None:
    (ann, as_ann), (bob, as_bob), (cid, as_cid) = [await world.reader(name) for name in ("ann", "bob", "cid")]
    group = (await world.groups.create(ann, "club")).id
    await world.groups.add_users(group, [bob])
    await world.groups.join(group, cid, "cid")
    channel = f"3.{group}.."
    world.clock.advance(0.5)
    await world.chat.send(channel, {}, bob, "bob", code=Happening.ADDED)
    for reader in (as_ann, as_bob):
        # Upper case names the same channel.
        (message,) = (await reader("GET", f"/v2/channel/3.{group.upper()}..", limit=5))["messages"]
        assert (message["code"], message["group_id"], message["content"]) == (4, group, "{}")
        assert "." not in message["create_time"] and "room_name" not in message
    missing = (INVALID, "Group not found.")
    assert await refused(as_cid("GET", f"/v2/channel/{channel}")) == missing
    assert await refused(as_ann("GET", f"/v2/channel/3.{new_id()}..")) == missing
    await world.groups.kick_users(group, [bob])
    assert await refused(as_bob("GET", f"/v2/channel/{channel}")) == missing
    assert len((await world.chat.history(channel, 5)).messages) == 1


async def test_a_groups_channel_tells_what_happens_to_its_members(world: World) -> None:
    subscribe(world.events, world.channels, Announcements(world.chat))
    (ann, as_ann), (bob, _), (cid, _) = [await world.reader(name) for name in ("ann", "bob", "cid")]
    group = (await world.groups.create(ann, "club", open=True)).id
    await world.groups.add_users(group, [bob])
    await world.groups.promote_users(group, [bob])
    await world.groups.join(group, cid, "cid")
    await world.groups.leave(group, bob, "bob")
    page = await as_ann("GET", f"/v2/channel/3.{group}..", limit=100)
    told = [(one["code"], one["sender_id"], one["username"], one["content"]) for one in page["messages"]]
    assert told == [(4, bob, "bob", "{}"), (7, bob, "bob", "{}"), (3, cid, "cid", "{}"), (5, bob, "bob", "{}")]


async def test_a_member_comes_in_though_the_channel_cannot_be_told(world: World) -> None:
    subscribe(world.events, world.channels, Announcements(world.chat))
    ann, bob = await world.players.make("ann", "bob")
    group = (await world.groups.create(ann, "club", open=True)).id
    await world.messages.stop()
    await world.groups.join(group, bob, "bob")
    assert [one.user.id for one in (await world.groups.list_users(group)).members] == [ann, bob]


async def test_a_conversation_is_read_by_the_two_only(world: World) -> None:
    (one, as_one), (two, as_two) = sorted([await world.reader("ann"), await world.reader("bob")], key=lambda x: x[0])
    _, as_cid = await world.reader("cid")
    channel = f"4.{one}.{two}."
    await world.say(channel, "psst")
    for reader in (as_one, as_two):
        (message,) = (await reader("GET", f"/v2/channel/{channel}"))["messages"]
        assert (message["user_id_one"], message["user_id_two"]) == (one, two)
    assert await refused(as_cid("GET", f"/v2/channel/{channel}")) == (INVALID, "Channel not found.")


SOME_ID = "0b6f6f0e-3f0c-4c59-9f4f-2a6d3a9a1f10"


@pytest.mark.parametrize(
    "channel",
    [
        *("garbage", "2...", "2..x", "9...room", "5.a.b.c", ".2..", "2.a..room", "2..a.room", "2...a%00b", "02...room"),
        "2..." + "r" * 65,
        *("3...", "3.club..", f"3.{SOME_ID}..x", f"3.{SOME_ID}.{SOME_ID}."),
        *(f"4.{SOME_ID}..", f"4.f{SOME_ID[1:]}.0{SOME_ID[1:]}.", f"4.0{SOME_ID[1:]}.f{SOME_ID[1:]}.x"),
    ],
)
async def test_what_names_no_channel_is_refused(world: World, channel: str) -> None:
    channel = channel.replace("%00", "\0")
    assert await refused(world.chat.history(channel, 1)) == (INVALID, "Invalid channel ID.")
    assert await refused(world.chat.send(channel, {}, new_id(), "ann")) == (INVALID, "Invalid channel ID.")


async def test_the_longest_room_name_counts_in_bytes(world: World) -> None:
    await world.say("2..." + "é" * 32, "fits")
    assert await refused(world.chat.history("2..." + "é" * 32 + "r")) == (INVALID, "Invalid channel ID.")


async def test_limits_and_cursors_that_do_not_fit_are_refused(world: World) -> None:
    _, as_ann = await world.reader("ann")
    path = f"/v2/channel/{ROOM}"
    await world.say(ROOM, "1", "2")
    for limit in (0, 101):
        text = "Invalid limit - limit must be between 1 and 100."
        assert await refused(as_ann("GET", path, limit=limit)) == (INVALID, text)
    cursor = (await as_ann("GET", path))["next_cursor"]
    bad = (INVALID, "Cursor is invalid or expired.")
    assert await refused(as_ann("GET", path, forward="false", cursor=cursor)) == bad
    assert await refused(as_ann("GET", "/v2/channel/2...other", cursor=cursor)) == bad
    for garbage in ("garbage", cursor[:-4], "é", "A" * 5000):
        assert await refused(as_ann("GET", path, cursor=garbage)) == bad


async def test_senders_edit_and_remove_their_own_messages_only(world: World) -> None:
    (ann, as_ann), (bob, _) = await world.reader("ann"), await world.reader("bob")
    first, second = [await world.chat.send(ROOM, {"t": text}, ann, "ann") for text in ("one", "two")]
    world.clock.advance(5)
    edited = await world.chat.update(ROOM, first.id, {"t": "one, edited"}, ann, "ann renamed")
    assert edited.created_at == first.created_at and edited.updated_at > first.updated_at
    page = await as_ann("GET", f"/v2/channel/{ROOM}", limit=5)
    assert texts(page) == ["one, edited", "two"]
    assert [(one["code"], one["username"]) for one in page["messages"]] == [(0, "ann renamed"), (0, "ann")]
    text = "Could not find message to update in channel history"
    for channel, message, sender in ((ROOM, first.id, bob), (ROOM, new_id(), ann), ("2...other", first.id, ann)):
        assert await refused(world.chat.update(channel, message, {}, sender, "x")) == (INVALID, text)
    text = "Could not find message to remove in channel history"
    assert await refused(world.chat.remove(ROOM, first.id, bob)) == (INVALID, text)
    assert await refused(world.chat.remove(ROOM, "x", ann)) == (INVALID, "Invalid message identifier")
    assert await refused(world.chat.update(ROOM, "x", {}, ann, "a")) == (INVALID, "Invalid message identifier")
    assert await world.chat.remove(ROOM, second.id, ann, "ann") == Message(
        second.id, ROOM, 2, ann, "ann", "{}", second.created_at, second.updated_at
    )
    assert texts(await as_ann("GET", f"/v2/channel/{ROOM}", limit=5)) == ["one, edited"]


async def test_content_that_cannot_be_kept_is_refused_and_harms_no_other(world: World) -> None:
    bad = (INVALID, "Message content must be a valid JSON object")
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"d": deep}
    refusals = [{"a": "\0"}, {"a": object()}, {"a": "x" * (1 << 18)}, deep]
    outcomes = await asyncio.gather(
        *(refused(world.chat.send(ROOM, content, new_id(), "ann")) for content in refusals),
        *(world.say(ROOM, str(number)) for number in range(5)),
    )
    assert outcomes[:4] == [bad] * 4
    assert [msgspec.json.decode(one.content)["t"] for one in (await world.chat.history(ROOM, 9)).messages] == list(
        "01234"
    )
    (kept,) = await world.say(ROOM, "kept")
    assert (await refused(world.chat.update(ROOM, kept, {"a": "\0"}, new_id(), "ann"))) == bad


async def test_messages_sent_at_once_keep_their_order(world: World) -> None:
    await asyncio.gather(*(world.say(ROOM, str(number)) for number in range(100)))
    page = await world.chat.history(ROOM, 100)
    assert [msgspec.json.decode(one.content)["t"] for one in page.messages] == [str(number) for number in range(100)]


async def test_a_deleted_player_takes_along_what_they_wrote(world: World) -> None:
    (ann, _), (_, as_bob) = await world.reader("ann"), await world.reader("bob")
    await world.chat.send(ROOM, {"t": "mine"}, ann, "ann")
    await world.say(ROOM, "another's")
    await world.players.delete(ann, world.groups, world.chat)
    assert texts(await as_bob("GET", f"/v2/channel/{ROOM}", limit=5)) == ["another's"]
