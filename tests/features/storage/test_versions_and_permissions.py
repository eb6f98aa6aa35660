"""Who may write, read and delete what, and which version wins."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import msgspec
import pytest

from palestra.core.errors import Code, PalestraError
from palestra.core.ids import SYSTEM_USER
from palestra.database.pool import Database
from palestra.features.storage import contract
from palestra.features.storage.contract import (
    Ack,
    DeleteRejected,
    ObjectId,
    ObjectWrite,
    StorageError,
    StoredObject,
    VersionRejected,
    WriteDenied,
)
from palestra.features.storage.service import StorageService


def save(key: str = "slot", value: str = '{"level": 1}', **more: Any) -> ObjectWrite:
    return ObjectWrite("saves", key, value, **more)


async def write(storage: StorageService, caller: str | None, *writes: ObjectWrite) -> list[Ack]:
    return await storage.write(writes, caller_id=caller)


async def read(storage: StorageService, caller: str | None, key: str = "slot", owner: str = "") -> StoredObject | None:
    found = await storage.read([ObjectId("saves", key, owner)], caller_id=caller)
    return found[0] if found else None


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def test_the_version_is_the_md5_of_the_text_as_submitted(storage: StorageService, ann: str) -> None:
    text = '{"name":"héros",  "level":1.10}'
    (ack,) = await write(storage, ann, save(value=text))
    found = await read(storage, ann)
    assert found is not None
    assert ack.version == found.version == md5(text)
    assert found.value == '{"name": "héros", "level": 1.10}'
    assert (ack.collection, ack.key, ack.user_id) == ("saves", "slot", ann)


async def test_a_write_without_version_overwrites_and_moves_the_update_time(storage: StorageService, ann: str) -> None:
    (first,) = await write(storage, ann, save(value='{"a":1}'))
    (second,) = await write(storage, ann, save(value='{"a":2}'))
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    found = await read(storage, ann)
    assert found is not None and found.value == '{"a": 2}'


async def test_writing_the_same_content_again_keeps_the_times(storage: StorageService, ann: str) -> None:
    (first,) = await write(storage, ann, save())
    (again,) = await write(storage, ann, save())
    assert again == first
    alone, other = await write(storage, ann, save(), save("other"))
    assert alone == first and other.key == "other"


async def test_new_permissions_alone_are_a_change(storage: StorageService, ann: str, bob: str) -> None:
    (first,) = await write(storage, ann, save())
    assert await read(storage, bob, owner=ann) is None
    (second,) = await write(storage, ann, save(permission_read=2))
    assert second.updated_at > first.updated_at
    assert await read(storage, bob, owner=ann) is not None


async def test_permissions_left_out_fall_back_to_the_owner(storage: StorageService, ann: str, bob: str) -> None:
    await write(storage, ann, save(permission_read=2))
    await write(storage, ann, save(value="{}"))
    assert await read(storage, bob, owner=ann) is None


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("standing", "version", "outcome"),
    [
        (None, "", "written"),
        (None, "*", "written"),
        (None, "hash", VersionRejected),
        ("writable", "", "written"),
        ("writable", "*", VersionRejected),
        ("writable", "hash", "written"),
        ("writable", "wrong", VersionRejected),
        ("frozen", "", WriteDenied),
        ("frozen", "*", VersionRejected),
        ("frozen", "hash", WriteDenied),
        ("frozen", "wrong", WriteDenied),
    ],
)
async def test_versions_and_write_permissions(
    storage: StorageService, ann: str, several: bool, standing: str | None, version: str, outcome: Any
) -> None:
    old = '{"old":true}'
    if standing:
        await write(storage, ann, save(value=old, permission_write=int(standing == "writable")))
    before = await read(storage, ann)
    expected = {"hash": md5(old), "wrong": md5("x")}.get(version, version)
    writes = [save(value='{"new":true}', version=expected)] + ([save("another")] if several else [])
    if outcome == "written":
        acks = await write(storage, ann, *writes)
        assert acks[0].version == md5('{"new":true}')
        after = await read(storage, ann)
        assert after is not None and after.value == '{"new": true}'
    else:
        with pytest.raises(outcome):
            await write(storage, ann, *writes)
        assert await read(storage, ann) == before
        assert await read(storage, ann, "another") is None


@pytest.mark.parametrize(
    ("permission", "owner_sees", "others_see"), [(0, False, False), (1, True, False), (2, True, True)]
)
async def test_read_permissions(
    storage: StorageService, ann: str, bob: str, permission: int, owner_sees: bool, others_see: bool
) -> None:
    await write(storage, ann, save(permission_read=permission))
    assert (await read(storage, ann) is not None) == owner_sees
    assert (await read(storage, bob, owner=ann) is not None) == others_see
    assert await read(storage, None, owner=ann) is not None


async def test_the_server_writes_and_deletes_what_players_may_not(storage: StorageService, ann: str) -> None:
    await write(storage, None, save(user_id=ann, permission_write=0))
    with pytest.raises(WriteDenied):
        await write(storage, ann, save(value="{}"))
    with pytest.raises(DeleteRejected):
        await storage.delete([ObjectId("saves", "slot")], caller_id=ann)
    await write(storage, None, save(user_id=ann, value='{"n":2}', permission_write=0))
    await write(storage, None, save(user_id=ann, value='{"n":3}', version=md5('{"n":2}')))
    await storage.delete([ObjectId("saves", "slot", ann)])
    assert await read(storage, None, owner=ann) is None


async def test_a_player_writes_and_deletes_only_as_itself(storage: StorageService, ann: str, bob: str) -> None:
    await write(storage, ann, save(permission_read=2))
    with pytest.raises(WriteDenied):
        await write(storage, bob, save(value="{}", user_id=ann))
    with pytest.raises(DeleteRejected):
        await storage.delete([ObjectId("saves", "slot", ann)], caller_id=bob)
    await write(storage, bob, save(value='{"of":"bob"}'))
    found = await storage.read([ObjectId("saves", "slot", ann), ObjectId("saves", "slot", bob)], caller_id=bob)
    assert {one.user_id for one in found} == {ann, bob}


async def test_one_rejected_object_rejects_the_whole_write(storage: StorageService, ann: str) -> None:
    await write(storage, ann, save("a", '{"a":1}'), save("b", '{"b":1}'))
    with pytest.raises(VersionRejected):
        await write(storage, ann, save("a", '{"a":2}'), save("c"), save("b", '{"b":2}', version="*"))
    found = await storage.read([ObjectId("saves", key) for key in "abc"], caller_id=ann)
    assert sorted((one.key, one.value) for one in found) == [("a", '{"a": 1}'), ("b", '{"b": 1}')]


async def test_acks_come_in_the_order_of_the_request(storage: StorageService, ann: str) -> None:
    acks = await write(storage, ann, *(save(key) for key in "zmax"))
    assert [ack.key for ack in acks] == list("zmax")


async def test_the_same_key_twice_in_one_write_keeps_the_later_and_acknowledges_both(
    storage: StorageService, ann: str
) -> None:
    acks = await write(storage, ann, save(value='{"n":1}'), save("other"), save(value='{"n":2}'))
    assert [ack.version for ack in acks] == [md5('{"n":1}'), md5('{"level": 1}'), md5('{"n":2}')]
    found = await read(storage, ann)
    assert found is not None and (found.value, found.version) == ('{"n": 2}', md5('{"n":2}'))


async def test_writing_there_and_back_in_one_write_changes_nothing(storage: StorageService, ann: str) -> None:
    (first,) = await write(storage, ann, save())
    there, back = await write(storage, ann, save(value="{}"), save())
    assert (there.version, back) == (md5("{}"), first)
    found = await read(storage, ann)
    assert found is not None and found.updated_at == first.updated_at


async def test_versions_in_one_write_follow_each_other(storage: StorageService, ann: str) -> None:
    steps = [save(value='{"n":1}', version="*"), save(value='{"n":2}', version=md5('{"n":1}'))]
    await write(storage, ann, *steps)
    with pytest.raises(VersionRejected):
        await write(storage, ann, save("new", version="*"), save("new", "{}", version="*"))


async def test_a_delete_is_all_or_nothing(storage: StorageService, ann: str) -> None:
    await write(storage, ann, save("a"), save("b"), save("frozen", permission_write=0))
    for refused in (
        [ObjectId("saves", "a"), ObjectId("saves", "nothing")],
        [ObjectId("saves", "a"), ObjectId("saves", "frozen")],
        [ObjectId("saves", "a"), ObjectId("saves", "b", version=md5("x"))],
        [ObjectId("saves", "a"), ObjectId("saves", "a")],
    ):
        with pytest.raises(DeleteRejected):
            await storage.delete(refused, caller_id=ann)
    assert await read(storage, ann, "a") is not None
    await storage.delete([ObjectId("saves", "b", version=md5('{"level": 1}')), ObjectId("saves", "a")], caller_id=ann)
    assert await read(storage, ann, "a") is None and await read(storage, ann, "b") is None
    await write(storage, ann, save("a", version="*"))


async def test_empty_requests_do_nothing(storage: StorageService, ann: str) -> None:
    assert await storage.write([], caller_id=ann) == []
    assert await storage.read([], caller_id=ann) == []
    await storage.delete([], caller_id=ann)


async def test_reading_the_same_object_twice_gives_it_once(storage: StorageService, ann: str) -> None:
    await write(storage, ann, save())
    found = await storage.read([ObjectId("saves", "slot", ann), ObjectId("saves", "slot", ann)], caller_id=ann)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (save(""), contract.Incomplete),
        (save(value=""), contract.Incomplete),
        (ObjectWrite("", "key", "{}"), contract.Incomplete),
        (save(permission_read=3, permission_write=7, value="[]"), contract.BadReadPermission),
        (save(permission_read=-1), contract.BadReadPermission),
        (save(permission_write=2, value="[]"), contract.BadWritePermission),
        (save(permission_write=-1), contract.BadWritePermission),
        (save(value="[1]"), contract.NotAnObject),
        (save(value='"x"'), contract.NotAnObject),
        (save(value="{oops"), contract.NotAnObject),
        (save(value="{} {}"), contract.NotAnObject),
        (save(value='{"a":NaN}'), contract.NotAnObject),
        (save(value='{"a":1e999}'), contract.NotAnObject),
        (save(value='{"a":"\\ud800"}'), contract.NotAnObject),
        (save(value='{"a":"\ud800"}'), contract.NotAnObject),
        (save(value='{"a":' + "[" * 20_000 + "]" * 20_000 + "}"), contract.NotAnObject),
        (save(value='{"a":0.' + "0" * 20_000 + "1}"), contract.NotStorable),
        (save(value='{"a":"\\u0000"}'), contract.NotStorable),
        (save(value='{"\\\\\\u0000":1}'), contract.NotStorable),
        (save("k" * 129), contract.NotStorable),
        (ObjectWrite("é" * 129, "key", "{}"), contract.NotStorable),
        (save("nul\0"), contract.NotStorable),
        (save("half \ud83d"), contract.NotStorable),
    ],
)
async def test_a_malformed_write_is_refused_with_its_text(
    storage: StorageService, ann: str, bad: ObjectWrite, error: type[StorageError]
) -> None:
    for writes in ([bad], [save(), bad]):
        with pytest.raises(error) as caught:
            await write(storage, ann, *writes)
        assert type(caught.value) is error
        assert (caught.value.message, caught.value.code) == (error.text, Code.INVALID_ARGUMENT)
    assert await read(storage, ann) is None


@pytest.mark.parametrize(
    "value", ['{"a":"\\\\u0000"}', '{"\\ud83d\\ude00":1}', ' {"a":1e300,"b":' + "9" * 300 + "}", '{"a":1,"a":2}']
)
async def test_odd_but_sound_values_are_kept(storage: StorageService, ann: str, value: str) -> None:
    (ack,) = await write(storage, ann, save("é" * 128, value))
    found = await read(storage, ann, "é" * 128)
    assert found is not None and ack.version == md5(value)
    assert json.loads(found.value, parse_int=float) == json.loads(value, parse_int=float)


async def test_a_value_that_postgresql_refuses_does_not_harm_its_neighbours(storage: StorageService, ann: str) -> None:
    poison = save("poison", '{"a":0.' + "0" * 20_000 + "1}")
    writes = [save(f"k{i}") for i in range(20)]
    writes.insert(7, poison)
    outcomes = await asyncio.gather(*(write(storage, ann, one) for one in writes), return_exceptions=True)
    assert [type(one) for one in outcomes if not isinstance(one, list)] == [contract.NotStorable]
    found = await storage.read([ObjectId("saves", one.key) for one in writes], caller_id=ann)
    assert {one.key for one in found} == {f"k{i}" for i in range(20)}


async def test_ids_that_no_object_can_have_are_simply_not_found(storage: StorageService, ann: str) -> None:
    odd = [ObjectId("saves", key, ann) for key in ("nul\0", "half \ud83d", "k" * 129)]
    assert await storage.read(odd, caller_id=ann) == []
    for one in odd:
        with pytest.raises(DeleteRejected):
            await storage.delete([one], caller_id=ann)
    assert (await storage.list("nul\0", caller_id=ann)).objects == []
    assert (await storage.list("nul\0", ann, caller_id=ann)).objects == []


async def test_owners_are_canonical_and_checked(storage: StorageService, ann: str) -> None:
    await write(storage, None, save(user_id=ann.upper()))
    assert await read(storage, ann, owner=ann.replace("-", "")) is not None
    for call in (
        storage.write([save(user_id="ann")]),
        storage.read([ObjectId("saves", "slot", "ann")], caller_id=ann),
        storage.delete([ObjectId("saves", "slot", "ann")]),
        storage.list("saves", "ann", caller_id=ann),
    ):
        with pytest.raises(contract.BadOwner):
            await call


async def test_more_objects_than_the_limit_are_refused(storage: StorageService, ann: str) -> None:
    ids = [ObjectId("saves", "slot")] * (contract.OBJECTS_MAX + 1)
    with pytest.raises(contract.TooManyObjects):
        await storage.read(ids, caller_id=ann)
    assert await storage.read(ids[1:], caller_id=ann) == []


async def test_get_and_put_speak_python_values(storage: StorageService, ann: str) -> None:
    class Progress(msgspec.Struct):
        level: int
        items: list[str] = []

    assert await storage.get("saves", "progress", ann) is None
    ack = await storage.put("saves", "progress", Progress(3, ["sword"]), ann)
    assert await storage.get("saves", "progress", ann) == {"level": 3, "items": ["sword"]}
    assert await storage.get("saves", "progress", ann, kind=Progress) == Progress(3, ["sword"])
    with pytest.raises(VersionRejected):
        await storage.put("saves", "progress", {"level": 4}, ann, version="*")
    await storage.put("saves", "progress", {"level": 4}, ann, version=ack.version)
    assert await storage.get("saves", "progress", ann) == {"level": 4}
    await storage.put("shop", "prices", {"sword": 10}, permission_read=2)
    (prices,) = await storage.read([ObjectId("shop", "prices", SYSTEM_USER)], caller_id=ann)
    assert prices.user_id == SYSTEM_USER


async def test_a_forgotten_player_leaves_nothing_and_only_with_the_transaction(
    storage: StorageService, database: Database, ann: str, bob: str
) -> None:
    await write(storage, ann, save(), save("hidden", permission_read=0))
    await write(storage, bob, save())
    with pytest.raises(PalestraError):
        async with database.transaction() as tx:
            await storage.forget(tx, ann)
            raise PalestraError("undone")
    assert len((await storage.list("saves", ann)).objects) == 2
    async with database.transaction() as tx:
        await storage.forget(tx, ann)
    assert (await storage.list("saves", ann)).objects == []
    assert await read(storage, bob) is not None
