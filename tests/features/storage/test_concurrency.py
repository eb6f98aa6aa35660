"""Many writers on few objects: every outcome fits some serial order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import msgspec
import pytest

from palestra.cluster.cache import Caches
from palestra.core.config import CacheSettings, DatabaseSettings
from palestra.core.ids import new_id
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.storage.contract import (
    Ack,
    DeleteRejected,
    ObjectId,
    ObjectWrite,
    StoredObject,
    VersionRejected,
)
from palestra.features.storage.indexes import Indexes
from palestra.features.storage.service import StorageService
from palestra.features.storage.store import StorageStore


def numbered(key: str, n: int, version: str = "") -> ObjectWrite:
    return ObjectWrite("counters", key, f'{{"n":{n}}}', version=version)


def number(stored: StoredObject) -> int:
    return msgspec.json.decode(stored.value)["n"]


async def test_of_a_hundred_writers_exactly_one_wins_each_version(storage: StorageService, ann: str) -> None:
    keys = [f"key {i}" for i in range(5)]
    await storage.write([numbered(key, 0) for key in keys], caller_id=ann)
    won: Counter[tuple[str, int]] = Counter()

    async def writer(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(3):
            key = choose.choice(keys)
            (seen,) = await storage.read([ObjectId("counters", key)], caller_id=ann)
            try:
                await storage.write([numbered(key, number(seen) + 1, seen.version)], caller_id=ann)
            except VersionRejected:
                continue
            won[key, number(seen) + 1] += 1

    await asyncio.gather(*(writer(seed) for seed in range(100)))
    assert set(won.values()) == {1}
    for stored in await storage.read([ObjectId("counters", key) for key in keys], caller_id=ann):
        wins = [n for key, n in won if key == stored.key]
        assert sorted(wins) == list(range(1, number(stored) + 1))


async def test_of_many_creators_exactly_one_creates(storage: StorageService, ann: str) -> None:
    outcomes = await asyncio.gather(
        *(storage.write([numbered("new", n, "*")], caller_id=ann) for n in range(50)), return_exceptions=True
    )
    winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, list)]
    assert len(winners) == 1
    assert {type(one) for one in outcomes if not isinstance(one, list)} == {VersionRejected}
    (stored,) = await storage.read([ObjectId("counters", "new")], caller_id=ann)
    assert number(stored) == winners[0]


async def test_the_last_of_one_callers_overwrites_stands(storage: StorageService, ann: str) -> None:
    acks = await asyncio.gather(*(storage.write([numbered("slot", n)], caller_id=ann) for n in range(60)))
    times = [ack.updated_at for (ack,) in acks]
    assert times == sorted(times)
    (stored,) = await storage.read([ObjectId("counters", "slot")], caller_id=ann)
    assert number(stored) == 59


async def test_two_nodes_writing_the_same_objects_in_all_ways_agree_and_never_deadlock(
    database: Database, store: StorageStore, indexes: Indexes, storage: StorageService, ann: str
) -> None:
    """Single writes, creations, atomic pairs and deletes from two nodes: no failure but the documented ones."""
    second = StorageStore(database, DatabaseSettings(), Caches(Tasks(), CacheSettings()))
    nodes = [storage, StorageService(second, indexes)]
    keys = [f"key {i}" for i in range(6)]
    serial = iter(range(1_000_000))

    async def act(seed: int) -> list[Ack]:
        choose = random.Random(seed)
        node = nodes[seed % 2]
        acks: list[Ack] = []
        for _ in range(6):
            kind = choose.randrange(4)
            pair = choose.sample(keys, 2)
            try:
                if kind == 0:
                    acks += await node.write([numbered(pair[0], next(serial))], caller_id=ann)
                elif kind == 1:
                    acks += await node.write([numbered(pair[0], next(serial), "*")], caller_id=ann)
                elif kind == 2:
                    acks += await node.write([numbered(key, next(serial)) for key in pair], caller_id=ann)
                else:
                    await node.delete([ObjectId("counters", key) for key in pair], caller_id=ann)
            except (VersionRejected, DeleteRejected):
                continue
        return acks

    try:
        acks = [ack for found in await asyncio.gather(*(act(seed) for seed in range(40))) for ack in found]
    finally:
        await second.stop()
    assert acks
    assert sum(batch.retries + batch.splits for one in (store, second) for batch in one.batches) == 0
    name = database.url.rsplit("/", 1)[1].split("?")[0]
    assert await database.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = $1", name) == 0
    for stored in await storage.read([ObjectId("counters", key) for key in keys], caller_id=ann):
        # What stands was acknowledged, and nothing acknowledged later is missing without a delete.
        mine = [ack for ack in acks if ack.key == stored.key and ack.version == stored.version]
        assert [(ack.created_at, ack.updated_at) for ack in mine] == [(stored.created_at, stored.updated_at)]


async def test_an_object_of_one_player_is_written_beside_the_same_key_of_others(storage: StorageService) -> None:
    players = [new_id() for _ in range(30)]
    await asyncio.gather(*(storage.write([numbered("slot", n)], caller_id=p) for n, p in enumerate(players)))
    for n, player in enumerate(players):
        assert await storage.get("counters", "slot", player) == {"n": n}


@pytest.mark.parametrize("count", [200])
async def test_concurrent_readers_each_get_their_own_answer(storage: StorageService, ann: str, count: int) -> None:
    await storage.write([numbered(f"key {n}", n) for n in range(count)], caller_id=ann)

    async def reader(n: int) -> None:
        wanted = [ObjectId("counters", f"key {n}"), ObjectId("counters", f"key {(n + 1) % count}")]
        found = await storage.read([*wanted, ObjectId("counters", f"nothing {n}")], caller_id=ann)
        assert sorted(number(one) for one in found) == sorted((n, (n + 1) % count))

    await asyncio.gather(*(reader(n) for n in range(count)))
