"""Lists: what they show, in which order, and how cursors walk them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec
import pytest

from palestra.core.ids import SYSTEM_USER, new_id
from palestra.features.storage.contract import BadCursor, BadLimit, ObjectWrite, StoredObject
from palestra.features.storage.service import StorageService

LATE_MAX = 20
"""How many objects are written while a list is walked."""


async def fill(storage: StorageService, owner: str, *keys: str, permission_read: int = 2) -> None:
    writes = [ObjectWrite("box", key, "{}", owner, permission_read=permission_read) for key in keys]
    await storage.write(writes)


async def walk(
    storage: StorageService,
    owner: str | None,
    caller: str | None,
    limit: int,
    between: Callable[[int], ObjectWrite] | None = None,
) -> list[StoredObject]:
    """All objects of a list, page by page; `between` makes an object that is written after each page."""
    cursor, found, pages = "", [], 0
    while True:
        page = await storage.list("box", owner, limit, cursor, caller_id=caller)
        assert len(page.objects) <= limit
        found += page.objects
        pages += 1
        if not page.cursor:
            return found
        assert len(page.objects) == limit
        cursor = page.cursor
        if between is not None and pages <= LATE_MAX:
            await storage.write([between(pages)])


async def test_each_caller_sees_what_it_may_in_its_order(storage: StorageService, ann: str, bob: str) -> None:
    await fill(storage, ann, "b", "a", permission_read=2)
    await fill(storage, ann, "d", "c", permission_read=1)
    await fill(storage, ann, "e", permission_read=0)
    await fill(storage, SYSTEM_USER, "a", permission_read=2)

    async def keys(owner: str | None, caller: str | None) -> list[str]:
        return [one.key for one in (await storage.list("box", owner, caller_id=caller)).objects]

    assert await keys(ann, ann) == ["c", "d", "a", "b"]
    assert await keys(ann, bob) == ["a", "b"]
    assert await keys(SYSTEM_USER, bob) == ["a"]
    assert await keys(ann, None) == ["e", "c", "d", "a", "b"]
    assert await keys(None, None) == ["a", "a", "b", "c", "d", "e"]
    public = (await storage.list("box", caller_id=ann)).objects
    assert [(one.key, one.user_id) for one in public] == [("a", SYSTEM_USER), ("a", ann), ("b", ann)]
    assert (await storage.list("other box", caller_id=ann)).objects == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_cursors_walk_every_list_once_while_objects_are_written(
    storage: StorageService, ann: str, bob: str, limit: int
) -> None:
    for owner in (ann, bob):
        await fill(storage, owner, *(f"key {i:02}" for i in range(10)), permission_read=2)
        await fill(storage, owner, *(f"own {i:02}" for i in range(6)), permission_read=1)
        await fill(storage, owner, "hidden 1", "hidden 2", permission_read=0)
    for owner, caller, count in ((ann, ann, 16), (ann, bob, 10), (None, bob, 20), (ann, None, 18), (None, None, 36)):
        # Written before every position, in between and behind.
        late = [f"{prefix} {new_id()}" for _ in range(LATE_MAX) for prefix in ("a", "key 05", "z")]
        found = await walk(
            storage, owner, caller, limit, lambda page, late=late: ObjectWrite("box", late[page], "{}", bob)
        )
        ids = [(one.key, one.user_id) for one in found]
        assert len(ids) == len(set(ids))
        assert len([one for one in found if len(one.key) <= 8]) == count


async def test_there_is_no_cursor_when_nothing_follows(storage: StorageService, ann: str) -> None:
    await fill(storage, ann, "a", "b")
    assert (await storage.list("box", ann, 2, caller_id=ann)).cursor == ""
    assert (await storage.list("box", None, 2, caller_id=ann)).cursor == ""
    assert (await storage.list("box", ann, 1, caller_id=ann)).cursor != ""


@pytest.mark.parametrize("limit", [0, -1, 101])
async def test_a_page_size_out_of_range_is_refused(storage: StorageService, ann: str, limit: int) -> None:
    with pytest.raises(BadLimit):
        await storage.list("box", ann, limit, "nonsense", caller_id=ann)


@pytest.mark.parametrize("cursor", ["garbage", "%", "ééé", "AAAA", "A" * 5_000, "=", "k", "\ud800", "gA=="])
async def test_a_cursor_that_was_never_given_out_is_refused(storage: StorageService, ann: str, cursor: str) -> None:
    for owner in (None, ann):
        with pytest.raises(BadCursor):
            await storage.list("box", owner, 10, cursor, caller_id=ann)


async def test_a_cursor_serves_only_the_list_it_came_from(storage: StorageService, ann: str, bob: str) -> None:
    for owner in (ann, bob):
        await fill(storage, owner, "a", "b", "c")
    lists = [("box", owner, caller) for owner in (None, ann, bob) for caller in (None, ann, bob)] + [("tin", ann, ann)]
    cursors = {
        (collection, owner, caller): (await storage.list("box", owner, 1, caller_id=caller)).cursor
        for collection, owner, caller in lists
        if collection == "box"
    }
    for (_, owner, caller), cursor in cursors.items():
        assert "=" not in cursor
        for collection, other_owner, other_caller in lists:
            same = cursors.get((collection, other_owner, other_caller)) == cursor
            if same:
                await storage.list(collection, other_owner, 1, cursor, caller_id=other_caller)
            else:
                with pytest.raises(BadCursor):
                    await storage.list(collection, other_owner, 1, cursor, caller_id=other_caller)
        assert cursor == (await storage.list("box", owner, 1, caller_id=caller)).cursor
    # A player's own list and another's view of it never share a cursor.
    assert cursors["box", ann, ann] != cursors["box", ann, bob]


def forged(*parts: object) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(parts)).rstrip(b"=").decode()


async def test_forged_cursors_never_show_what_is_hidden(storage: StorageService, ann: str, bob: str) -> None:
    await fill(storage, ann, "secret", permission_read=0)
    await fill(storage, ann, "private", permission_read=1)
    await fill(storage, ann, "shown", permission_read=2)
    for lowest in range(-1, 3):
        for permission in (-(2**63), -1, 0, 1, 2, 3, 2**40):
            for caller, visible in ((bob, {"shown"}), (ann, {"private", "shown"})):
                for key in ("", "a", "nul\0"):
                    cursor = forged("owner", "box", ann, lowest, [permission, key])
                    try:
                        page = await storage.list("box", ann, 10, cursor, caller_id=caller)
                    except BadCursor:
                        continue
                    assert {one.key for one in page.objects} <= visible
    for owner in ("x", SYSTEM_USER, ann.upper()):
        for public in (True, False):
            for key in ("", "nul\0"):
                try:
                    cursor = forged("shared", "box", public, [key, owner])
                    page = await storage.list("box", None, 10, cursor, caller_id=bob)
                except BadCursor:
                    continue
                assert {one.key for one in page.objects} <= {"shown"}
