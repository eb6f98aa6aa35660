"""Searching stored objects by declared indexes: what is found, in which order, and when an index changes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.errors import Code, PalestraError
from palestra.core.ids import new_id
from palestra.core.query import BadQuery, flatten, parse
from palestra.database.pool import Database
from palestra.features.storage import indexes as indexes_module
from palestra.features.storage.contract import (
    BadCursor,
    Index,
    IndexBuilding,
    NotSortable,
    ObjectId,
    ObjectWrite,
    TooManyValues,
    UnknownField,
    UnknownIndex,
    Unnarrowed,
)
from palestra.features.storage.indexes import BUILD, DROP, Indexes
from palestra.features.storage.service import StorageService
from tests.features.storage.conftest import Waiting

HEROES = Index("heroes", "profiles", "", ("level", "name", "tags", "born", "stats.power"), ("level", "name", "born"))


async def settled(indexes: Indexes, waiting: Waiting, *declared: Index) -> None:
    """Put indexes into force and carry out what that leads to."""
    await indexes.start(declared)
    handlers = {job.name: job.handler for job in indexes.jobs()}
    while waiting.payloads:
        name, payload = waiting.payloads.pop(0)
        await handlers[name](payload)


async def put(storage: StorageService, value: dict[str, Any], key: str = "hero", owner: str = "", read: int = 1) -> str:
    owner = owner or new_id()
    await storage.put("profiles", key, value, owner, permission_read=read)
    return owner


async def owners(storage: StorageService, query: str, order: str = "", **more: Any) -> list[str]:
    return [one.user_id for one in (await storage.search("heroes", query, order=order, **more)).objects]


async def test_objects_are_found_by_what_is_in_them(
    storage: StorageService, indexes: Indexes, waiting: Waiting
) -> None:
    await settled(indexes, waiting, HEROES)
    ann = await put(storage, {"level": 3, "name": "Ann", "tags": ["brave", "wise"], "born": "2001-02-03"})
    bob = await put(storage, {"level": 7.5, "name": "Bob", "stats": {"power": 9, "luck": 1}})
    cid = await put(storage, {"level": "3", "name": "Annabel", "tags": "brave"})
    for query, found in {
        "+value.level:3": {ann, cid},
        "+value.level:>3": {bob},
        "+value.level:<=7.5 -value.name:Bob": {ann},
        "+value.name:Ann*": {ann, cid},
        "+value.tags:brave +value.name:/An+/": {ann},
        "+value.tags:brave +value.name:Anabel~1": {cid},
        "value.name:Ann value.stats.power:9": {ann, bob},
        '+value.born:>"2000-01-01"': {ann},
        f"+user_id:{bob}": {bob},
        "*": {ann, bob, cid},
        "-value.tags:brave": {bob},
        "+value.level:4": set(),
    }.items():
        assert set(await owners(storage, query)) == found, query
    assert await owners(storage, "*", "name") == [ann, cid, bob]
    assert await owners(storage, "*", "-level") == [bob, ann, cid]
    assert await owners(storage, "*", "born") == [ann, *sorted([bob, cid])]


async def test_an_index_follows_changes_and_deletions(
    storage: StorageService, indexes: Indexes, waiting: Waiting, database: Database
) -> None:
    await settled(indexes, waiting, HEROES)
    ann = await put(storage, {"level": 1})
    bob = await put(storage, {"level": 1})
    await put(storage, {"level": 2}, owner=ann)
    assert await owners(storage, "+value.level:1") == [bob]
    assert await owners(storage, "+value.level:2") == [ann]
    await storage.delete([ObjectId("profiles", "hero", ann)])
    async with database.transaction() as tx:
        await storage.forget(tx, bob)
    assert await owners(storage, "*") == []
    for table in ("object_index_entries", "object_index_values"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_write_that_is_refused_changes_no_index(
    storage: StorageService, indexes: Indexes, waiting: Waiting
) -> None:
    await settled(indexes, waiting, HEROES)
    ann = await put(storage, {"level": 1})
    with pytest.raises(PalestraError):
        await storage.put("profiles", "hero", {"level": 2}, ann, version="*")
    with pytest.raises(TooManyValues):
        await put(storage, {"tags": list(range(300))}, owner=ann)
    assert await owners(storage, "+value.level:1") == [ann]


async def test_players_find_what_they_may_read(storage: StorageService, indexes: Indexes, waiting: Waiting) -> None:
    await settled(indexes, waiting, HEROES)
    hidden, own, public = [await put(storage, {"level": 1}, read=read) for read in (0, 1, 2)]
    for caller, found in {None: {hidden, own, public}, own: {own, public}, hidden: {public}}.items():
        for query in ("*", "+value.level:1"):
            assert set(await owners(storage, query, caller_id=caller)) == found


async def test_only_objects_of_the_key_that_the_game_keeps_are_in_an_index(
    storage: StorageService, indexes: Indexes, waiting: Waiting
) -> None:
    def grown_up(write: ObjectWrite) -> bool:
        return msgspec.json.decode(write.value)["level"] >= 10

    before = await put(storage, {"level": 11}, key="main")
    kept = msgspec.structs.replace(HEROES, key="main", keep=grown_up, keep_text="grown up")
    await settled(indexes, waiting, kept)
    ann = await put(storage, {"level": 10}, key="main")
    await put(storage, {"level": 10}, key="other")
    await put(storage, {"level": 9}, key="main")
    await put(storage, {"no level": 9}, key="main")
    assert set(await owners(storage, "*")) == {before, ann}
    await put(storage, {"level": 1}, key="main", owner=ann)
    assert await owners(storage, "*") == [before]


async def test_what_was_there_before_is_entered_by_a_job_and_what_is_declared_no_more_is_dropped(
    storage: StorageService, indexes: Indexes, waiting: Waiting, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes_module, "CHUNK_ROWS", 3)
    before = {await put(storage, {"level": level}) for level in range(10)}
    await indexes.start([HEROES])
    assert [name for name, _ in waiting.payloads] == [BUILD]
    with pytest.raises(IndexBuilding) as caught:
        await storage.search("heroes")
    assert caught.value.code is Code.UNAVAILABLE
    after = await put(storage, {"level": 1})
    await settled(indexes, waiting, HEROES)
    assert set(await owners(storage, "*")) == {*before, after}
    await indexes.start([HEROES])
    assert waiting.payloads == []

    other = msgspec.structs.replace(HEROES, fields=("level",), sortable=())
    await indexes.start([other])
    assert sorted(name for name, _ in waiting.payloads) == [BUILD, DROP]
    await settled(indexes, waiting, other)
    assert set(await owners(storage, "*")) == {*before, after}
    assert await database.fetchval("SELECT count(DISTINCT index_id) FROM object_index_values") == 1
    await settled(indexes, waiting)
    assert await database.fetchval("SELECT count(*) FROM object_index_entries") == 0
    with pytest.raises(UnknownIndex):
        await storage.search("heroes")


async def test_writers_and_the_builder_at_once_leave_an_index_that_is_true(
    storage: StorageService, indexes: Indexes, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes_module, "CHUNK_ROWS", 4)
    people = [await put(storage, {"level": 0}) for _ in range(40)]
    await indexes.start([HEROES])
    chance = random.Random(5)

    async def write() -> None:
        for _ in range(30):
            owner = chance.choice(people)
            try:
                if chance.random() < 0.2:
                    await storage.delete([ObjectId("profiles", "hero", owner)])
                else:
                    await put(storage, {"level": chance.randrange(5)}, owner=owner)
            except PalestraError as error:
                assert error.code is Code.INVALID_ARGUMENT

    async with asyncio.timeout(60):
        await asyncio.gather(settled(indexes, waiting, HEROES), *(write() for _ in range(4)))
    stored = (await storage.list("profiles", limit=100)).objects
    for level in range(5):
        expected = {one.user_id for one in stored if msgspec.json.decode(one.value)["level"] == level}
        assert set(await owners(storage, f"+value.level:{level}")) == expected


async def test_searches_that_cannot_be_served_are_refused(
    storage: StorageService, indexes: Indexes, waiting: Waiting
) -> None:
    await settled(indexes, waiting, HEROES)
    for query in ("+value.name:/a.*/", "+value.name:*a", "value.name:/a/ value.level:1", "+value.name:ann~1"):
        with pytest.raises(Unnarrowed):
            await storage.search("heroes", query)
    with pytest.raises(UnknownField, match=r"has no field 'value\.size'"):
        await storage.search("heroes", "-value.size:1")
    with pytest.raises(BadQuery):
        await storage.search("heroes", '+value.name:"')
    with pytest.raises(NotSortable):
        await storage.search("heroes", order="tags")
    for limit in (0, 1_001):
        with pytest.raises(PalestraError):
            await storage.search("heroes", limit=limit)
    await put(storage, {"level": 1})
    await put(storage, {"level": 1})
    cursor = (await storage.search("heroes", limit=1)).cursor
    assert cursor
    for more in ({"query": "-value.level:2"}, {"order": "level"}, {"caller_id": new_id()}, {"cursor": "x"}):
        with pytest.raises(BadCursor):
            await storage.search("heroes", limit=1, **{"cursor": cursor, **more})


PLAIN = msgspec.structs.replace(HEROES, fields=("level", "name", "tags"), sortable=("level", "name"))

# -- any search finds what looking at everything would find

numbers = st.one_of(st.integers(-3, 3), st.sampled_from([2.5, 10**20, -(10**400), 1e300, 2**53, 2**53 + 1]))
texts = st.sampled_from(["a", "ab", "abc", "b", "T", "3", "2001-02-03", "é", "z" * 300, "z" * 300 + "y"])
content = st.one_of(numbers, texts, st.booleans(), st.none(), st.lists(st.one_of(numbers, texts), max_size=3))
objects = st.fixed_dictionaries({}, optional={"level": content, "name": content, "tags": content, "other": content})
value = st.one_of(
    st.sampled_from(["3", "-2", "2.5", "a", "ab", "T", "a*", "a?", "z*", "é", "abc~1", "/a.*/", ">1", "<=2", ">=2.5"]),
    st.sampled_from(['>"2000-01-01"', "9007199254740992", "9007199254740993", ">9007199254740992"]),
    st.sampled_from(["z" * 300, f'"{"z" * 300}y"', f"{'z' * 200}*"]),
)
clauses = st.builds(
    lambda sign, field, text: f"{sign}value.{field}:{text}",
    st.sampled_from(["+", "+", "", "-"]),
    st.sampled_from(["level", "name", "tags"]),
    value,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(objects, min_size=1, max_size=14),
    st.lists(clauses, max_size=3),
    st.sampled_from(["", "level", "-level", "name", "-name"]),
    st.integers(1, 6),
)
async def test_a_search_finds_what_looking_at_every_object_finds_page_by_page(
    storage: StorageService,
    indexes: Indexes,
    waiting: Waiting,
    database: Database,
    values: list[dict[str, Any]],
    wanted: list[str],
    order: str,
    limit: int,
) -> None:
    await settled(indexes, waiting, PLAIN)
    async with database.transaction() as tx:
        for (owner,) in await tx.fetch("SELECT DISTINCT user_id::text FROM objects"):
            await storage.forget(tx, owner)
    ids = [new_id() for _ in values]
    writes = [
        ObjectWrite("profiles", "hero", msgspec.json.encode(one).decode(), owner)
        for one, owner in zip(values, ids, strict=True)
    ]
    await storage.write(writes)
    query = " ".join(wanted)
    asked = parse(query)
    expected = {
        one.user_id for one in writes if asked.score(flatten(msgspec.json.decode(one.value), "value")) is not None
    }
    try:
        found = await every_page(storage, query, limit, order)
        # With few candidates allowed, searches walk along their order instead.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(indexes_module, "CANDIDATES_MAX", 6)
            patch.setattr(indexes_module, "WALK_ROWS", 3)
            walked = await every_page(storage, query, limit, order)
    except Unnarrowed:
        return
    assert sorted(found) == sorted(expected)
    assert walked == found


async def every_page(storage: StorageService, query: str, limit: int, order: str) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        page = await storage.search("heroes", query, limit, order, cursor)
        assert len(page.objects) <= limit
        found += [one.user_id for one in page.objects]
        cursor = page.cursor
        if not cursor:
            return found
