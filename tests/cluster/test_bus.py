"""The bus over all that can carry it: what arrives, in which order, and what is noticed when the broker fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
import redis.asyncio

from palestra.cluster.bus import LONG_BYTES_MAX, MESSAGE_BYTES_MAX, Bus, Transport, Unreachable
from palestra.cluster.buses import nats as nats_bus
from palestra.cluster.buses import valkey as valkey_bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.cluster.buses.nats import NatsTransport
from palestra.cluster.buses.valkey import ValkeyTransport
from palestra.cluster.cluster import build_cluster
from palestra.core.config import Settings
from palestra.core.errors import SetupError, Unavailable
from palestra.core.tasks import Tasks
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, nats_command, running, valkey_command

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS_MAX = 20
BROKERS = ("local", "valkey", "nats")
REAL_BROKERS = BROKERS[1:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports() -> AsyncIterator[dict[str, int]]:
    """A Valkey and a NATS server."""
    valkey, nats = free_port(), free_port()
    async with running(valkey_command(valkey), valkey), running(nats_command(nats), nats):
        yield {"valkey": valkey, "nats": nats}


@dataclass
class World:
    """Nodes on a broker, which a proxy stands before."""

    carry: Callable[[], Transport]
    proxy: FaultProxy | None = None
    tasks: Tasks = field(default_factory=Tasks)
    buses: list[Bus] = field(default_factory=list)

    async def node(self, name: str, epoch: int = 1) -> Bus:
        """A node's end of the bus."""
        bus = Bus(name, epoch, self.carry(), self.tasks)
        self.buses.append(bus)
        await bus.start()
        return bus

    @property
    def fault(self) -> FaultProxy:
        """What can be made to behave badly."""
        assert self.proxy is not None
        return self.proxy


@contextlib.asynccontextmanager
async def world_of(kind: str, ports: dict[str, int]) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        if kind == "local":
            broker = LocalBroker()
            world = World(lambda: LocalTransport(broker))
        else:
            proxy = await stack.enter_async_context(FaultProxy(ports[kind]))
            prefix = f"test{free_port()}"
            if kind == "valkey":
                world = World(lambda: ValkeyTransport(f"redis://127.0.0.1:{proxy.port}", prefix), proxy)
            else:
                world = World(lambda: NatsTransport(f"nats://127.0.0.1:{proxy.port}", prefix), proxy)
        try:
            yield world
        finally:
            for bus in world.buses:
                await bus.stop()
            await world.tasks.stop()


@pytest_asyncio.fixture(params=BROKERS, loop_scope="module")
async def world(request: pytest.FixtureRequest, ports: dict[str, int]) -> AsyncIterator[World]:
    """Each of the brokers."""
    async with world_of(request.param, ports) as made:
        yield made


