"""Lists read from replicas: nobody misses what they wrote, and nothing fails because a replica does."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from palestra import Game
from palestra.app import replicas as replica_reads
from palestra.app.replicas import NO_WRITES, STALE_READS, ReplicaReads
from palestra.cli.cluster import status
from palestra.cluster.bus import Bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.core.clock import SystemClock
from palestra.core.config import DatabaseSettings, Settings
from palestra.core.tasks import Tasks
from palestra.database.lookup import Lookups
from palestra.database.pool import Database
from palestra.database.replicas import SAMPLES_MAX, Replicas
from palestra.gateway.operation import Auth, Call, Caller, Operation
from palestra.testing import Bot, Platform
from palestra.testing.bot import BotError
from tests.cli.nodes import palestra
from tests.cluster.postgres import SECONDS_MAX, Replication, Server, replication
from tests.cluster.several import QUICK, several
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
LAG_SECONDS_MAX = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replication]:
    """A primary and two replicas."""
    async with replication(tmp_path_factory.mktemp("replicas")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def platform(servers: Replication, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    """A node on them, whose replicas are fit."""
    monkeypatch.setattr(replica_reads, "LOGIN_SECONDS", -10.0)
    limits = DatabaseSettings(
        replica_urls=tuple(one.url for one in servers.replicas),
        replica_lag_seconds_max=LAG_SECONDS_MAX,
        key_ring_file=str(servers.primary.folder.parent / "keyring.json"),
    )
    async with Platform.start(
        Game("lists"), settings=Settings(database=limits), database_url=servers.primary.url
    ) as platform:
        await until(lambda: fit(platform) == [True, True])
        yield platform


def known(platform: Platform) -> Replicas:
    """What the node knows of its replicas."""
    parts = platform.node.parts
    assert parts is not None
    assert parts.database.replicas is not None
    return parts.database.replicas


def fit(platform: Platform) -> list[bool]:
    replicas = known(platform)
    now = asyncio.get_running_loop().time()
    return [replicas.fit(one, now) for one in replicas.all]


def calls(platform: Platform) -> list[int]:
    return [one.reads for one in known(platform).all]


async def write(bot: Bot, key: str) -> None:
    await bot.call("PUT", "/v2/storage", {"objects": [{"collection": "saves", "key": key, "value": "{}"}]})


async def listed(bot: Bot) -> set[str]:
    """The keys of a player's own list."""
    answer = await bot.call("GET", f"/v2/storage/saves/{bot.id}", query={"limit": 100})
    return {one["key"] for one in answer.get("objects", [])}


