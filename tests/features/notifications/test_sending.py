"""Sending as game code and connected players notice it: who hears what, what is kept, limits and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palestra import NewNotification, NotificationChange
from palestra.core.config import DatabaseSettings
from palestra.core.errors import Code, Overloaded, Unavailable
from palestra.core.ids import SYSTEM_USER, new_id
from palestra.database.pool import Database
from palestra.features.notifications.contract import (
    BROADCASTS_MAX,
    CALL_BYTES_MAX,
    CONTENT_BYTES_MAX,
    NOTIFICATIONS_MAX,
    BadContent,
    Notification,
    PlatformCode,
)
from palestra.features.notifications.store import NotificationStore
from tests.features.notifications.world import World, refused, subjects

INVALID = Code.INVALID_ARGUMENT
PATH = "/v2/notification"


async def test_every_socket_of_a_player_hears_what_the_inbox_keeps(world: World) -> None:
    (ann, as_ann), (bob, _) = await world.meet("ann", "bob")
    first, second, of_bob = world.connect(ann), world.connect(ann), world.connect(bob)
    await world.notifications.send([ann], "a gift", {"n": 1}, 7, sender_id=bob)
    (kept,) = (await as_ann("GET", PATH))["notifications"]
    assert first.heard == second.heard == [{**kept, "content": '{"n":1}'}]
    assert of_bob.heard == []


async def test_what_is_not_persistent_is_heard_and_not_kept(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    ear = world.connect(ann)
    assert await world.notifications.send([ann, bob], "now or never", {}, 7, persistent=False) == []
    assert [(one["subject"], "persistent" in one, one["sender_id"]) for one in ear.heard] == [
        ("now or never", False, SYSTEM_USER)
    ]
    assert "notifications" not in await as_ann("GET", PATH)
    assert "notifications" not in await as_bob("GET", PATH)


async def test_unknown_players_are_skipped_and_players_named_twice_hear_it_once(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    kept = await world.notifications.send([new_id(), ann, ann.upper(), new_id()], "hi", {}, 1)
    assert [one.user_id for one in kept] == [ann]
    assert subjects(await as_ann("GET", PATH, limit=9)) == ["hi"]
    assert await world.notifications.send([], "hi", {}, 1) == []


async def test_many_different_ones_keep_their_order_and_share_an_envelope(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    ear = world.connect(ann)
    news = [NewNotification(ann, f"n{number}", {"n": number}, 1) for number in range(20)]
    news.insert(5, NewNotification(bob, "for bob", {}, -1500, sender_id=ann))
    news.insert(9, NewNotification(ann, "live", {}, 1, persistent=False))
    assert len(await world.notifications.send_many(news)) == 21
    assert ear.envelopes == 1
    assert [one["subject"] for one in ear.heard] == [one.subject for one in news if one.user_id == ann]
    assert subjects(await as_ann("GET", PATH, limit=100)) == [f"n{number}" for number in range(20)]
    assert subjects(await as_bob("GET", PATH)) == ["for bob"]
    assert await world.notifications.send_many([]) == []


async def test_sends_at_the_same_time_share_round_trips(world: World) -> None:
    people = await world.meet(*(f"p{number}" for number in range(50)))
    ids = [one for one, _ in people]
    await asyncio.gather(*(world.notifications.send(ids, f"n{number}", {}, 1) for number in range(40)))
    assert await world.database.fetchval("SELECT count(*) FROM notifications") == 2000
    batch = world.store.batches[0]
    assert (batch.items, batch.retries, batch.splits) == (2000, 0, 0)
    assert batch.rounds < 10


@pytest.mark.parametrize("code", [0, -1, -9, -999, -2001, 32_768])
async def test_codes_of_the_platform_are_not_for_games(world: World, code: int) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    assert (await refused(world.notifications.send(ann, "s", {}, code)))[0] == INVALID
    assert (await refused(world.notifications.send_many([NewNotification(ann, "s", {}, code)])))[0] == INVALID
    assert (await refused(world.notifications.send_all("s", {}, code)))[0] == INVALID
    assert "notifications" not in await as_ann("GET", PATH)


async def test_codes_that_are_for_games_arrive(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    for code in (1, 32_767, -1000, -2000):
        await world.notifications.send(ann, "s", {}, code)
    assert [one["code"] for one in (await as_ann("GET", PATH, limit=9))["notifications"]] == [1, 32_767, -1000, -2000]
    code, message = await refused(world.notifications.send_all("s", {}, -1000))
    assert (code, message) == (INVALID, "Notification code -1000 is not for game modules: use 1 to 32767.")


@pytest.mark.parametrize("subject", ["", "x" * 256, "a\0b", "\ud800"])
async def test_subjects_that_cannot_be_kept_are_refused(world: World, subject: str) -> None:
    ((ann, _),) = await world.meet("ann")
    answer = await refused(world.notifications.send(ann, subject, {}, 1))
    assert answer == (INVALID, "A notification's subject must have 1 to 255 characters, none of them NUL.")


@pytest.mark.parametrize(
    "content",
    [
        "text",
        [1],
        {"a": "\0"},
        {"a\0": 1},
        {"a": object()},
        {"a": "\ud800"},
        {"a": "x" * CONTENT_BYTES_MAX},
    ],
    ids=["text", "list", "NUL", "NUL in a name", "no JSON", "half a pair", "too long"],
)
async def test_content_that_is_no_json_object_or_cannot_be_kept_is_refused(world: World, content: Any) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    assert (await refused(world.notifications.send(ann, "s", content, 1)))[0] == INVALID
    assert (await refused(world.notifications.send_all("s", content, 1)))[0] == INVALID
    assert "notifications" not in await as_ann("GET", PATH)


async def test_a_number_that_the_database_cannot_hold_spoils_only_its_own_notification(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    huge = {"a": msgspec.Raw(b"1e999999")}
    answers = await asyncio.gather(
        *(world.notifications.send(ann, "s", content, 1) for content in ({}, huge, {"n": 2**70})),
        return_exceptions=True,
    )
    assert [isinstance(answer, BadContent) for answer in answers] == [False, True, False]
    assert len(subjects(await as_ann("GET", PATH, limit=9))) == 2
    ids = [one["id"] for one in (await as_ann("GET", PATH, limit=9))["notifications"]]
    assert (await refused(world.notifications.update([NotificationChange(ids[0], content=huge)])))[0] == INVALID


async def test_the_longest_subject_and_content_arrive(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    content = {"a": "x" * (CONTENT_BYTES_MAX - len('{"a":""}'))}
    await world.notifications.send(ann, "\N{SNOWMAN}" * 255, content, 1)
    (one,) = (await as_ann("GET", PATH))["notifications"]
    assert one["subject"] == "\N{SNOWMAN}" * 255
    assert len(one["content"]) == CONTENT_BYTES_MAX + len(" ")


async def test_ids_that_are_none_are_refused_before_anybody_is_told(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    expected = (INVALID, "Invalid user ID 'bob'.")
    assert await refused(world.notifications.send([ann, "bob"], "s", {}, 1)) == expected
    assert await refused(world.notifications.send(ann, "s", {}, 1, sender_id="bob")) == expected
    assert await refused(world.notifications.list("bob")) == expected
    assert await refused(world.notifications.get([], "bob")) == expected
    assert await refused(world.notifications.get(["nope"])) == (INVALID, "Invalid notification ID 'nope'.")
    assert "notifications" not in await as_ann("GET", PATH)


async def test_a_call_has_a_limit_in_number_and_in_bytes(world: World) -> None:
    ((ann, _),) = await world.meet("ann")
    too_many = [new_id() for _ in range(NOTIFICATIONS_MAX + 1)]
    expected = (INVALID, "At most 1000 notifications, with 262144 bytes of content, fit into one call.")
    assert await refused(world.notifications.send(too_many, "s", {}, 1)) == expected
    assert await refused(world.notifications.send_many([NewNotification(i, "s", {}, 1) for i in too_many])) == expected
    assert await refused(world.notifications.get(too_many)) == expected
    assert await refused(world.notifications.delete(too_many)) == expected
    assert await refused(world.notifications.update([NotificationChange(i, "s") for i in too_many])) == expected
    large = NewNotification(ann, "s", {"a": "x" * (CONTENT_BYTES_MAX - 8)}, 1)
    fitting = CALL_BYTES_MAX // CONTENT_BYTES_MAX
    assert len(await world.notifications.send_many([large] * fitting)) == fitting
    assert await refused(world.notifications.send_many([large] * (fitting + 1))) == expected
    kept = await world.notifications.send([ann, *too_many[:-2]], "s", {}, 1)
    assert len(kept) == 1


async def test_a_full_queue_refuses_what_does_not_fit(database: Database, tmp_path: Path) -> None:
    world = World(database, tmp_path, DatabaseSettings(batch_queue_max=10))
    people = await world.meet(*(f"p{number}" for number in range(20)))
    ears = [world.connect(one) for one, _ in people]
    code, _ = await refused(world.notifications.send([one for one, _ in people], "s", {}, 1))
    assert code == Code.RESOURCE_EXHAUSTED
    heard = sum(len(ear.heard) for ear in ears)
    assert 0 < heard < 20
    assert await world.database.fetchval("SELECT count(*) FROM notifications") == heard
    await world.stop()


async def test_game_code_reads_changes_and_deletes_notifications_of_anybody(world: World) -> None:
    (ann, as_ann), (bob, as_bob) = await world.meet("ann", "bob")
    a, b, c = await world.note(ann, *"abc")
    (d,) = await world.note(bob, "d")
    notifications = world.notifications
    page = await notifications.list(ann, 2)
    assert [one.subject for one in page.notifications] == ["a", "b"]
    assert [one.id for one in (await notifications.list(ann, cursor=page.cursor)).notifications] == [c]
    assert [one.id for one in await notifications.get([d, a, new_id()])] == [a, d]
    assert [one.id for one in await notifications.get([d, a], ann)] == [a]
    await notifications.update(
        [
            NotificationChange(a.upper(), subject="A"),
            NotificationChange(d, content={"n": 2}, sender_id=ann),
            NotificationChange(b, sender_id=SYSTEM_USER),
            NotificationChange(new_id(), subject="nobody"),
        ]
    )
    assert subjects(await as_ann("GET", PATH, limit=9)) == ["A", "b", "c"]
    (one,) = (await as_bob("GET", PATH))["notifications"]
    assert (one["subject"], one["content"], one["sender_id"]) == ("d", '{"n": 2}', ann)
    await notifications.update([])
    assert (await refused(notifications.update([NotificationChange(b, "B"), NotificationChange(c, "")])))[0] == INVALID
    await notifications.delete([a, d], ann)
    await notifications.delete([b])
    await notifications.delete([])
    assert subjects(await as_ann("GET", PATH, limit=9)) == ["c"]
    assert subjects(await as_bob("GET", PATH, limit=9)) == ["d"]


async def test_what_is_for_everybody_reaches_every_account_and_every_socket(world: World) -> None:
    people = await world.meet("ann", "bob", "cid")
    others = await world.players.make(*(f"p{number}" for number in range(2 * NOTIFICATIONS_MAX)))
    ears = [world.connect(people[0][0]), world.connect(people[0][0]), world.connect(others[-1])]
    await world.notifications.send_all("season over", {"n": 1}, 5, persistent=False)
    assert all([one["subject"] for one in ear.heard] == ["season over"] for ear in ears)
    assert len({one["id"] for ear in ears for one in ear.heard}) == 1
    await world.notifications.send_all("new season", {"n": 2}, 6)
    await world.tasks_done()
    for _, player in people:
        assert subjects(await player("GET", PATH, limit=9)) == ["new season"]
    assert await world.database.fetchval("SELECT count(DISTINCT user_id) FROM notifications") == len(people + others)
    assert all([one["subject"] for one in ear.heard] == ["season over", "new season"] for ear in ears)


async def test_what_is_for_everybody_waits_for_the_database_and_reaches_nobody_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.players.make(*(f"p{number}" for number in range(30)))
    troubles: list[Exception] = [Unavailable("away"), Overloaded("busy"), Unavailable("away again")]
    keep = NotificationStore.keep

    async def troubled(store: NotificationStore, notifications: Sequence[Notification]) -> list[bool | BaseException]:
        # Half of a page is stored, and then the database is away.
        if troubles:
            kept = await keep(store, notifications[:15])
            return [*kept, *[troubles.pop()] * (len(notifications) - 15)]
        return await keep(store, notifications)

    monkeypatch.setattr(NotificationStore, "keep", troubled)
    await world.notifications.send_all("new season", {}, 6)
    await world.tasks_done()
    assert troubles == []
    rows = await world.database.fetch("SELECT user_id, count(*) FROM notifications GROUP BY user_id")
    assert [row[1] for row in rows] == [1] * 30


async def test_only_so_many_are_sent_to_everybody_at_once(world: World) -> None:
    ((_, as_ann),) = await world.meet("ann")
    for _ in range(BROADCASTS_MAX):
        await world.notifications.send_all("s", {}, 1)
    assert (await refused(world.notifications.send_all("s", {}, 1)))[0] == Code.RESOURCE_EXHAUSTED
    await world.tasks_done()
    await world.notifications.send_all("s", {}, 1)
    await world.tasks_done()
    assert len(subjects(await as_ann("GET", PATH, limit=100))) == BROADCASTS_MAX + 1


async def test_other_features_are_not_troubled_when_their_notices_cannot_be_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    long_name = "g" * 255
    await world.notifications.tell([ann], PlatformCode.GROUP_ADDED, f"You've been added to group {long_name}", {}, "")
    assert [len(one) for one in subjects(await as_ann("GET", PATH))] == [255]

    async def away(store: NotificationStore, notifications: Sequence[Notification]) -> list[bool | BaseException]:
        return [Unavailable("away")] * len(notifications)

    monkeypatch.setattr(NotificationStore, "keep", away)
    await world.notifications.tell([ann], PlatformCode.CHAT_REQUEST, "bob wants to chat", {}, "")
    assert len(subjects(await as_ann("GET", PATH, limit=9))) == 1


async def test_a_repeated_statement_keeps_no_notification_twice(world: World) -> None:
    ((ann, as_ann),) = await world.meet("ann")
    sent = await world.notifications.send(ann, "s", {}, 1)
    assert await world.store.keep(sent) == [True]
    assert subjects(await as_ann("GET", PATH, limit=9)) == ["s"]
