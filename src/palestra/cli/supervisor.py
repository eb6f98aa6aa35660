"""`palestra run --workers N`: processes that share one port, kept alive, replaced one by one, and ended together.

One listening socket is inherited by all. What the system has accepted on it waits there for whoever is free, so a
process that stops or is killed takes no waiting connection with it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from palestra.cli.private_valkey import PrivateValkey
from palestra.cli.progress import Progress
from palestra.cli.running import either, shown_host, tell_where, write_ready_file
from palestra.cli.supervised import LEAVE, STOP_SECONDS_MAX, Report, Task
from palestra.core import log as logs
from palestra.core.config import PORT_MAX, Settings
from palestra.core.errors import SetupError
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.database.embedded import EmbeddedPostgres
from palestra.gateway.server import bound_port
from palestra.gateway.shared_port import tally_file

log = get_logger(__name__)
T = TypeVar("T")

WORKERS_MAX = 256
CONNECTIONS_PER_WORKER = 50
"""Of the embedded PostgreSQL: what a node may hold, with room to spare."""
BACK_OFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Before a process that ended by itself is started again, by how often that has happened in a row."""
STEADY_SECONDS = 30.0
"""One that lived so long ended for a new reason."""


def supervise(settings: Settings, modules: list[Path], ready_file: Path | None) -> int:
    """Run until SIGINT or SIGTERM, replace all on SIGHUP; the exit status."""
    if settings.workers > WORKERS_MAX:
        raise SetupError(f"--workers {settings.workers} is more than {WORKERS_MAX}")
    if settings.console_port + settings.workers > PORT_MAX:
        raise SetupError(f"--console-port {settings.console_port} leaves no port for each of the workers")
    logs.configure(settings.log.level, settings.log.text or (sys.stderr.isatty() and not settings.production))
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    return uvloop.run(Supervisor(settings, modules).run(ready_file))


class _Failed(Exception):
    """A process ended before it served."""


class _Port:
    """What the workers share to listen together: the socket, and the tally of their connections."""

    def __init__(self, host: str, port: int, slots: int) -> None:
        self.listening = bound_port(host, port)
        self.tally = tally_file(slots)
        self.slots = slots

    @property
    def number(self) -> int:
        """The port's number."""
        return self.listening.getsockname()[1]

    def close(self) -> None:
        """Leave it to the workers."""
        self.listening.close()
        self.tally.close()


class _Worker:
    """One name among the workers, and the process that has it at present."""

    def __init__(self, settings: Settings, modules: list[str], port: _Port, slot: int) -> None:
        self._settings = settings
        self._modules = modules
        self._port = port
        self._slot = slot
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def begin(self) -> Report:
        """Start it, and start it again whenever it ends by itself; it serves when this returns. Raises _Failed."""
        report = await self._spawn()
        self._keeping = asyncio.create_task(self._keep(), name=f"keeping {self._settings.node}")
        return report

    async def begin_at_last(self) -> None:
        """Start it, however often that has to be tried."""
        for failures in itertools.count():
            try:
                await self.begin()
                return
            except (_Failed, OSError) as error:
                log.error("a worker does not start", node=self._settings.node, reason=str(error))
                await asyncio.sleep(_back_off_seconds(failures))

    async def leave(self) -> None:
        """End it while others go on at the port."""
        await self._keep_no_more()
        self._order(LEAVE)
        await self._ended()

    async def stop(self) -> None:
        """End it, as all others."""
        await self._keep_no_more()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
        await self._ended()

    async def _spawn(self) -> Report:
        told, tells = os.pipe()
        listening, tally = self._port.listening.fileno(), self._port.tally.fileno()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "palestra.cli.supervised"),
                stdin=PIPE,
                pass_fds=(listening, tally, tells),
                # Signals from a terminal are for the supervisor.
                start_new_session=True,
            )
        finally:
            os.close(tells)
        task = Task(self._settings, self._modules, listening, tally, self._slot, self._port.slots, tells)
        self._order(msgspec.json.encode(task) + b"\n")
        report = await _report(told)
        if report is None or report.failed:
            status = await self._process.wait()
            raise _Failed(report.failed if report else f"worker {self._settings.node} ended with status {status}")
        return report

    async def _keep(self) -> None:
        failures = -1
        while True:
            assert self._process is not None
            began = time.monotonic()
            status = await self._process.wait()
            failures = 0 if time.monotonic() - began > STEADY_SECONDS else failures + 1
            seconds = _back_off_seconds(failures)
            node = self._settings.node
            log.error("a worker ended, it is started again", node=node, status=status, in_seconds=seconds)
            await asyncio.sleep(seconds)
            try:
                await self._spawn()
            except (_Failed, OSError) as error:
                log.error("a worker does not start", node=node, reason=str(error))

    async def _keep_no_more(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None

    async def _ended(self) -> None:
        """Wait for its end as long as its settings allow, then kill it."""
        process, settings = self._process, self._settings
        if process is None:
            return
        try:
            seconds = settings.notice_seconds + settings.drain_seconds + STOP_SECONDS_MAX
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            log.error("a worker does not end, it is killed", node=settings.node)
            process.kill()
            await process.wait()

    def _order(self, order: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(order)


def _back_off_seconds(failures: int) -> float:
    return BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)]


