"""A database, two nodes that use it, clients that ask until they are answered, and someone who kills the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from palestra.core.errors import Code
from palestra.core.ids import new_id
from palestra.database.embedded import EmbeddedPostgres
from palestra.database.pool import Database

GAME = Path(__file__).with_name("bank.py")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PALESTRA_")}
AGAIN = {429, 503, 504}
PAUSE_SECONDS = 0.02
ANSWER_SECONDS_MAX = 60


class Node:
    """A `palestra run` that is started again whenever it is gone."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._ready_file = folder / "ready.json"
        self._arguments = [sys.executable, "-m", "palestra", "run", str(GAME), "--port", "0", "--console-port", "0"]
        self._arguments += ["--database-url", url, "--ready-file", str(self._ready_file)]
        self._arguments += ["--data-dir", str(folder.parent / "keys")]
        self._process: asyncio.subprocess.Process | None = None
        self._ends = False
        self.starts = 0

    @property
    def port(self) -> int | None:
        """Where it serves, None while it does not."""
        try:
            ready = json.loads(self._ready_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return ready["port"] if self._process is not None and ready["pid"] == self._process.pid else None

    async def run(self) -> None:
        """Keep it running until it is cancelled, then end it."""
        try:
            while True:
                self._ready_file.unlink(missing_ok=True)
                with (self._folder / "log").open("ab") as log:
                    self._process = await asyncio.create_subprocess_exec(
                        *self._arguments, cwd=self._folder, env=ENVIRONMENT, stdout=log, stderr=log
                    )
                self.starts += 1
                await self._process.wait()
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def serving(self) -> int:
        """Its port, once it serves."""
        while (port := self.port) is None:  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_SECONDS)
        return port

    def kill(self) -> None:
        """SIGKILL it."""
        assert self._process is not None
        self._process.kill()

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


@dataclass
class Answered:
    """An order that was carried out, and what was answered."""

    function: str
    order: dict[str, Any]
    told: Any


@dataclass
class Bank:
    """Everything that runs, and what its clients wrote down."""

    folder: Path
    seed: int
    acknowledged: dict[str, Answered] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    retries: int = 0
    kills: list[str] = field(default_factory=list)
    players: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._choose = random.Random(self.seed)
        # Everything that was acknowledged is on disk: fsync and synchronous_commit are on by default.
        self._server = EmbeddedPostgres(self.folder / "server", extra_settings={"shared_buffers": "16MB"})
        self._going = True

    async def crash(self, kills: int, clients: int) -> Database:
        """Have clients order while so many processes are killed; the database once all have been answered."""
        url = await self._server.start()
        database = Database(url)
        self.nodes = [Node(self.folder / name, url) for name in ("a", "b")]
        running = [asyncio.create_task(self.nodes[0].run())]
        try:
            async with asyncio.timeout(120 + kills * 15), aiohttp.ClientSession() as http:
                # The first makes the tables and the keys that both read.
                await self.nodes[0].serving()
                running.append(asyncio.create_task(self.nodes[1].run()))
                await self._enrol(database)
                async with asyncio.TaskGroup() as group:
                    for n in range(clients):
                        group.create_task(self._client(http, random.Random(f"{self.seed} {n}")))
                    for n in range(kills):
                        await self._kill(n)
                    await self._progress(20)
                    self._going = False
                await self._ask_all_again(http)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return database

    async def stop(self) -> None:
        await self._server.stop()

    async def _enrol(self, database: Database) -> None:
        await database.open()
        for _ in range(6):
            self.players.append(new_id())
            sql = "INSERT INTO users (id, username) VALUES ($1, $2)"
            await database.execute(sql, self.players[-1], self.players[-1])

    # -- killing

    async def _kill(self, n: int) -> None:
        await self._progress(self._choose.randint(1, 40))
        await asyncio.sleep(self._choose.uniform(0, 0.3))
        if n % 2:
            while not (serving := [node for node in self.nodes if node.port is not None]):  # noqa: ASYNC110
                await asyncio.sleep(PAUSE_SECONDS)
            self._choose.choice(serving).kill()
            self.kills.append("node")
            return
        pid = self._server.pid
        assert pid is not None
        children = _children(pid)
        os.kill(pid, signal.SIGKILL)
        # Half of the time its sessions may finish their statements, half of the time they may not either.
        for child in children if self._choose.random() < 0.5 else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.kills.append("server")
        while self._server.pid is not None:  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_SECONDS)
        await self._server.start()

    async def _progress(self, answers: int) -> None:
        """Until so many more orders were answered."""
        wanted = len(self.acknowledged) + answers
        while len(self.acknowledged) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_SECONDS)

    # -- clients

    async def _client(self, http: aiohttp.ClientSession, choose: random.Random) -> None:
        holds: list[tuple[str, int]] = []
        while self._going:
            source, target = choose.sample(self.players, 2)
            order: dict[str, Any] = {"key": f"{choose.random()}", "source": source, "target": target}
            function = choose.choice(["change", "transfer", "transfer", "hold", "end"])
            order["amount"] = choose.randint(1, 30)
            if function == "change":
                order["amount"] = choose.choice([-20, -5, 15, 15])
            elif function == "end":
                if not holds:
                    continue
                hold, held = holds.pop()
                order |= {"hold": hold, "amount": choose.choice([0, held, 1])}
            told = await self._until_answered(http, choose, function, order)
            if function == "hold" and told is not None:
                holds.append((told, order["amount"]))

    async def _until_answered(
        self, http: aiohttp.ClientSession, choose: random.Random, function: str, order: dict[str, Any]
    ) -> Any:
        """What was told of an order, None if it was refused; asked again and again with the same key."""
        while True:
            status, body = await self._ask(http, choose.choice(self.nodes), function, order)
            if status == 200:
                self.acknowledged[order["key"]] = Answered(function, order, body["told"])
                return body["told"]
            if status not in AGAIN and status != 0:
                # Only too little money may stand in the way of what clients order.
                assert (status, body["code"]) == (400, Code.FAILED_PRECONDITION), (function, order, status, body)
                assert "available" in body["message"], (function, order, body)
                self.refused.add(order["key"])
                return None
            self.retries += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(
        self, http: aiohttp.ClientSession, node: Node, function: str, order: dict[str, Any]
    ) -> tuple[int, Any]:
        """(status, body) of one request; status 0 when there was no answer."""
        port = node.port
        if port is None:
            return 0, None
        url = f"http://127.0.0.1:{port}/v2/rpc/{function}?http_key=defaulthttpkey&unwrap"
        timeout = aiohttp.ClientTimeout(ANSWER_SECONDS_MAX)
        try:
            async with http.post(url, data=msgspec.json.encode(order), timeout=timeout) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, None

    async def _ask_all_again(self, http: aiohttp.ClientSession) -> None:
        """Every order that was carried out is answered as it was, by whichever node."""
        choose = random.Random(self.seed)
        for answered in list(self.acknowledged.values()):
            again = await self._until_answered(http, choose, answered.function, answered.order)
            assert again == answered.told, answered


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, task.read_text().split())
    return found
