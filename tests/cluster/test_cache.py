"""Caches alone, over Valkey and over Memcached: what is read how often, and that nothing stale is served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from palestra.cluster.bus import Bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.cluster.cache import CUT_OFF_SECONDS, WAIT_SECONDS, Cache, Caches, Terms
from palestra.cluster.caches.memcached import MemcachedCache
from palestra.cluster.caches.memory import Held, Memory
from palestra.cluster.caches.shared import CacheServer, Lease, Shared
from palestra.cluster.caches.valkey import ValkeyCache
from palestra.core.clock import ManualClock
from palestra.core.config import CacheSettings
from palestra.core.errors import SetupError, Unavailable
from palestra.core.ids import new_id
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, memcached_command, running, valkey_command

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS_MAX = 20
SERVERS = ("valkey", "memcached")
KINDS = ("memory", *SERVERS)
TERMS = Terms(seconds=60, absent_seconds=5, entries_max=1_000, bytes_max=1_000_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports() -> AsyncIterator[dict[str, int]]:
    """A Valkey and a Memcached server."""
    valkey, memcached = free_port(), free_port()
    async with running(valkey_command(valkey), valkey), running(memcached_command(memcached), memcached):
        yield {"valkey": valkey, "memcached": memcached}


class Truth:
    """What a database holds, and how often it was asked for what."""

    def __init__(self, **rows: str) -> None:
        self.rows = rows
        self.asked: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.read = asyncio.Event()

    async def load(self, keys: list[str]) -> Mapping[str, str]:
        """Read now, and answer when `open` is set."""
        self.asked.append(keys)
        found = {key: self.rows[key] for key in keys if key in self.rows}
        if any(value == "error" for value in found.values()):
            raise RuntimeError("oops")
        self.read.set()
        await self.open.wait()
        return found


class Plain:
    """Texts as bytes."""

    def encode(self, key: str, value: str) -> bytes:
        return value.encode()

    def decode(self, key: str, data: bytes) -> str:
        return data.decode()


@dataclass
class Node:
    """A node with one cache."""

    bus: Bus
    caches: Caches
    cache: Cache[str]

    async def settled(self) -> None:
        """Until all that this node has changed was told to others."""
        await becomes(lambda: not self.caches._leaving and not self.caches._deleting)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def writes(self, truth: Truth, key: str, value: str) -> None:
        """Change the truth, and tell."""
        truth.rows[key] = value
        self.cache.invalidate([key])
        await self.settled()


@dataclass
class World:
    """Nodes with a bus in memory, and perhaps with a cache server that each reaches by a proxy of its own."""

    serve: Callable[[int], CacheServer] | None
    port: int = 0
    prefix: str = ""
    broker: LocalBroker = field(default_factory=LocalBroker)
    tasks: Tasks = field(default_factory=Tasks)
    clock: ManualClock = field(default_factory=ManualClock)
    nodes: list[Node] = field(default_factory=list)
    faults: list[FaultProxy] = field(default_factory=list)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def shares(self) -> bool:
        return self.serve is not None

    async def node(self, load: Callable[[list[str]], Awaitable[Mapping[str, str]]], terms: Terms = TERMS) -> Node:
        """Another node."""
        bus = Bus(f"node-{len(self.nodes)}", 1, LocalTransport(self.broker), self.tasks)
        shared = None
        if self.serve is not None:
            proxy = await self.stack.enter_async_context(FaultProxy(self.port))
            self.faults.append(proxy)
            shared = Shared(self.serve(proxy.port), self.tasks, self.prefix)
        caches = Caches(self.tasks, CacheSettings(), bus=bus, shared=shared, monotonic=self.clock.monotonic)
        node = Node(bus, caches, Cache("things", caches, load, terms, len, Plain()))
        self.nodes.append(node)
        await bus.start()
        await caches.start()
        return node

    async def pair(self, truth: Truth) -> tuple[Node, Node]:
        """Two nodes that know each other: the first packet of a node to another is never a gap."""
        a, b = await self.node(truth.load), await self.node(truth.load)
        for node in (a, b):
            node.cache.invalidate(["greeting"])
            await node.settled()
        return a, b


@contextlib.asynccontextmanager
async def world_of(kind: str, ports: dict[str, int]) -> AsyncIterator[World]:
    if kind == "memory":
        world = World(None)
    elif kind == "valkey":
        world = World(lambda port: ValkeyCache(f"redis://127.0.0.1:{port}"), ports[kind])
    else:
        world = World(lambda port: MemcachedCache([f"127.0.0.1:{port}"]), ports[kind])
    world.prefix = f"test{new_id()}"
    async with world.stack:
        try:
            yield world
        finally:
            for node in world.nodes:
                await node.caches.stop()
                await node.bus.stop()
            await world.tasks.stop()


@pytest_asyncio.fixture(params=KINDS, loop_scope="module")
async def world(request: pytest.FixtureRequest, ports: dict[str, int]) -> AsyncIterator[World]:
    """Without a cache server, and with each kind."""
    async with world_of(request.param, ports) as made:
        yield made


@pytest_asyncio.fixture(params=SERVERS, loop_scope="module")
async def sharing(request: pytest.FixtureRequest, ports: dict[str, int]) -> AsyncIterator[World]:
    """With each kind of cache server."""
    async with world_of(request.param, ports) as made:
        yield made


async def becomes(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - of things that tell nobody
            await asyncio.sleep(0.005)


# -- reading


async def test_what_was_read_once_comes_from_memory_until_its_time_is_over(world: World) -> None:
    truth = Truth(a="1", b="2")
    node = await world.node(truth.load)
    assert await node.cache.get_many(["a", "b", "none"]) == {"a": "1", "b": "2"}
    assert await node.cache.get_many(["none", "b", "a"]) == {"b": "2", "a": "1"}
    assert await node.cache.get("none") is None
    assert truth.asked == [["a", "b", "none"]]
    world.clock.advance(TERMS.absent_seconds)
    await node.cache.get_many(["a", "none"])
    if not world.shares:
        assert truth.asked[1:] == [["none"]]
    world.clock.advance(TERMS.seconds)
    node.cache.clear()
    assert await node.cache.get("a") == "1"


async def test_a_node_takes_over_what_another_has_read(sharing: World) -> None:
    truth = Truth(a="1")
    a, b = await sharing.pair(truth)
    odd = ["k" * 300, "two words", "größe", "line\nbreak", ""]
    truth.rows |= dict.fromkeys(odd, "odd")
    assert await a.cache.get_many(["a", "none", *odd]) == {"a": "1", **dict.fromkeys(odd, "odd")}
    await becomes(lambda: not a.cache._loading)
    asked = len(truth.asked)
    assert await b.cache.get_many(["a", "none", *odd]) == {"a": "1", **dict.fromkeys(odd, "odd")}
    assert len(truth.asked) == asked


async def test_those_who_ask_at_once_share_a_query_and_one_who_leaves_keeps_nobody_from_it(world: World) -> None:
    truth = Truth(a="1", b="2")
    truth.open.clear()
    node = await world.node(truth.load)
    readers = [asyncio.ensure_future(node.cache.get_many(["a", "b"])) for _ in range(100)]
    await truth.read.wait()
    late = asyncio.ensure_future(node.cache.get("a"))
    readers[0].cancel()
    await asyncio.sleep(0)
    truth.open.set()
    assert await asyncio.gather(*readers[1:]) == [{"a": "1", "b": "2"}] * 99
    assert await late == "1"
    assert truth.asked == [["a", "b"]]


async def test_a_stampede_on_four_nodes_costs_one_query(world: World) -> None:
    truth = Truth(hot="1")
    nodes = [await world.node(truth.load) for _ in range(4)]
    truth.open.clear()
    readers = [asyncio.ensure_future(node.cache.get("hot")) for node in nodes for _ in range(250)]
    await truth.read.wait()
    await asyncio.sleep(0.02)
    truth.open.set()
    assert await asyncio.gather(*readers) == ["1"] * 1_000
    assert len(truth.asked) == (1 if world.shares else 4)


async def test_a_key_that_fails_fails_alone_and_is_asked_for_again(world: World) -> None:
    truth = Truth(a="1", bad="error")
    node = await world.node(truth.load)
    good, bad = await asyncio.gather(node.cache.get("a"), node.cache.get("bad"), return_exceptions=True)
    assert good == "1"
    assert isinstance(bad, RuntimeError)
    truth.rows["bad"] = "mended"
    assert await node.cache.get("bad") == "mended"


async def test_what_keeps_the_database_from_answering_is_told_to_all_who_wait(world: World) -> None:
    async def away(keys: list[str]) -> Mapping[str, str]:
        raise Unavailable("away")

    node = await world.node(away)
    outcomes = await asyncio.gather(node.cache.get("a"), node.cache.get("b"), return_exceptions=True)
    assert [str(one) for one in outcomes] == ["away", "away"]


async def test_what_is_kept_is_never_read_where_only_one_caller_may_read(world: World) -> None:
    place: ContextVar[str] = ContextVar("place", default="primary")
    primary_is_away = False

    async def load(keys: list[str]) -> Mapping[str, str]:
        if primary_is_away and place.get() == "primary":
            raise Unavailable("away")
        return dict.fromkeys(keys, place.get())

    node = await world.node(load)
    place.set("replica")
    assert await node.cache.get_many(["a", "b"]) == {"a": "primary", "b": "primary"}
    # Better old than nothing, for who may have that; it is not kept.
    primary_is_away = True
    assert await node.cache.get("c") == "replica"
    primary_is_away = False
    assert await node.cache.get("c") == "primary"


async def test_a_node_that_stops_leaves_nobody_waiting(world: World) -> None:
    truth = Truth(a="1")
    truth.open.clear()
    node = await world.node(truth.load)
    reader = asyncio.ensure_future(node.cache.get("a"))
    await truth.read.wait()
    await world.tasks.stop()
    with pytest.raises(Unavailable, match="stopping"):
        await reader


# -- writing


async def test_a_write_is_seen_at_once_on_its_node_and_by_others_when_they_hear_of_it(world: World) -> None:
    truth = Truth(a="1")
    a, b = await world.pair(truth)
    assert (await a.cache.get("a"), await b.cache.get("a")) == ("1", "1")
    for value in ("2", "3", "4"):
        truth.rows["a"] = value
        a.cache.invalidate(["a"])
        assert await a.cache.get("a") == value
        await a.settled()
        assert await b.cache.get("a") == value
        assert await a.cache.get("a") == value


async def test_a_new_thing_is_seen_where_it_was_missed_before(world: World) -> None:
    truth = Truth()
    a, b = await world.pair(truth)
    assert (await a.cache.get("new"), await b.cache.get("new")) == (None, None)
    await a.writes(truth, "new", "1")
    assert (await a.cache.get("new"), await b.cache.get("new")) == ("1", "1")


@pytest.mark.parametrize("writer", [0, 1])
async def test_a_slow_reader_does_not_store_what_was_changed_meanwhile(world: World, writer: int) -> None:
    truth = Truth(a="old")
    nodes = await world.pair(truth)
    reading, writing = nodes[0], nodes[writer]
    truth.read.clear()
    opened, truth.open = truth.open, asyncio.Event()
    slow = asyncio.ensure_future(reading.cache.get("a"))
    await truth.read.wait()
    # The row has been read and not been kept yet; now it changes.
    held, truth.open = truth.open, opened
    await writing.writes(truth, "a", "new")
    # Whoever asks from now on does not join the slow reader.
    assert [await node.cache.get("a") for node in nodes] == ["new", "new"]
    held.set()
    assert await slow == "old"
    await becomes(lambda: not reading.cache._loading)
    assert [await node.cache.get("a") for node in nodes] == ["new", "new"]
    for node in nodes:
        node.cache.clear()
    assert [await node.cache.get("a") for node in nodes] == ["new", "new"]


async def test_what_is_still_to_be_deleted_from_the_shared_cache_is_not_read_there(sharing: World) -> None:
    truth = Truth(a="1")
    a, b = await sharing.pair(truth)
    assert (await a.cache.get("a"), await b.cache.get("a")) == ("1", "1")
    assert a.caches.shared is not None
    server, gate = a.caches.shared._server, asyncio.Event()
    delete = server.delete

    async def slowly(keys: Sequence[str]) -> None:
        await gate.wait()
        await delete(keys)

    server.delete = slowly  # type: ignore[method-assign]
    truth.rows["a"] = "2"
    a.cache.invalidate(["a"])
    assert await a.cache.get("a") == "2"
    # Told now, the other node would find the old value and keep it.
    assert await b.cache.get("a") == "1"
    gate.set()
    await a.settled()
    assert await b.cache.get("a") == "2"
    assert await a.cache.get("a") == "2"


async def test_everything_of_a_cache_can_be_invalidated(world: World) -> None:
    truth = Truth(a="1", b="1")
    a, b = await world.pair(truth)
    pages = [Cache("pages", node.caches, truth.load, TERMS, len) for node in (a, b)]
    for page in pages:
        assert await page.get_many(["a", "b"]) == {"a": "1", "b": "1"}
    truth.rows = {"a": "2", "b": "2"}
    pages[0].invalidate_all()
    assert await pages[0].get_many(["a", "b"]) == {"a": "2", "b": "2"}
    await a.settled()
    assert await pages[1].get_many(["a", "b"]) == {"a": "2", "b": "2"}


async def test_many_changes_are_told_together(world: World) -> None:
    truth = Truth(a="1")
    a, b = await world.pair(truth)
    before = a.bus.messages_sent
    keys = [f"key-{number}" for number in range(2_500)]
    for key in keys:
        a.cache.invalidate([key])
    await a.settled()
    assert a.bus.messages_sent - before == 3
    assert b.caches.invalidated == 1, "what others change is not one's own"


# -- messages that are lost


async def test_a_node_that_missed_a_message_forgets_everything_when_it_notices(world: World) -> None:
    truth = Truth(a="1", b="1")
    a, b = await world.pair(truth)
    assert await b.cache.get_many(["a", "b"]) == {"a": "1", "b": "1"}
    heard = world.broker.nodes.pop(b.bus.node)
    await a.writes(truth, "a", "2")
    assert await b.cache.get("a") == "1"
    world.broker.nodes[b.bus.node] = heard
    a.cache.invalidate(["something else"])
    await a.settled()
    assert b.caches.flushes >= 1
    assert await b.cache.get("a") == "2"


async def test_without_the_bus_nothing_is_kept_for_long_and_with_it_again_all_is_read_anew(world: World) -> None:
    truth = Truth(a="1")
    node = await world.node(truth.load)
    assert await node.cache.get("a") == "1"
    node.bus._changed(False)
    truth.rows["a"] = "2"
    if not world.shares:
        assert await node.cache.get("a") == "2"
        truth.rows["a"] = "3"
        world.clock.advance(CUT_OFF_SECONDS)
        assert await node.cache.get("a") == "3"
    assert node.caches.cut_off
    node.bus._changed(True)
    assert not node.caches.cut_off
    assert node.cache.entries == 0


# -- a shared cache that fails


@pytest.mark.parametrize("fault", ["cut", "freeze"])
async def test_without_the_shared_cache_reads_go_on_and_afterwards_nothing_old_is_served(
    sharing: World, fault: str
) -> None:
    truth = Truth(a="1", b="1", c="1")
    a, b = await sharing.pair(truth)
    assert await a.cache.get_many(["a", "b"]) == {"a": "1", "b": "1"}
    for proxy in sharing.faults:
        if fault == "cut":
            proxy.cut(refuse=True)
        else:
            proxy.freeze()
    async with asyncio.timeout(2):
        assert await b.cache.get_many(["a", "c"]) == {"a": "1", "c": "1"}
    assert not b.caches.shared_is_up
    truth.rows["a"] = "2"
    a.cache.invalidate(["a"])
    assert await a.cache.get("a") == "2"
    await a.settled()
    assert await b.cache.get("a") == "2"
    for proxy in sharing.faults:
        if fault == "freeze":
            proxy.cut()
        proxy.heal()
    await becomes(lambda: a.caches.shared_is_up and b.caches.shared_is_up)
    for node in (a, b):
        node.cache.clear()
        assert await node.cache.get_many(["a", "b"]) == {"a": "2", "b": "1"}
    asked = len(truth.asked)
    b.cache.clear()
    assert await b.cache.get("a") == "2"
    assert len(truth.asked) == asked, "the shared cache is in use again"


async def test_a_node_that_alone_lost_the_shared_cache_has_the_others_delete_what_it_changes(sharing: World) -> None:
    truth = Truth(a="1")
    a, b = await sharing.pair(truth)
    assert (await a.cache.get("a"), await b.cache.get("a")) == ("1", "1")
    sharing.faults[0].cut(refuse=True)
    await a.writes(truth, "a", "2")
    await b.settled()
    assert await b.cache.get("a") == "2"
    b.cache.clear()
    assert await b.cache.get("a") == "2"


async def test_a_server_that_comes_back_with_old_data_is_not_believed(sharing: World) -> None:
    truth = Truth(a="old")
    a, b = await sharing.pair(truth)
    assert await a.cache.get("a") == "old"
    shared = a.caches.shared
    assert shared is not None
    (place,) = shared._places(["things:a"])
    (stored,) = await shared._server.get([place])
    assert stored is not None
    await b.writes(truth, "a", "new")
    for proxy in sharing.faults:
        proxy.cut(refuse=True)
    assert await a.cache.get("other") is None
    sharing.faults[0].heal()
    await becomes(lambda: a.caches.shared_is_up)
    # As a server does that was saved before the change, and started again from that.
    await shared._server.set(place, stored)
    sharing.faults[1].heal()
    for node in (a, b):
        node.cache.clear()
        assert await node.cache.get("a") == "new"


async def test_a_server_that_forgets_its_generation_is_empty(sharing: World) -> None:
    truth = Truth(a="1")
    a, b = await sharing.pair(truth)
    assert await a.cache.get("a") == "1"
    shared = a.caches.shared
    assert shared is not None
    await shared._server.delete([shared._generation_key])
    truth.rows["a"] = "2"
    assert await b.cache.get("a") == "2"
    a.cache.clear()
    assert await a.cache.get("a") == "2"


async def test_when_a_node_dies_nothing_that_was_shared_before_is_believed(sharing: World) -> None:
    truth = Truth(a="1")
    a, b = await sharing.pair(truth)
    assert (await a.cache.get("a"), await b.cache.get("a")) == ("1", "1")
    # It changed this and died before it could tell.
    truth.rows["a"] = "2"
    b.caches.distrust()
    assert await b.cache.get("a") == "2"
    await becomes(lambda: b.caches.shared_is_up)
    b.cache.clear()
    assert await b.cache.get("a") == "2"


async def test_a_node_that_dies_while_it_loads_holds_others_up_only_for_a_moment(sharing: World) -> None:
    truth = Truth(a="1")
    a, b = await sharing.pair(truth)
    assert a.caches.shared is not None
    (lease,) = await a.caches.shared.take(["things:a"])
    assert isinstance(lease, Lease)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await b.cache.get("a") == "1"
    assert loop.time() - began >= 0.9 * sum(WAIT_SECONDS)
    assert truth.asked == [["a"]]


async def test_what_cannot_be_read_is_loaded(sharing: World) -> None:
    truth = Truth(a="1")
    a, b = await sharing.pair(truth)
    assert b.caches.shared is not None
    (lease,) = await b.caches.shared.take(["things:a"])
    assert isinstance(lease, Lease)
    await b.caches.shared.put([(lease, b"\xff\xfe", 60)])
    assert await a.cache.get("a") == "1"


async def test_a_server_that_is_not_there_at_start_is_used_when_it_comes(sharing: World) -> None:
    truth = Truth(a="1")
    port = free_port()
    assert sharing.serve is not None
    async with FaultProxy(sharing.port) as proxy:
        proxy.refuses = True
        tasks = Tasks()
        shared = Shared(sharing.serve(proxy.port), tasks, f"test{port}")
        caches = Caches(tasks, CacheSettings(), shared=shared)
        cache = Cache("things", caches, truth.load, TERMS, len, Plain())
        await caches.start()
        assert await cache.get("a") == "1"
        assert not caches.shared_is_up
        proxy.heal()
        await becomes(lambda: caches.shared_is_up)
        await caches.stop()
        await tasks.stop()


# -- bounds


async def test_memory_is_bounded_by_entries_and_keeps_what_is_asked_for() -> None:
    memory: Memory[str, str] = Memory(len, entries_max=3, bytes_max=100_000)
    for key in "abc":
        memory.put(key, key, 10, 0)
    memory.look(["a"], 0)
    memory.put("d", "d", 10, 0)
    assert memory.look("abcd", 0) == ({"a": "a", "c": "c", "d": "d"}, ["b"])
    assert (len(memory), memory.evictions) == (3, 1)
    assert memory.look("ac", 10) == ({}, ["a", "c"])


async def test_memory_is_bounded_by_bytes_and_keeps_nothing_that_is_larger() -> None:
    memory: Memory[str, str] = Memory(len, entries_max=1_000, bytes_max=10_000)
    for number in range(100):
        memory.put(str(number), "x" * 1_000, 10, 0)
        assert memory.bytes <= 10_000
    assert len(memory) == 6
    memory.put("99", "x" * 20_000, 10, 0)
    assert memory.look(["99"], 0) == ({}, ["99"])
    memory.clear()
    assert memory.bytes == 0


async def test_who_holds_entries_learns_of_every_way_in_which_they_change() -> None:
    now = 0.0
    memory: Memory[str, str] = Memory(len, entries_max=3, bytes_max=100_000)

    def hold() -> Held[str]:
        memory.put("a", "1", 10, 0)
        memory.put("b", None, 10, 0)
        held = memory.hold("ab", lambda: now)
        assert held is not None and held.values == ["1"] and held.unchanged()
        return held

    assert memory.hold("a", lambda: now) is None
    for change in (
        lambda: memory.put("a", "1", 10, 0),
        lambda: memory.put("b", "2", 10, 0),
        lambda: memory.drop("b"),
        lambda: memory.renew("a"),
        memory.clear,
    ):
        held = hold()
        change()
        assert not held.unchanged()
    held = hold()
    memory.put("c", "3", 10, 0)
    memory.put("d", "4", 10, 0)
    # What is held and asked for gets a second round, as what is looked at does; then it goes.
    assert held.unchanged() and len(memory) == 3
    for key in "efghij":
        memory.put(key, key, 10, 0)
    assert not held.unchanged()
    held, now = hold(), 10.0
    assert not held.unchanged()


async def test_a_renewed_entry_is_still_there() -> None:
    memory: Memory[str, str] = Memory(len, entries_max=3, bytes_max=100_000)
    memory.put("a", "1", 10, 0)
    before = memory.bytes
    memory.renew("a")
    memory.renew("b")
    assert (memory.look("ab", 0), memory.bytes) == (({"a": "1"}, ["b"]), before)


async def test_what_nobody_asks_for_goes_when_its_time_is_over() -> None:
    memory: Memory[str, str] = Memory(len, entries_max=1_000, bytes_max=1_000_000)
    for number in range(100):
        memory.put(str(number), "x", number + 10, number)
    assert len(memory) == 10


async def test_times_to_live_differ_so_that_not_all_ends_at_once(world: World) -> None:
    keys = [f"key-{number}" for number in range(200)]
    truth = Truth(**dict.fromkeys(keys, "1"))
    node = await world.node(truth.load)
    await node.cache.get_many(keys)
    world.clock.advance(TERMS.seconds * 0.9)
    _, over = node.cache._memory.look(keys, world.clock.monotonic())
    assert 50 < len(over) < 150
    world.clock.advance(TERMS.seconds * 0.1)
    assert node.cache._memory.look(keys, world.clock.monotonic()) == ({}, keys)


async def test_what_a_cache_does_is_shown_in_the_metrics(world: World) -> None:
    truth = Truth(a="1")
    node = await world.node(truth.load)
    metrics = Metrics()
    node.caches.measure(metrics)
    await node.cache.get("a")
    await node.cache.get("a")
    text = metrics.render().decode()
    assert 'palestra_cache_total{cache="things",what="hits"} 1.0' in text
    assert 'palestra_cache_total{cache="things",what="loaded"} 1.0' in text
    assert f"palestra_cache_shared_up {float(world.shares)}" in text


async def test_two_caches_of_one_name_and_servers_that_are_none_are_refused() -> None:
    tasks = Tasks()
    caches = Caches(tasks, CacheSettings())
    truth = Truth()
    Cache("things", caches, truth.load, TERMS, len)
    with pytest.raises(ValueError, match="things"):
        Cache("things", caches, truth.load, TERMS, len)
    for text in ("", "host:port", ":11211"):
        with pytest.raises(SetupError, match="host:11211"):
            MemcachedCache([text])