async def _report(pipe: int) -> Report | None:
    """What a process says when it serves; None when it ended without a word."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
    )
    try:
        said = await reader.read()
    finally:
        transport.close()
    return msgspec.json.decode(said, type=Report) if said else None


class Supervisor:
    """Starts what the processes share, and them; ends them first."""

    def __init__(self, settings: Settings, modules: list[Path]) -> None:
        self._settings = settings
        self._modules = [str(file) for file in modules]
        self._key_ring_file = Path(settings.database.key_ring_file or Path(settings.data_dir) / "keyring.json")
        self._tasks = Tasks()
        self._postgres: EmbeddedPostgres | None = None
        self._valkey: PrivateValkey | None = None
        self._port: _Port | None = None
        self._workers: list[_Worker] = []
        self._spare: _Worker | None = None
        self._stopping = asyncio.Event()
        self._replacing = asyncio.Event()

    async def run(self, ready_file: Path | None) -> int:
        """Serve until told to stop; the exit status."""
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        has_terminal = os.isatty(0)
        signals = {signal.SIGINT: self._stopping.set, signal.SIGTERM: self._stopping.set}
        signals[signal.SIGHUP] = lambda: self._hung_up(has_terminal)
        for number, callback in signals.items():
            loop.add_signal_handler(number, callback)
        try:
            with Progress() as progress:
                reports = await self._unless_stopped(self._start(progress.say))
            if reports is not None:
                self._tell(reports, time.perf_counter() - began, ready_file)
            while not self._stopping.is_set():
                await either(self._stopping, self._replacing)
                if self._replacing.is_set():
                    self._replacing.clear()
                    await self._unless_stopped(self._replace())
            # From here on a second signal ends this process at once; the others notice.
            for number in signals:
                loop.remove_signal_handler(number)
        finally:
            await self._stop()
        return 0

    def _hung_up(self, had_terminal: bool) -> None:
        """SIGHUP: a wish for new processes, or the terminal is gone."""
        if had_terminal and not os.isatty(0):
            self._stopping.set()
        else:
            self._replacing.set()

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The work's result; None when a signal to stop came first."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            return working.result()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return None

    async def _start(self, say: Callable[[str], None]) -> list[Report]:
        settings = self._settings
        say("opening the data directory")
        database_url, redis_url = settings.database_url, settings.redis_url
        if not database_url:
            say("starting PostgreSQL")
            connections = str((settings.workers + 1) * CONNECTIONS_PER_WORKER)
            self._postgres = EmbeddedPostgres(Path(settings.data_dir), extra_settings={"max_connections": connections})
            database_url = await self._postgres.start()
            self._tasks.spawn(self._postgres.keep_running(), "embedded PostgreSQL")
        if not redis_url and not settings.cluster.bus_url:
            say("starting Valkey")
            self._valkey = PrivateValkey(Path(settings.data_dir) / "valkey")
            await self._valkey.start()
            redis_url = self._valkey.url
            self._tasks.spawn(self._valkey.keep_running(), "private Valkey")
        say("starting the workers")
        port = self._port = _Port(settings.host, settings.port, settings.workers + 1)
        shared = msgspec.structs.replace(settings, workers=1, database_url=database_url, redis_url=redis_url)
        workers = [self._worker(shared, port, index) for index in range(settings.workers + 1)]
        self._workers, self._spare = workers[:-1], workers[-1]
        try:
            async with asyncio.TaskGroup() as together:
                beginning = [together.create_task(worker.begin()) for worker in self._workers]
        except* _Failed as failed:
            raise SetupError(str(failed.exceptions[0])) from None
        return [begun.result() for begun in beginning]

    def _worker(self, shared: Settings, port: _Port, index: int) -> _Worker:
        console_port = shared.console_port + index if shared.console_port else 0
        settings = msgspec.structs.replace(shared, node=f"{shared.node}-{index + 1}", console_port=console_port)
        return _Worker(settings, self._modules, port, index)

    def _tell(self, reports: list[Report], seconds: float, ready_file: Path | None) -> None:
        settings = self._settings
        assert self._port is not None
        ports = ", ".join(str(report.console_port) for report in reports)
        consoles = f"http://{shown_host(settings.host)}:{ports}, one for each of {settings.workers} workers"
        first = reports[0]
        tell_where(first.games, first.pages, settings.host, self._port.number, consoles, self._key_ring_file, seconds)
        if ready_file is not None:
            write_ready_file(ready_file, self._port.number, first.console_port)

    async def _replace(self) -> None:
        """Give each name a new process. A spare one serves meanwhile, so that there are never fewer than asked for."""
        spare = self._spare
        assert spare is not None
        try:
            await spare.begin()
        except (_Failed, OSError) as error:
            log.error("no worker is replaced, the old ones stay", reason=str(error))
            return
        for worker in self._workers:
            await worker.leave()
            await worker.begin_at_last()
        await spare.leave()
        log.info("all workers are replaced")

    async def _stop(self) -> None:
        """End the processes, then what they share."""
        if self._port is not None:
            self._port.close()
        everyone = [*self._workers, *([self._spare] if self._spare is not None else [])]
        await asyncio.gather(*[worker.stop() for worker in everyone])
        await self._tasks.stop()
        if self._valkey is not None:
            await self._valkey.stop()
        if self._postgres is not None:
            await self._postgres.stop()