async def listed_by_a_replica(platform: Platform, bot: Bot) -> set[str]:
    """A list that came from a replica."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            before = sum(calls(platform))
            found = await listed(bot)
            if sum(calls(platform)) > before:
                return found
            await asyncio.sleep(0.01)


async def test_a_list_comes_from_a_replica_once_that_has_what_its_reader_wrote(platform: Platform) -> None:
    bot = await platform.bot()
    await write(bot, "first")
    assert await listed_by_a_replica(platform, bot) == {"first"}


async def test_players_are_spread_over_the_replicas(platform: Platform) -> None:
    before = calls(platform)
    for _ in range(20):
        await listed(await platform.bot())
    await until(lambda: fit(platform) == [True, True])
    assert all(after > earlier for after, earlier in zip(calls(platform), before, strict=True))


async def test_own_writes_are_seen_while_the_replicas_stand_still(platform: Platform, servers: Replication) -> None:
    bot = await platform.bot()
    await listed_by_a_replica(platform, bot)
    for server in servers.replicas:
        await server.pause()
    before = calls(platform)
    try:
        for number in range(20):
            await write(bot, str(number))
            assert len(await listed(bot)) == number + 1
        assert calls(platform) == before
        # They have not moved for longer than they may lag, so others are not sent there either.
        await until(lambda: fit(platform) == [False, False])
        assert await listed(await platform.bot()) == set()
        assert calls(platform) == before
    finally:
        for server in servers.replicas:
            await server.resume()
    assert len(await listed_by_a_replica(platform, bot)) == 20


async def test_own_writes_are_seen_whatever_the_replicas_do(platform: Platform, servers: Replication) -> None:
    chance = random.Random(5)
    bots = [await platform.bot() for _ in range(8)]
    before = sum(calls(platform))
    stop = asyncio.Event()
    checked = 0

    async def play(bot: Bot) -> None:
        nonlocal checked
        written: set[str] = set()
        while not stop.is_set() and len(written) < 90:
            if chance.random() < 0.1:
                await write(bot, str(len(written)))
                written.add(str(len(written)))
            assert await listed(bot) == written
            checked += 1
            await asyncio.sleep(chance.random() * 0.05)

    playing = [asyncio.create_task(play(bot)) for bot in bots]
    for _ in range(6):
        server = chance.choice(servers.replicas)
        await server.pause()
        seen = checked
        await until(lambda seen=seen: checked > seen + 60)
        await server.resume()
    stop.set()
    await asyncio.gather(*playing)
    assert sum(calls(platform)) > before


async def test_a_replica_that_dies_fails_no_call_and_serves_again_when_it_is_back(
    platform: Platform, servers: Replication
) -> None:
    bots = [await platform.bot() for _ in range(10)]
    for bot in bots:
        await listed_by_a_replica(platform, bot)
    servers.replicas[0].kill()
    for bot in bots:
        assert await listed(bot) == set()
    await until(lambda: fit(platform) == [False, True])
    await servers.replicas[0].postgres.stop()
    await servers.replicas[0].start()
    await until(lambda: fit(platform) == [True, True])
    before = calls(platform)[0]
    for bot in bots:
        await listed_by_a_replica(platform, bot)
    assert calls(platform)[0] > before


async def test_lists_are_answered_while_the_primary_is_away(platform: Platform, servers: Replication) -> None:
    bot = await platform.bot()
    await write(bot, "kept")
    await listed_by_a_replica(platform, bot)
    servers.primary.kill()
    with pytest.raises(BotError, match="503"):
        await bot.call("GET", "/v2/account")
    before = sum(calls(platform))
    assert await listed(bot) == {"kept"}
    assert sum(calls(platform)) == before + 1
    with pytest.raises(BotError, match="503"):
        await write(bot, "not")
    await servers.primary.postgres.stop()
    await servers.primary.start()
    await until(lambda: platform.node.ready and fit(platform) == [True, True])
    await write(bot, "again")
    assert await listed_by_a_replica(platform, bot) >= {"kept", "again"}


async def test_metrics_tell_of_each_replica(platform: Platform) -> None:
    async with platform.http.get(f"{platform.console_url}/metrics") as answer:
        text = await answer.text()
    assert 'palestra_replica_fit{replica="2"} 1.0' in text
    assert 'palestra_replica_lag_seconds{replica="1"}' in text
    assert 'palestra_replica_calls_total{replica="1"}' in text


async def test_what_a_player_writes_on_one_node_it_sees_on_another(
    servers: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_reads, "LOGIN_SECONDS", -10.0)
    monkeypatch.setattr(replica_reads, "ANNOUNCE_SECONDS", 0.5)
    monkeypatch.setattr(replica_reads, "CALL_SECONDS_MAX", 1.0)
    await servers.primary.ask("CREATE DATABASE shared")
    url, *urls = [one.url.replace("/postgres?", "/shared?") for one in servers.servers]
    # So patient that a replica which stands still goes on being read from.
    limits = DatabaseSettings(replica_urls=tuple(urls), replica_lag_seconds_max=60.0)
    async with several(url, Game("lists"), settings=Settings(cluster=QUICK, database=limits)) as (here, there):
        bot = await here.bot()
        again = Bot(here.http, there.url, there.node.settings.socket.server_key, bot.device_id)
        again.token, again.id = bot.token, bot.id
        await listed_by_a_replica(there, again)
        for server in servers.replicas:
            await server.pause()
        try:
            assert await listed_by_a_replica(there, again) == set()
            await write(bot, "new")
            assert await listed(again) == {"new"}
        finally:
            for server in servers.replicas:
                await server.resume()


async def test_the_doctor_looks_at_replicas(servers: Replication, tmp_path: Path) -> None:
    async def examined(replica: Server) -> str:
        settings = {"PALESTRA_DATABASE_URL": servers.primary.url, "PALESTRA_DATABASE_REPLICA_URLS": replica.url}
        done = await asyncio.to_thread(palestra, "doctor", "--data-dir", str(tmp_path), cwd=tmp_path, **settings)
        return done.stdout

    told = await examined(servers.replicas[0])
    assert "replicas: 1" in told
    told = await examined(servers.primary)
    assert "is no streaming replica" in told, told


async def test_who_may_not_see_how_far_replicas_are_is_told_so(
    servers: Replication, platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    primary = servers.primary
    admin = await asyncpg.connect(primary.url)
    try:
        await admin.execute("CREATE ROLE plain LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain")
        url = primary.url.replace("//palestra@", "//plain@")
        await asyncio.to_thread(status, Settings(database_url=url), as_json=False)
        assert capsys.readouterr().out.count("GRANT pg_monitor") == len(servers.replicas)
        await admin.execute("GRANT pg_monitor TO plain")
        await asyncio.to_thread(status, Settings(database_url=url), as_json=False)
        assert capsys.readouterr().out.count("streaming") == len(servers.replicas)
    finally:
        await admin.execute("DROP OWNED BY plain; DROP ROLE plain")
        await admin.close()


# -- what is decided, without servers


@pytest_asyncio.fixture(loop_scope="module")
async def two() -> Replicas:
    """Two replicas that have answered just now."""
    replicas = Replicas(("postgresql://one/x", "postgresql://two/x"), 2.0)
    for replica in replicas.all:
        replica.answered_at = asyncio.get_running_loop().time()
    return replicas


async def test_a_player_reads_where_its_last_write_is(two: Replicas) -> None:
    now = asyncio.get_running_loop().time()
    two.ends_at(now - 0.5, 100)
    two.wrote("player", now - 0.4)
    for replica in two.all:
        two.applied(replica, now, 150)
    assert two.choose("player") is None
    assert two.choose("another") is not None
    two.ends_at(now - 0.3, 200)
    assert two.choose("player") is None
    two.applied(two.all[1], now, 200)
    assert two.choose("player") is two.all[1]
    assert two.choose("player", since=now) is None


async def test_a_player_reads_from_one_replica_as_long_as_it_is_fit(two: Replicas) -> None:
    now = asyncio.get_running_loop().time()
    two.ends_at(now, 100)
    for replica in two.all:
        two.applied(replica, now, 100)
    assert len({two.choose("player") for _ in range(10)}) == 1
    assert {two.choose(str(player)) for player in range(20)} == set(two.all)


async def test_a_new_primary_with_a_shorter_log_makes_all_that_is_known_void(two: Replicas) -> None:
    now = asyncio.get_running_loop().time()
    two.ends_at(now, 100)
    two.applied(two.all[0], now, 100)
    assert two.choose("player") is two.all[0]
    two.ends_at(now, 90)
    assert two.choose("player") is None
    assert two.lag_seconds(two.all[0]) == math.inf


async def test_what_is_remembered_is_bounded(two: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palestra.database.replicas.WRITERS_MAX", 10)
    now = asyncio.get_running_loop().time()
    for position in range(SAMPLES_MAX * 2):
        two.ends_at(now - 1, position)
    two.applied(two.all[0], now, SAMPLES_MAX * 2)
    for player in range(11):
        two.wrote(str(player), now)
    # Too many to remember them one by one: now nobody is sent to what may lack their writes.
    assert two.choose("0") is None
    assert two.choose("who wrote nothing") is None


async def test_old_writes_are_forgotten(two: Replicas) -> None:
    now = asyncio.get_running_loop().time()
    two.wrote("long ago", now - 10)
    two.wrote("lately", now - 1)
    two.ends_at(now, 100)
    assert list(two._wrote_at) == ["lately"]


async def test_without_replicas_reads_take_the_way_they_took(database: Database) -> None:
    lookups = Lookups("test", database, DatabaseSettings())
    assert len(lookups.batches) == 1
    assert lookups._reads.submit == lookups._reads.primary.submit


async def test_the_lists_of_calls_name_operations_that_exist(platform: Platform) -> None:
    parts = platform.node.parts
    assert parts is not None
    assert {one.name for one in parts.table} >= STALE_READS | NO_WRITES


# -- other nodes


async def nothing(call: Call, request: Any) -> None:
    """An operation."""


WRITING = Operation("storage.write", "PUT", "/v2/storage", Auth.SESSION, nothing)
READING = Operation("storage.list", "GET", "/v2/storage", Auth.SESSION, nothing)


def call_of(player: str, operation: Operation) -> Call:
    return Call(operation, Caller(player, "", {}, "", 0, 0))


@pytest_asyncio.fixture(loop_scope="module")
async def nodes() -> AsyncIterator[list[tuple[ReplicaReads, Replicas, Bus]]]:
    """Two nodes with a replica each, which is up to date."""
    broker, tasks, made = LocalBroker(), Tasks(), []
    now = asyncio.get_running_loop().time()
    for name in ("a", "b"):
        bus = Bus(name, 1, LocalTransport(broker), tasks)
        replicas = Replicas(("postgresql://one/x",), 2.0)
        reads = ReplicaReads(replicas, SystemClock(), bus)
        await bus.start()
        # Of the bus coming up: what was written before it did is not known.
        assert replicas.choose("anybody") is None
        replicas._all_wrote_at = -math.inf
        replicas.ends_at(now, 1)
        replicas.applied(replicas.all[0], now, 1)
        made.append((reads, replicas, bus))
    yield made
    for _, _, bus in made:
        await bus.stop()
    await tasks.stop()


async def test_a_player_who_writes_on_one_node_reads_from_the_primary_on_the_other(
    nodes: list[tuple[ReplicaReads, Replicas, Bus]],
) -> None:
    (first, _, _), (_, there, _) = nodes
    first.began(READING, call_of("reader", READING))
    assert there.choose("writer") is not None
    first.began(WRITING, call_of("writer", WRITING))
    await until(lambda: there.choose("writer") is None)
    assert there.choose("reader") is not None


async def test_a_player_is_announced_once_in_a_while(nodes: list[tuple[ReplicaReads, Replicas, Bus]]) -> None:
    (reads, _, bus), (_, there, _) = nodes
    for _ in range(100):
        reads.began(WRITING, call_of("writer", WRITING))
    await until(lambda: there.choose("writer") is None)
    assert bus.messages_sent == 1


async def test_while_the_bus_is_lost_and_after_a_gap_all_read_from_the_primary(
    nodes: list[tuple[ReplicaReads, Replicas, Bus]],
) -> None:
    (_, here, bus), (_, there, other) = nodes
    assert here.choose("anybody") is not None
    bus._changed(False)
    assert here.choose("anybody") is None
    bus._changed(True)
    assert here.choose("anybody") is None
    assert there.choose("anybody") is not None
    for handler in other._on_gap:
        handler("a")
    assert there.choose("anybody") is None
