"""The servers of a bench run: PostgreSQL with databases for the node and for the floor, the bare callable, nodes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from palestra.cli.private_valkey import PrivateValkey
from palestra.database.embedded import EmbeddedPostgres

HERE = Path(__file__).resolve().parent
GAME = HERE / "game.py"
POPULATION = HERE / "population_game.py"
HOST = "127.0.0.1"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
FLOOR_ACCOUNTS = 10_000
FLOOR_TABLES = f"""
CREATE TABLE account (id int PRIMARY KEY, amount bigint NOT NULL);
CREATE TABLE transfer (id uuid PRIMARY KEY, source int NOT NULL, target int NOT NULL, amount bigint NOT NULL);
INSERT INTO account SELECT number, 0 FROM generate_series(1, {FLOOR_ACCOUNTS}) AS number;
"""
LOG_IN = "/v2/account/authenticate/device?create=true"
SERVER_KEY = "Basic ZGVmYXVsdGtleTo="


class Failed(Exception):
    """Something could not be run; the message says what and quotes the end of its output."""


@dataclass(frozen=True)
class Node:
    """A node that serves. `ready_seconds` is from its spawning until it said that it is ready."""

    port: int
    pid: int
    ready_seconds: float
    console_port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Postgres:
    """A server with two databases, each by its URL, and what it answers about durability."""

    pid: int
    node_url: str
    floor_url: str
    settings: dict[str, str]


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """The embedded PostgreSQL with the settings that every node gives it, with the floor's tables filled."""
    # Room for the clients of pgbench beside a node.
    server = EmbeddedPostgres(folder, extra_settings={"max_connections": "200"})
    try:
        url = asyncio.run(server.start())
        assert server.pid is not None
        node_url, floor_url = (url.replace("/postgres?", f"/{name}?") for name in ("node", "floor"))
        settings = asyncio.run(_prepare(url, floor_url))
        yield Postgres(server.pid, node_url, floor_url, settings)
    finally:
        asyncio.run(server.stop())


def database(postgres: Postgres, name: str) -> str:
    """One more database of the server; its URL."""
    asyncio.run(_create(postgres.node_url, name))
    return postgres.node_url.replace("/node?", f"/{name}?")


async def _create(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


@contextmanager
def valkey(folder: Path) -> Iterator[tuple[int, str]]:
    """The Valkey that `palestra run --workers` starts: its process and its URL."""
    server = PrivateValkey(folder)
    try:
        asyncio.run(server.start())
        assert server.pid is not None
        yield server.pid, server.url
    finally:
        asyncio.run(server.stop())


async def _prepare(url: str, floor_url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE DATABASE node")
        await connection.execute("CREATE DATABASE floor")
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        settings = {name: await connection.fetchval(f"SHOW {name}") for name in names}
    finally:
        await connection.close()
    connection = await asyncpg.connect(floor_url)
    try:
        await connection.execute(FLOOR_TABLES)
        await connection.execute("VACUUM ANALYZE account")
    finally:
        await connection.close()
    return settings


@contextmanager
def node(
    folder: Path,
    database_url: str = "",
    settings: Mapping[str, str] | None = None,
    game: Path = GAME,
    *,
    arguments: Sequence[str] = (),
    mortal: bool = False,
) -> Iterator[Node]:
    """A node as `palestra run` starts it, on a game of the bench; without a URL on its own embedded PostgreSQL.

    `settings` are further environment variables, `arguments` further ones of the command. One that is `mortal` may be
    killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ready_file = folder / "ready.json"
    ready_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "palestra", "run", str(game), "--data-dir", str(folder / "data")]
    command += ["--port", "0", "--console-port", "0", "--ready-file", str(ready_file)]
    if database_url:
        command += ["--database-url", database_url]
    command += arguments
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PALESTRA_")}
    environ |= {"PALESTRA_SESSION_TOKEN_SECONDS": "36000", **(settings or {})}
    started = time.perf_counter()
    log = folder / "node.log"
    with _running("the node", command, log, environ, mortal=mortal) as process:
        # Its last byte says that it is whole.
        _wait("the node", process, log, lambda: ready_file.exists() and ready_file.read_bytes().endswith(b"}"))
        seconds = time.perf_counter() - started
        ready = json.loads(ready_file.read_bytes())
        port = ready["port"]
        status, _ = call(port, "GET", "/ready")
        if status != 200:
            raise Failed(f"the node said that it is ready, and /ready answers {status}")
        yield Node(port, process.pid, seconds, ready["console_port"], process)


@contextmanager
def floor(folder: Path, script: str) -> Iterator[Node]:
    """A bare server: one of the floor scripts beside this file."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    log = folder / f"{script}.log"
    started = time.perf_counter()
    with _running(script, [sys.executable, str(HERE / script), str(port)], log, dict(os.environ)) as process:
        _wait(script, process, log, lambda: _answers(port))
        yield Node(port, process.pid, time.perf_counter() - started)


def call(
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    authorization: str = "",
    more: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        headers = {"Authorization": authorization} if authorization else {}
        connection.request(method, path, body, {**headers, **(more or {}), "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def log_in(port: int, players: int) -> list[str]:
    """The session tokens of `players` devices, which are made on first use."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    tokens = []
    try:
        for number in range(players):
            body = json.dumps({"id": f"bench-player-{number:06d}"})
            headers = {"Authorization": SERVER_KEY, "Content-Type": "application/json"}
            connection.request("POST", LOG_IN, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise Failed(f"log-in answered {answer.status}: {text[:200].decode(errors='replace')}")
            tokens.append(json.loads(text)["token"])
    finally:
        connection.close()
    return tokens


@contextmanager
def _running(
    name: str, command: list[str], log: Path, environ: dict[str, str], *, mortal: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ)
    try:
        yield process
        if process.poll() is not None and not mortal:
            raise Failed(f"{name} ended by itself, status {process.returncode}:\n{_tail(log)}")
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not ready():
        if process.poll() is not None:
            raise Failed(f"{name} did not start, status {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise Failed(f"{name} was not ready within {START_SECONDS_MAX:.0f} s:\n{_tail(log)}")
        time.sleep(0.002)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
