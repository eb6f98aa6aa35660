"""The inbox as players notice it: pages, the cursor that can be kept, deletion, errors."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.cursors import seal_cursor
from palestra.core.errors import Code
from palestra.core.ids import SYSTEM_USER, new_id
from palestra.features.notifications.contract import PlatformCode
from palestra.features.notifications.rules import NO_TIME, InboxCursor, Position
from tests.features.notifications.world import World, refused, subjects

INVALID = Code.INVALID_ARGUMENT
PATH = "/v2/notification"


async def test_what_is_sent_waits_in_the_inbox_with_everything_it_says(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    world.clock.advance(0.75)
    content = {"text": "né \N{SNOWMAN} \\u0000", "n": [1, None, 2.5]}
    kept = await world.notifications.send([ann], "a gift", content, 7, sender_id=bob.upper())
    page = await as_ann("GET", PATH)
    (one,) = page["notifications"]
    assert one == {
        "id": kept[0].id,
        "subject": "a gift",
        "content": one["content"],
        "code": 7,
        "sender_id": bob,
        "create_time": "2025-06-15T15:06:40Z",
        "persistent": True,
    }
    assert one["content"] == '{"n": [1, null, 2.5], "text": "né \N{SNOWMAN} \\\\u0000"}'
    assert "notifications" not in await as_bob("GET", PATH)


async def test_the_server_as_sender_is_not_shown(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    await world.notifications.send(ann, "news", {}, 1)
    await world.notifications.send(ann, "news", {}, 1, sender_id=SYSTEM_USER)
    assert all("sender_id" not in one for one in (await as_ann("GET", PATH, limit=2))["notifications"])


async def test_a_page_holds_one_unless_asked_for_more_and_the_cursor_leads_on(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    await world.note(ann, *"abcde")
    first = await as_ann("GET", PATH)
    assert subjects(first) == ["a"]
    second = await as_ann("GET", PATH, limit=3, cacheable_cursor=first["cacheable_cursor"])
    assert subjects(second) == ["b", "c", "d"]
    third = await as_ann("GET", PATH, limit=3, cacheable_cursor=second["cacheable_cursor"])
    assert subjects(third) == ["e"]
    assert subjects(await as_ann("GET", PATH, limit=100, cacheable_cursor="")) == list("abcde")


async def test_a_kept_cursor_shows_only_what_came_since(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    empty = await as_ann("GET", PATH)
    assert list(empty) == ["cacheable_cursor"]
    assert await as_ann("GET", PATH, cacheable_cursor=empty["cacheable_cursor"]) == empty
    (kept,) = await world.note(ann, "a")
    seen = await as_ann("GET", PATH, cacheable_cursor=empty["cacheable_cursor"])
    assert subjects(seen) == ["a"]
    # Nothing new: the cursor that was sent comes back, also when what it stood behind is gone.
    await as_ann("DELETE", PATH, ids=[kept])
    nothing = {"cacheable_cursor": seen["cacheable_cursor"]}
    assert await as_ann("GET", PATH, cacheable_cursor=seen["cacheable_cursor"]) == nothing
    world.clock.advance(60)
    await world.note(ann, "b", "c")
    later = await as_ann("GET", PATH, limit=10, cacheable_cursor=seen["cacheable_cursor"])
    assert subjects(later) == ["b", "c"]


async def test_notifications_of_one_moment_keep_their_order_even_when_the_clock_goes_back(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    await world.note(ann, *"abc")
    cursor = (await as_ann("GET", PATH, limit=100))["cacheable_cursor"]
    world.clock.advance(-3600)
    await world.note(ann, *"def")
    assert subjects(await as_ann("GET", PATH, limit=100, cacheable_cursor=cursor)) == list("def")
    assert subjects(await as_ann("GET", PATH, limit=100)) == list("abcdef")


async def test_a_reader_who_follows_the_cursor_misses_nothing_while_many_send(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    done = asyncio.Event()

    async def read() -> list[str]:
        seen, cursor = [], ""
        while True:
            last_look = done.is_set()
            page = await as_ann("GET", PATH, limit=7, cacheable_cursor=cursor)
            seen += subjects(page)
            cursor = page["cacheable_cursor"]
            if last_look and not page.get("notifications"):
                return seen

    async def send(name: str) -> None:
        for number in range(25):
            await world.note(ann, f"{name}{number}")

    reader = asyncio.create_task(read())
    await asyncio.gather(*map(send, "abcdefgh"))
    done.set()
    seen = await reader
    assert sorted(seen) == sorted(f"{name}{number}" for name in "abcdefgh" for number in range(25))
    for name in "abcdefgh":
        assert [one for one in seen if one[0] == name] == [f"{name}{number}" for number in range(25)]


@pytest.mark.parametrize("limit", [0, -1, 101, 2**31 - 1])
async def test_a_page_size_out_of_range_is_refused(world: World, limit: int) -> None:
    (_, as_ann), *_ = await world.meet("ann")
    expected = (INVALID, "Invalid limit - limit must be between 1 and 100.")
    assert await refused(as_ann("GET", PATH, limit=limit)) == expected


async def test_a_cursor_of_another_inbox_or_made_up_is_refused(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    await world.note(ann, "a")
    cursor = (await as_ann("GET", PATH))["cacheable_cursor"]
    expected = (INVALID, "Error retrieving notifications.")
    forged = seal_cursor(InboxCursor(bob, Position(NO_TIME, "no id")))
    for wrong in (cursor, cursor[:-3], "garbage", "é", "A" * 5000, forged):
        assert await refused(as_bob("GET", PATH, cacheable_cursor=wrong)) == expected


async def test_players_delete_their_own_and_nobody_elses(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    a, b, c = await world.note(ann, *"abc")
    (theirs,) = await world.note(bob, "d")
    assert await as_ann("DELETE", PATH) == {}
    assert await as_ann("DELETE", PATH, ids=[a, c.upper(), a, theirs, new_id()]) == {}
    assert subjects(await as_ann("GET", PATH, limit=9)) == ["b"]
    assert subjects(await as_bob("GET", PATH, limit=9)) == ["d"]
    assert await as_ann("DELETE", PATH, ids=[a]) == {}
    refusal = (INVALID, "Error while deleting notifications.")
    assert await refused(as_ann("DELETE", PATH, ids=[b, "x'y"])) == refusal
    assert await refused(as_ann("DELETE", PATH, ids=[""])) == refusal
    assert (await refused(as_ann("DELETE", PATH, ids=[new_id()] * 1001)))[0] == INVALID
    assert subjects(await as_ann("GET", PATH, limit=9)) == ["b"]


async def test_many_deletions_at_once_agree(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    mine = await world.note(ann, *map(str, range(40)))
    theirs = await world.note(bob, *map(str, range(40)))
    picks = random.Random(1)

    async def delete(player: Any) -> None:
        await player("DELETE", PATH, ids=picks.sample(mine + theirs, 30))

    await asyncio.gather(*(delete(as_ann) for _ in range(30)))
    assert len(subjects(await as_bob("GET", PATH, limit=100))) == 40
    assert len(subjects(await as_ann("GET", PATH, limit=100))) < 40
    await asyncio.gather(as_ann("DELETE", PATH, ids=mine), as_bob("DELETE", PATH, ids=theirs[::-1]))
    assert await world.database.fetchval("SELECT count(*) FROM notifications") == 0


async def test_a_deleted_players_notifications_go_along_and_nothing_names_the_player(world: World) -> None:
    (ann, _), (bob, as_bob) = await world.meet("ann", "bob")
    await world.note(ann, "a")
    await world.note(bob, "b")
    await world.notifications.send(bob, "a gift", {}, 1, sender_id=ann)
    await world.notifications.tell([bob], PlatformCode.FRIEND_REQUEST, "ann wants to add you as a friend", {}, ann)
    await world.players.delete(ann, world.notifications)
    shown = (await as_bob("GET", PATH, limit=9))["notifications"]
    assert [(one["subject"], "sender_id" in one) for one in shown] == [("b", False), ("a gift", False)]
    assert await world.database.fetchval("SELECT count(*) FROM notifications") == 2
    assert [one.user_id for one in await world.notifications.send([ann, bob], "more", {}, 1)] == [bob]


async def test_players_who_leave_at_once_share_notifications_without_a_deadlock(world: World) -> None:
    people = await world.meet(*(f"p{number}" for number in range(12)))
    ids = [one for one, _ in people]
    for one in ids:
        await world.notifications.send(ids, "hi", {}, 1, sender_id=one)
    await asyncio.gather(*(world.players.delete(one, world.notifications) for one in ids[1:]))
    assert subjects(await people[0][1]("GET", PATH, limit=100)) == ["hi"] * 12
    assert await world.database.fetchval("SELECT count(*) FROM notifications") == 12


async def test_players_deleted_while_they_are_sent_to_hold_up_nobody(world: World) -> None:
    people = await world.meet(*(f"p{number}" for number in range(30)))
    ids = [one for one, _ in people]
    sends = [world.notifications.send(ids, f"n{number}", {}, 1) for number in range(20)]
    await asyncio.gather(*sends, *(world.players.delete(one, world.notifications) for one in ids[::2]))
    rows = dict(await world.database.fetch("SELECT user_id::text, count(*) FROM notifications GROUP BY user_id"))
    assert rows == dict.fromkeys(ids[1::2], 20)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 4)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 30), max_size=5)),
        st.tuples(st.just("list"), st.integers(1, 5)),
        st.tuples(st.just("begin anew"), st.none()),
        st.tuples(st.just("move the clock"), st.floats(-2, 2)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_a_followed_cursor_behaves_as_a_place_in_a_list(world: World, steps: list[tuple[str, Any]]) -> None:
    ((ann, as_ann),) = await world.meet(f"ann{new_id()}")
    sent: list[str] = []
    gone: set[str] = set()
    cursor, place = "", 0
    for step, value in [*steps, ("list", 100), ("begin anew", None), ("list", 100)]:
        if step == "send":
            sent += await world.note(ann, *["x"] * value)
        elif step == "delete":
            picked = [sent[number] for number in value if number < len(sent)]
            await as_ann("DELETE", PATH, ids=picked)
            gone.update(picked)
        elif step == "list":
            page = await as_ann("GET", PATH, limit=value, cacheable_cursor=cursor)
            found = [one["id"] for one in page.get("notifications", [])]
            assert found == [one for one in sent[place:] if one not in gone][:value]
            assert found or not cursor or page["cacheable_cursor"] == cursor
            cursor = page["cacheable_cursor"]
            place = sent.index(found[-1]) + 1 if found else place
        elif step == "begin anew":
            cursor, place = "", 0
        else:
            world.clock.advance(value)
