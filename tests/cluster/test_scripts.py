"""Scripts on one Valkey: what they answer, what is refused, forgotten, cut off or kept waiting for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from redis.exceptions import RedisClusterException

from palestra.cluster import scripts as scripts_module
from palestra.cluster.script_servers import Call, Refused, ServerCluster, open_servers
from palestra.cluster.scripts import Scripts
from palestra.core.errors import Unavailable
from palestra.core.tasks import Tasks
from tests.cluster.proxy import FaultProxy
from tests.cluster.servers import free_port, running, valkey_command
from tests.waiting import until

SCRIPT = """
if ARGV[1] == 'count' then return {redis.call('INCR', KEYS[1]), 'done'} end
if ARGV[1] == 'echo' then return ARGV[2] end
return redis.error_reply('ERR unknown: ' .. ARGV[1])
"""


@dataclass
class World:
    """A server behind a proxy, and who runs scripts there."""

    scripts: Scripts
    proxy: FaultProxy
    port: int

    async def ask(self, *command: Any) -> Any:
        """Say something to the server, past the proxy."""
        async with redis.asyncio.Redis(port=self.port) as client:
            return await client.execute_command(*command)


@pytest_asyncio.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(scripts_module, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(scripts_module, "LOOK_SECONDS", 30.0)
    port, tasks = free_port(), Tasks()
    async with running(valkey_command(port), port), FaultProxy(port) as proxy:
        scripts = Scripts(f"redis://127.0.0.1:{proxy.port}", SCRIPT, tasks)
        await scripts.start()
        assert scripts.up
        yield World(scripts, proxy, port)
        await scripts.stop()
        await tasks.stop()


def count(key: str = "{a}") -> Call:
    return Call((key,), ("count",))


async def test_calls_are_answered_in_their_order_whoever_else_asks(world: World) -> None:
    several = await asyncio.gather(*(world.scripts.run([count(), Call((), ("echo", b"%d" % n))]) for n in range(50)))
    assert [answers[1] for answers in several] == [b"%d" % n for n in range(50)]
    assert [answers[0] for answers in several] == [[n, b"done"] for n in range(1, 51)]


async def test_a_long_argument_comes_back_whole(world: World) -> None:
    text = bytes(range(256)) * 20_000
    assert await world.scripts.run([Call((), ("echo", text)), count()]) == [text, [1, b"done"]]


async def test_a_refusal_is_the_answer_to_its_call_and_to_no_other(world: World) -> None:
    first, refused, last = await world.scripts.run([count(), Call((), ("nonsense",)), count()])
    assert (first, last) == ([1, b"done"], [2, b"done"])
    assert isinstance(refused, Refused)
    assert "unknown: nonsense" in str(refused)
    assert world.scripts.up


async def test_a_server_that_forgot_the_script_is_told_it_again(world: World) -> None:
    await world.ask("SCRIPT", "FLUSH")
    assert await world.scripts.run([count()]) == [[1, b"done"]]


async def test_a_server_that_has_not_read_its_data_yet_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # It says so in the word a refusal begins with.
    monkeypatch.setattr("palestra.cluster.script_servers.AWAY", ("ERR unknown",))
    with pytest.raises(Unavailable):
        await world.scripts.run([Call((), ("nonsense",))])


async def test_whoever_waits_when_the_connection_is_cut_is_told_and_the_next_is_answered(world: World) -> None:
    world.proxy.freeze()
    asked = asyncio.ensure_future(world.scripts.run([count()]))
    await asyncio.sleep(0)
    world.proxy.cut()
    with pytest.raises(Unavailable):
        await asked
    assert not world.scripts.up
    world.proxy.heal()
    await until(lambda: world.scripts.up)
    assert await world.scripts.run([Call((), ("echo", "back"))]) == [b"back"]


async def test_while_it_connects_anew_the_server_is_not_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    connecting, gate = asyncio.Event(), asyncio.Event()

    async def open_late(*arguments: Any) -> Any:
        connecting.set()
        await gate.wait()
        return await open_servers(*arguments)

    monkeypatch.setattr(scripts_module, "open_servers", open_late)
    servers = world.scripts._servers
    assert servers is not None
    # Nobody asks anything meanwhile, so the end of the connection is noticed by looking.
    world.proxy.cut()
    await until(lambda: servers.lost)
    looking = asyncio.create_task(world.scripts.look())
    await connecting.wait()
    assert not world.scripts.up
    with pytest.raises(Unavailable):
        await world.scripts.run([count()])
    gate.set()
    await looking
    assert world.scripts.up
    assert await world.scripts.run([count()]) == [[1, b"done"]]


async def test_a_server_that_falls_silent_is_given_up_and_all_who_wait_are_told(world: World) -> None:
    world.proxy.freeze()
    answers = await asyncio.gather(*(world.scripts.run([count()]) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    with pytest.raises(Unavailable):
        await world.scripts.run([count()])
    world.proxy.cut()
    world.proxy.heal()
    await until(lambda: world.scripts.up)


async def test_whoever_stops_waiting_does_not_get_in_the_way_of_the_others(world: World) -> None:
    leaves = asyncio.ensure_future(world.scripts.run([Call((), ("echo", "nobody"))]))
    stays = asyncio.ensure_future(world.scripts.run([Call((), ("echo", "somebody"))]))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == [b"somebody"]


async def test_a_password_and_a_database_are_those_of_the_url() -> None:
    port, tasks = free_port(), Tasks()
    async with running(valkey_command(port, "--requirepass", "secret words"), port):
        scripts = Scripts(f"valkey://:secret%20words@127.0.0.1:{port}/3", SCRIPT, tasks)
        await scripts.start()
        assert await scripts.run([count()]) == [[1, b"done"]]
        async with redis.asyncio.Redis(port=port, password="secret words", db=3) as client:
            assert await client.get("{a}") == b"1"
        wrong = Scripts(f"redis://:wrong@127.0.0.1:{port}", SCRIPT, tasks)
        await wrong.start()
        assert not wrong.up
        await scripts.stop()
        await wrong.stop()
        await tasks.stop()


class Gone:
    """A client of a cluster that cannot be reached at all: its error is of no other's kind."""

    def get_primaries(self) -> list[Any]:
        raise RedisClusterException("cannot be connected")

    def get_node_from_key(self, key: str) -> Any:
        raise RedisClusterException("no slots are known")

    async def script_load(self, script: str) -> None:
        raise RedisClusterException("cannot be connected")

    async def aclose(self) -> None:
        raise RedisClusterException("cannot be connected")


async def test_a_cluster_that_cannot_be_reached_at_all_is_away_like_any_other() -> None:
    servers = ServerCluster(Gone(), 1.0)
    for asking in (servers.load(SCRIPT), servers.lives()):
        with pytest.raises(OSError, match="cannot be connected"):
            await asking
    assert servers.server_of("{a}") == ""
    await servers.close()


async def test_an_error_that_nobody_foresaw_does_not_end_the_looking(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_servers, failures = scripts_module.open_servers, iter([RuntimeError("a bug")])

    async def unsound(url: str, seconds: float) -> Any:
        for failure in failures:
            raise failure
        return await open_servers(url, seconds)

    monkeypatch.setattr(scripts_module, "open_servers", unsound)
    world.proxy.cut()
    with pytest.raises(Unavailable):
        await world.scripts.run([count()])
    await until(lambda: "looking for Valkey failed" in capsys.readouterr().out)
    await until(lambda: world.scripts.up)
    assert await world.scripts.run([count()]) == [[1, b"done"]]