@pytest_asyncio.fixture(params=REAL_BROKERS, loop_scope="module")
async def broken(
    request: pytest.FixtureRequest, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """Each of the brokers that can be lost, watched closely."""
    monkeypatch.setattr(valkey_bus, "LIVELY_SECONDS", 0.05)
    monkeypatch.setattr(valkey_bus, "DEAD_SECONDS", 0.4)
    monkeypatch.setattr(nats_bus, "PING_SECONDS", 0.1)
    monkeypatch.setattr(nats_bus, "RECONNECT_SECONDS", 0.05)
    async with world_of(request.param, ports) as made:
        yield made


class Inbox:
    """What a node has heard under a topic."""

    def __init__(self, bus: Bus, topic: str = "news") -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._came = asyncio.Event()
        bus.on(topic, self._note)

    def _note(self, sender: str, payload: bytes) -> None:
        self.messages.append((sender, payload))
        self._came.set()

    async def until(self, count: int) -> list[tuple[str, bytes]]:
        async with asyncio.timeout(SECONDS_MAX):
            while len(self.messages) < count:
                self._came.clear()
                await self._came.wait()
        return self.messages


async def becomes(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - of things that tell nobody
            await asyncio.sleep(0.005)


async def test_messages_arrive_in_the_order_of_sending_and_share_packets(world: World) -> None:
    a, b, c = await world.node("a"), await world.node("b"), await world.node("c.with.dots")
    at_b, at_c, at_a = Inbox(b), Inbox(c), Inbox(a)
    sent = []
    for number in range(2_000):
        text = b"%d" % number
        a.send("b", "news", text)
        sent.append(("a", text))
        if number % 100 == 0:
            await asyncio.sleep(0)
    assert await at_b.until(2_000) == sent
    assert a.packets_sent < 100
    a.broadcast("news", b"all")
    assert await at_c.until(1) == [("a", b"all")]
    assert (await at_b.until(2_001))[-1] == ("a", b"all")
    a.send("a", "news", b"to myself")
    assert await at_a.until(1) == [("a", b"to myself")]
    assert (b.gaps, c.gaps) == (0, 0)


async def test_a_message_alone_goes_at_once_and_what_follows_soon_goes_together(broken: World) -> None:
    a, b = await broken.node("a"), await broken.node("b")
    at_b = Inbox(b)
    a._gather_seconds = 0.2
    a.send("b", "news", b"0")
    await asyncio.sleep(0)
    assert a.packets_sent == 1
    for number in range(1, 6):
        a.send("b", "news", b"%d" % number)
        await asyncio.sleep(0)
    assert await at_b.until(6) == [("a", b"%d" % number) for number in range(6)]
    assert a.packets_sent == 2


async def test_what_was_sent_before_a_stop_arrives(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    at_b = Inbox(b)
    for number in range(300):
        a.send("b", "news", b"%d" % number + b"x" * 5_000)
        if number % 7 == 0:
            await asyncio.sleep(0)
    await a.stop()
    assert len(await at_b.until(300)) == 300
    assert b.gaps == 0


async def test_large_messages_go_through_and_too_large_ones_are_refused_at_once(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    at_b = Inbox(b)
    for size in (200_000, 200_000, MESSAGE_BYTES_MAX):
        a.send("b", "news", b"x" * size)
    assert [len(payload) for _, payload in await at_b.until(3)] == [200_000, 200_000, MESSAGE_BYTES_MAX]
    with pytest.raises(ValueError, match="too long"):
        a.send("b", "news", b"x" * (LONG_BYTES_MAX + 1))


async def test_messages_longer_than_a_packet_may_be_arrive_whole_and_in_order(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    at_b = Inbox(b)
    long = b"begin" + bytes(3 * MESSAGE_BYTES_MAX) + b"end"

    async def echo(sender: str, payload: bytes) -> bytes:
        return payload

    a.answer("echo", echo)
    b.answer("echo", echo)
    a.send("b", "news", b"before")
    a.send("b", "news", long)
    a.broadcast("news", long)
    a.send("b", "news", b"after")
    assert await at_b.until(4) == [("a", b"before"), ("a", long), ("a", long), ("a", b"after")]
    assert await a.ask("b", "echo", long) == long
    assert await a.ask("a", "echo", long) == long
    assert b.gaps == 0


async def test_of_a_long_message_that_is_lost_in_part_nothing_arrives() -> None:
    broker, tasks = LocalBroker(), Tasks()
    line = LocalTransport(broker)
    a, b = Bus("a", 1, line, tasks), Bus("b", 1, LocalTransport(broker), tasks)
    carry = line.publish
    for lost in (2, 3, 4, 5):
        at_b = Inbox(b)
        if not a.up:
            await a.start()
            await b.start()
        count = 0

        def publish(to: str, packet: bytes, lost: int = lost) -> bool:
            nonlocal count
            count += 1
            return count == lost or carry(to, packet)

        line.publish = publish  # type: ignore[method-assign]
        a.send("b", "news", b"before")
        a.send("b", "news", bytes(3 * MESSAGE_BYTES_MAX))
        await asyncio.sleep(0)
        a.send("b", "news", b"after")
        a.send("b", "news", b"later")
        assert [text for _, text in await at_b.until(2)][-1] == b"later"
        assert max(len(text) for _, text in at_b.messages) < 10
        assert b.gaps


async def test_whoever_fails_to_finish_what_was_gathered_ends_nothing_else() -> None:
    broker, tasks = LocalBroker(), Tasks()
    a, b = (Bus(name, 1, LocalTransport(broker), tasks) for name in "ab")
    await a.start()
    await b.start()
    at_b = Inbox(b)

    def fail() -> None:
        raise ValueError("it cannot be written")

    a.send("b", "news", b"1")
    a.gather(fail)
    await at_b.until(1)
    a.gather(fail)
    a.send("b", "news", b"2")
    assert [text for _, text in await at_b.until(2)] == [b"1", b"2"]


async def test_platforms_in_different_databases_of_one_valkey_do_not_hear_of_each_other(ports: dict[str, int]) -> None:
    tasks = Tasks()
    url = f"redis://127.0.0.1:{ports['valkey']}"
    one, same, other = (
        Bus(name, 1, ValkeyTransport(f"{url}/{number}", "test"), tasks)
        for name, number in (("a", 1), ("b", 1), ("c", 2))
    )
    try:
        for bus in (one, same, other):
            await bus.start()
        at_same, at_other = Inbox(same), Inbox(other)
        for bus in (one, other):
            bus.broadcast("news", bus.node.encode())
        one.send("c", "news", b"not for you")
        assert await at_same.until(1) == [("a", b"a")]
        other.send("c", "news", b"to myself")
        assert await at_other.until(1) == [("c", b"to myself")]
        assert at_same.messages == [("a", b"a")]
    finally:
        for bus in (one, same, other):
            await bus.stop()


async def test_questions_are_answered_by_those_who_are_asked(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")

    async def double(sender: str, payload: bytes) -> bytes:
        if payload == b"no":
            raise Unavailable("not today")
        if payload == b"bug":
            raise RuntimeError("oops")
        return sender.encode() + payload * 2

    b.answer("double", double)
    assert await asyncio.gather(*(a.ask("b", "double", b"%d" % n) for n in range(50))) == [
        b"a%d%d" % (n, n) for n in range(50)
    ]
    for payload, text in ((b"no", "not today"), (b"bug", "failed to answer")):
        with pytest.raises(Unavailable, match=text):
            await a.ask("b", "double", payload)
    with pytest.raises(Unavailable, match="does not know of triple"):
        await a.ask("b", "triple", b"")
    a.answer("double", double)
    assert await a.ask("a", "double", b"1") == b"a11"


async def test_a_question_without_an_answer_fails_at_its_deadline_or_when_the_node_is_given_up(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")

    async def never(sender: str, payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    b.answer("never", never)
    with pytest.raises(Unreachable, match="Node b cannot be reached"):
        await a.ask("b", "never", b"", seconds=0.05)
    with pytest.raises(Unreachable):
        await a.ask("nobody", "never", b"", seconds=0.05)
    asked = asyncio.ensure_future(a.ask("b", "never", b""))
    await asyncio.sleep(0)
    a.forget("b")
    with pytest.raises(Unreachable):
        await asked


async def test_what_is_for_all_and_what_is_for_one_arrive_in_the_order_of_sending(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    at_b = Inbox(b)
    for number in range(200):
        if number % 3:
            a.send("b", "news", b"%d" % number)
        else:
            a.broadcast("news", b"%d" % number)
        if number % 10 == 0:
            await asyncio.sleep(0)
    assert [int(payload) for _, payload in await at_b.until(200)] == list(range(200))


async def test_a_node_that_fails_on_a_message_hears_the_next(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")

    def fails(sender: str, payload: bytes) -> None:
        raise RuntimeError("oops")

    b.on("bad", fails)
    at_b = Inbox(b)
    a.send("b", "bad", b"")
    a.send("b", "unknown", b"")
    a.send("b", "news", b"good")
    assert await at_b.until(1) == [("a", b"good")]


async def test_a_node_that_is_started_anew_is_noticed_and_its_former_life_is_not_believed(world: World) -> None:
    a, b = await world.node("a", epoch=1), await world.node("b")
    at_b, gaps = Inbox(b), list[str]()
    b.on_gap(gaps.append)
    a.send("b", "news", b"first life")
    await at_b.until(1)
    again = await world.node("a", epoch=2)
    again.send("b", "news", b"second life")
    await at_b.until(2)
    assert gaps == ["a"]
    a.send("b", "news", b"from the grave")
    again.send("b", "news", b"alive")
    assert (await at_b.until(3))[-1] == ("a", b"alive")
    await becomes(lambda: b.stale == 1)
    assert len(at_b.messages) == 3


async def test_a_broker_that_is_lost_is_noticed_and_when_it_is_back_the_gap_is_told(broken: World) -> None:
    a, b = await broken.node("a"), await broken.node("b")
    at_b, gaps, changes = Inbox(b), list[str](), list[bool]()
    b.on_gap(gaps.append)
    a.on_change(changes.append)
    a.send("b", "news", b"before")
    await at_b.until(1)
    broken.fault.cut(refuse=True)
    await becomes(lambda: not a.up and not b.up)
    with pytest.raises(Unreachable):
        await a.ask("b", "anything", b"")
    a.send("b", "news", b"into the void")
    await asyncio.sleep(0)
    assert a.packets_lost == 1
    broken.fault.heal()
    await becomes(lambda: a.up and b.up)
    assert changes == [False, True]
    a.send("b", "news", b"after")
    assert await at_b.until(2) == [("a", b"before"), ("a", b"after")]
    assert gaps == ["a"]


# The NATS client leaves connections open that were accepted and never greeted.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_that_hangs_is_given_up_and_found_again(broken: World) -> None:
    a, b = await broken.node("a"), await broken.node("b")
    at_b = Inbox(b)
    broken.fault.freeze()
    await becomes(lambda: not a.up and not b.up)
    broken.fault.cut()
    broken.fault.heal()
    await becomes(lambda: a.up and b.up)
    a.send("b", "news", b"after")
    await at_b.until(1)


async def test_delay_keeps_the_order(broken: World) -> None:
    a, b = await broken.node("a"), await broken.node("b")
    at_b = Inbox(b)
    broken.fault.delay_seconds = 0.01
    for number in range(20):
        a.send("b", "news", b"%d" % number)
        await asyncio.sleep(0)
    assert [payload for _, payload in await at_b.until(20)] == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("kind", REAL_BROKERS)
async def test_a_broker_that_is_not_there_at_start_is_an_error_that_names_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_bus, "DEAD_SECONDS", 0.3)
    port = free_port()
    transport = (
        ValkeyTransport(f"redis://127.0.0.1:{port}") if kind == "valkey" else NatsTransport(f"nats://127.0.0.1:{port}")
    )
    with pytest.raises(Unavailable, match="cannot be used"):
        await Bus("a", 1, transport, Tasks()).start()


async def test_valkey_is_entered_with_its_password_and_one_that_is_wrong_is_told_at_start() -> None:
    port = free_port()
    async with running(valkey_command(port, "--requirepass", "secret words"), port):
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        a, b = (Bus(name, 1, ValkeyTransport(f"redis://:secret%20words@127.0.0.1:{port}"), Tasks()) for name in "ab")
        b.on("word", lambda sender, payload: heard.set_result(payload))
        await a.start()
        await b.start()
        a.send("b", "word", b"hello")
        async with asyncio.timeout(SECONDS_MAX):
            assert await heard == b"hello"
        await a.stop()
        await b.stop()
        with pytest.raises(Unavailable, match="WRONGPASS"):
            await Bus("c", 1, ValkeyTransport(f"redis://:wrong@127.0.0.1:{port}"), Tasks()).start()


@pytest.mark.parametrize(("user", "answers"), [("", 0), ("plain:word@", 200)])
async def test_what_is_published_is_not_answered_where_the_server_allows_that(
    ports: dict[str, int], user: str, answers: int
) -> None:
    async with redis.asyncio.Redis(port=ports["valkey"]) as admin:
        await admin.execute_command("ACL SETUSER plain on >word &* ~* +@all -client|reply")

        async def written() -> int:
            """How many bytes the server has written in all, before it answers this."""
            return (await admin.info("stats"))["total_net_output_bytes"]

        transport = ValkeyTransport(f"redis://{user}127.0.0.1:{ports['valkey']}", f"test{free_port()}")
        transport.gather_seconds = 0.0
        bus = Bus("a", 1, transport, Tasks())
        await bus.start()
        looking = -await written() + await written()
        before = await written()
        for _ in range(200):
            bus.send("nobody", "news", b"")
            await asyncio.sleep(0)
        # When it has stopped, all has been taken.
        await bus.stop()
        bytes_of_answers = await written() - before - looking
        assert bus.packets_sent == 200
        assert abs(bytes_of_answers - answers * len(b":0\r\n")) < 100


async def test_a_connection_whose_answers_are_left_out_shows_that_it_lives(
    ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey_bus, "LIVELY_SECONDS", 0.02)
    monkeypatch.setattr(valkey_bus, "DEAD_SECONDS", 0.1)
    changes = list[bool]()
    async with redis.asyncio.Redis(port=ports["valkey"]) as admin:
        bus = Bus("a", 1, ValkeyTransport(f"redis://127.0.0.1:{ports['valkey']}", f"test{free_port()}"), Tasks())
        bus.on_change(changes.append)
        await bus.start()
        asked = (await admin.info("commandstats"))["cmdstat_ping"]["calls"]
        async with asyncio.timeout(SECONDS_MAX):
            # Nobody says anything meanwhile, for far longer than it may be silent.
            while (await admin.info("commandstats"))["cmdstat_ping"]["calls"] < asked + 20:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await bus.stop()
    assert changes == [True, False]


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "nats://127.0.0.1:4222", "redis://127.0.0.1:63x79", "http://[::1"])
async def test_a_url_that_leads_to_no_server_is_an_error_that_says_what_it_has_to_be(url: str) -> None:
    with pytest.raises(SetupError, match=r"redis_url has to be a URL such as redis://"):
        build_cluster(Settings(redis_url=url))
