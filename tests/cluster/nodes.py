"""Nodes as processes of their own on one PostgreSQL and, where a URL is given, one Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiohttp

from palestra.core.ids import new_id
from palestra.database.sealed import KeyRing
from palestra.testing import Bot
from tests.cluster.namespaces import HERE, Place

SECONDS_MAX = 60
"""How long a node may take to get ready, or to end, on a busy machine."""
LOG_BYTES_SHOWN = 4_000
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PALESTRA_")}
GAME = '''
import asyncio
import os
from pathlib import Path
from palestra import Game

game = Game("many")
node = os.environ["NODE_OF_TEST"] or str(os.getpid())
told = Path(__file__).with_name("done")


@game.rpc
async def whose(ctx, seconds: float) -> dict[str, str]:
    """Which node answers, after so many seconds, and whose call it believes this is."""
    await asyncio.sleep(seconds)
    return {"node": node, "client_ip": ctx.client_ip}


@game.rpc
async def done(ctx, mark: str) -> str:
    """Note that this was done here."""
    with told.open("a") as file:
        file.write(mark + "\\n")
    return node
'''


class NodeProcess:
    """One `palestra run`: started, stopped and started again under the same name, on the same port."""

    def __init__(
        self,
        name: str,
        command: list[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        workers: int = 1,
        place: Place = HERE,
    ) -> None:
        self.name = name
        self.port = self.console_port = 0
        self._host = place.host
        self._command = [*place.before, *command, "--host", place.host]
        self.folder = folder
        self._environment = {**ENVIRONMENT, **environment, "NODE_OF_TEST": name if workers == 1 else ""}
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where players reach it."""
        return f"http://{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "start it first"
        return self._process.pid

    def descendants(self) -> list[int]:
        """The processes it has started, and those they have started."""
        found: list[int] = []
        waiting = [self.pid]
        while waiting:
            for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    children = [int(text) for text in task.read_text().split()]
                    found += children
                    waiting += children
        return found

    def workers(self) -> set[int]:
        """The processes of it that serve, where it was started with several."""
        return {pid for pid in self.descendants() if b"palestra.cli.supervised" in _command(pid)}

    @property
    def log(self) -> str:
        """The end of what it has written."""
        file = self.folder / "log"
        return file.read_text(errors="replace")[-LOG_BYTES_SHOWN:] if file.exists() else ""

    async def start(self) -> None:
        """Start it and wait until it serves."""
        self.folder.mkdir(exist_ok=True)
        self._ready_file.unlink(missing_ok=True)
        ports = ["--port", str(self.port), "--console-port", str(self.console_port)]
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *[*self._command, *ports, "--ready-file", str(self._ready_file)],
                cwd=self.folder,
                env=self._environment,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
            )
        async with asyncio.timeout(SECONDS_MAX):
            while not self._ready_file.exists():
                assert self._process.returncode is None, f"{self.name} ended at once:\n{self.log}"
                await asyncio.sleep(0.02)
        ready = json.loads(self._ready_file.read_text())
        self.port, self.console_port = ready["port"], ready["console_port"]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait for its end; its exit status."""
        assert self._process is not None, "start it first"
        async with asyncio.timeout(SECONDS_MAX):
            return await self._process.wait()

    async def stop(self) -> int:
        """End it in good order; its exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it at once, whatever it is doing; nothing happens when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def metrics(self) -> str:
        """What it tells those who scrape it."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://{self._host}:{self.console_port}/metrics") as answer,
        ):
            return await answer.text()

    @property
    def _ready_file(self) -> Path:
        return self.folder / "ready.json"


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@contextlib.asynccontextmanager
async def running_nodes(
    folder: Path,
    database_url: str,
    count: int = 3,
    *,
    game: str = GAME,
    redis_url: str = "",
    redis_urls: Sequence[str] = (),
    places: Sequence[Place] = (),
    settings: Mapping[str, object] | None = None,
) -> AsyncIterator[list[NodeProcess]]:
    """`count` nodes, named `node-1` and so on, that serve; all are gone afterwards.

    `redis_urls` gives each node its own way to the bus, `places` a network of its own. `settings` are keys such as
    `socket.proxy_count`. When the test fails, the ends of the nodes' logs are told with it.
    """
    (folder / "game.py").write_text(game)
    KeyRing.load_or_create(folder / "keyring.json")
    environment = _environment({"database.key_ring_file": folder / "keyring.json", **(settings or {})})
    nodes = []
    for number in range(1, count + 1):
        name = f"node-{number}"
        command = [sys.executable, "-m", "palestra", "run", str(folder / "game.py"), "--node", name]
        command += ["--database-url", database_url, "--data-dir", str(folder / name)]
        way = redis_urls[number - 1] if redis_urls else redis_url
        command += ["--redis-url", way] if way else []
        place = places[number - 1] if places else HERE
        nodes.append(NodeProcess(name, command, folder / name, environment, place=place))
    async with _told_and_ended(nodes):
        # The first one brings the tables up to date; the others then start beside each other.
        await nodes[0].start()
        await asyncio.gather(*[node.start() for node in nodes[1:]])
        yield nodes


@contextlib.asynccontextmanager
async def running_workers(
    folder: Path, *arguments: str, workers: int = 3, game: str = GAME, settings: Mapping[str, object] | None = None
) -> AsyncIterator[NodeProcess]:
    """One `palestra run --workers`, which serves; all of it is gone afterwards. Its game's `node` is a process id."""
    (folder / "game.py").write_text(game)
    command = [sys.executable, "-m", "palestra", "run", str(folder / "game.py"), "--workers", str(workers)]
    command += ["--data-dir", str(folder / "data"), *arguments]
    node = NodeProcess("palestra", command, folder, _environment(settings or {}), workers=workers)
    async with _told_and_ended([node]):
        await node.start()
        yield node


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"PALESTRA_{key.replace('.', '_').upper()}": str(value) for key, value in settings.items()}


@contextlib.asynccontextmanager
async def _told_and_ended(nodes: list[NodeProcess]) -> AsyncIterator[None]:
    """Whatever happens within, the nodes are gone afterwards; when it fails, their logs are told."""
    try:
        yield
    except BaseException as error:
        for node in nodes:
            error.add_note(f"--- {node.name}\n{node.log}")
        raise
    finally:
        await asyncio.gather(*[node.kill() for node in nodes])


@contextlib.asynccontextmanager
async def player(url: str, *, connector: aiohttp.BaseConnector | None = None) -> AsyncIterator[Bot]:
    """A new player who has logged in at this URL; give an own connector to choose TLS or the source address."""
    async with aiohttp.ClientSession(connector=connector) as http:
        bot = Bot(http, url, "defaultkey", f"device-{new_id()}")
        await bot.log_in()
        try:
            yield bot
        finally:
            await bot.leave()
