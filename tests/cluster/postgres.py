"""A PostgreSQL primary with streaming replicas, to be stopped, killed, silenced and promoted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg

from palestra.database.embedded import EmbeddedPostgres, binaries

SECONDS_MAX = 30
SETTINGS = {"fsync": "off", "max_connections": "200", "wal_retrieve_retry_interval": "100ms"}
"""Processes are killed here, never the machine: what was written to files stays."""


async def until_said(ask: Callable[[], Awaitable[object]], seconds: float = SECONDS_MAX) -> None:
    """Wait until somebody who is asked says so."""
    async with asyncio.timeout(seconds):
        while not await ask():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)


class Server:
    """One server and how to talk to it."""

    def __init__(self, folder: Path, name: str, **settings: str) -> None:
        self.folder = folder / name
        self.name = name
        self.postgres = EmbeddedPostgres(self.folder, extra_settings={**SETTINGS, **settings})
        self.url = ""

    @property
    def host(self) -> str:
        """The directory of its socket."""
        return parse_qs(urlsplit(self.url).query)["host"][0]

    async def start(self) -> None:
        self.url = await self.postgres.start()

    async def ask(self, sql: str, *args: Any) -> Any:
        """The first column of the first row of a statement."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(sql, *args)
        finally:
            await connection.close()

    def kill(self) -> None:
        """Let it die as it would with its machine, its sessions too."""
        self._signal(signal.SIGKILL)

    def silence(self) -> None:
        """Let it say nothing more, and not hang up either."""
        self._signal(signal.SIGSTOP)

    def let_speak(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.postgres.pid
        assert pid is not None, f"{self.name} does not run"
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, number)

    async def promote(self) -> None:
        """Make a replica a primary."""
        assert await self.ask("SELECT pg_promote(true, 20)"), f"{self.name} cannot be promoted"

    async def pause(self) -> None:
        """Apply nothing more for now."""
        await self.ask("SELECT pg_wal_replay_pause()")
        await until_said(lambda: self.ask("SELECT pg_get_wal_replay_pause_state() = 'paused'"))

    async def resume(self) -> None:
        await self.ask("SELECT pg_wal_replay_resume()")


class Replication:
    """A primary and its replicas."""

    def __init__(self, primary: Server, replicas: list[Server]) -> None:
        self.primary = primary
        self.replicas = replicas

    @property
    def servers(self) -> list[Server]:
        return [self.primary, *self.replicas]

    @property
    def url(self) -> str:
        """One URL that names all of them."""
        hosts = ",".join(server.host for server in self.servers)
        return f"postgresql://palestra@/postgres?host={quote(hosts, safe='')}"

    async def fullest(self) -> Server:
        """The replica that has received most, which is the one to promote."""
        found = [await one.ask("SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn") for one in self.replicas]
        return self.replicas[found.index(max(found))]


@contextlib.asynccontextmanager
async def replication(folder: Path, replicas: int = 2, **settings: str) -> AsyncIterator[Replication]:
    """A primary and replicas that stream from it, each in a folder of its own; `settings` are the primary's."""
    primary = Server(folder, "primary", **settings)
    found = Replication(primary, [])
    try:
        await primary.start()
        for number in range(1, replicas + 1):
            await add_replica(found, folder, f"replica{number}")
        yield found
    finally:
        for server in found.servers:
            await server.postgres.stop()


async def add_replica(found: Replication, folder: Path, name: str) -> Server:
    """Copy the primary and have the copy follow it."""
    primary = found.primary
    server = Server(folder, name, primary_conninfo=f"host={primary.host} user=palestra application_name={name}")
    server.folder.mkdir(mode=0o711)
    copying = await asyncio.create_subprocess_exec(
        *(str(binaries() / "pg_basebackup"), "--host", primary.host, "--username", "palestra"),
        *("--pgdata", str(server.folder / "pg"), "--checkpoint", "fast", "--wal-method", "stream", "--no-sync"),
    )
    async with asyncio.timeout(SECONDS_MAX):
        assert await copying.wait() == 0
    (server.folder / "pg" / "standby.signal").touch()
    await server.start()
    found.replicas.append(server)
    return server
