"""The JSON that goes in and out of the storage endpoints."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from palestra.core.ids import SYSTEM_USER
from palestra.features.storage.contract import BadCursor, BadLimit, BadOwner, Incomplete
from palestra.features.storage.feature import operations
from palestra.features.storage.routes import StorageRoutes
from palestra.features.storage.service import StorageService
from palestra.gateway.fields import RequestDecoder
from palestra.gateway.operation import Auth, Call, Caller

WHOLE_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z")


class Client:
    """Calls operations by name, with JSON on both sides."""

    def __init__(self, storage: StorageService, user_id: str) -> None:
        self._operations = {one.name: one for one in operations(StorageRoutes(storage))}
        self._caller = Caller(user_id, "name", {}, "token", 0, 0)

    async def __call__(self, name: str, body: Any = "", **fields: Any) -> dict[str, Any]:
        operation = self._operations[name]
        text = body if isinstance(body, str) else json.dumps(body)
        request = operation.request(**fields) if fields else RequestDecoder(operation.request).json(text)
        return json.loads(msgspec.json.encode(await operation.handler(Call(operation, self._caller), request)))


@pytest.fixture
def client(storage: StorageService, ann: str) -> Client:
    return Client(storage, ann)


def test_the_table_of_operations_is_the_protocol(storage: StorageService) -> None:
    table = operations(StorageRoutes(storage))
    assert [(one.name, one.method, one.path, one.body) for one in table] == [
        ("storage.list", "GET", "/v2/storage/{collection}", ""),
        ("storage.list", "GET", "/v2/storage/{collection}/{user_id}", ""),
        ("storage.read", "POST", "/v2/storage", "*"),
        ("storage.write", "PUT", "/v2/storage", "*"),
        ("storage.delete", "PUT", "/v2/storage/delete", "*"),
    ]
    assert {one.auth for one in table} == {Auth.SESSION}


async def test_a_write_is_acknowledged_and_read_back(client: Client, ann: str) -> None:
    written = await client(
        "storage.write",
        {
            "objects": [
                {"collection": "saves", "key": "slot", "value": '{"a":1}', "permissionRead": 2, "permission_write": 0}
            ]
        },
    )
    (ack,) = written["acks"]
    assert MICROSECONDS.fullmatch(ack.pop("create_time")) and MICROSECONDS.fullmatch(ack.pop("update_time"))
    version = "bb6cb5c68df4652941caf652a366f2d8"
    assert ack == {"collection": "saves", "key": "slot", "user_id": ann, "version": version}
    answer = await client(
        "storage.read", {"object_ids": [{"collection": "saves", "key": "slot", "user_id": ann.upper()}]}
    )
    (found,) = answer["objects"]
    assert WHOLE_SECONDS.fullmatch(found.pop("create_time")) and WHOLE_SECONDS.fullmatch(found.pop("update_time"))
    assert found == {
        "collection": "saves",
        "key": "slot",
        "user_id": ann,
        "value": '{"a": 1}',
        "version": version,
        "permission_read": 2,
    }


async def test_nothing_asked_or_found_is_an_empty_object(client: Client, ann: str) -> None:
    for name in ("storage.write", "storage.read", "storage.delete"):
        assert await client(name) == {}
    wanted = {"object_ids": [{"collection": "saves", "key": "slot", "user_id": ann}]}
    assert await client("storage.read", wanted) == {}
    assert await client("storage.list", collection="saves") == {}


async def test_a_read_without_owner_means_the_platforms_object(
    client: Client, storage: StorageService, ann: str
) -> None:
    await storage.put("saves", "slot", {"of": "ann"}, ann)
    wanted: dict[str, Any] = {"collection": "saves", "key": "slot"}
    assert await client("storage.read", {"object_ids": [wanted]}) == {}
    await storage.put("saves", "slot", {"of": "all"}, permission_read=2)
    answer = await client("storage.read", {"object_ids": [wanted]})
    assert [one["user_id"] for one in answer["objects"]] == [SYSTEM_USER]
    for bad in (SYSTEM_USER, "ann"):
        with pytest.raises(BadOwner):
            await client("storage.read", {"object_ids": [wanted | {"user_id": bad}]})
    with pytest.raises(Incomplete):
        await client("storage.read", {"object_ids": [{"key": "slot", "user_id": "ann"}]})


async def test_a_list_shows_one_object_unless_told_otherwise(client: Client, ann: str) -> None:
    objects = [{"collection": "box", "key": key, "value": "{}"} for key in "cab"]
    await client("storage.write", {"objects": objects})
    page = await client("storage.list", collection="box", user_id=ann)
    assert [one["key"] for one in page["objects"]] == ["a"] and page["cursor"]
    rest = await client("storage.list", collection="box", user_id=ann, limit=2, cursor=page["cursor"])
    assert [one["key"] for one in rest["objects"]] == ["b", "c"] and "cursor" not in rest
    with pytest.raises(BadCursor):
        await client("storage.list", collection="box", cursor="garbage")
    with pytest.raises(BadLimit):
        await client("storage.list", collection="box", limit=0)
    with pytest.raises(BadOwner):
        await client("storage.list", collection="box", user_id="ann")


async def test_a_delete_answers_nothing(client: Client) -> None:
    await client("storage.write", {"objects": [{"collection": "box", "key": "k", "value": "{}"}]})
    version = "99914b932bd37a50b983c5e7c90ae93b"
    wanted = {"object_ids": [{"collection": "box", "key": "k", "version": version, "user_id": "ignored"}]}
    assert await client("storage.delete", wanted) == {}
