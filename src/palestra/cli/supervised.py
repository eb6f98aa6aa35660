"""One process of `palestra run --workers N`: a node that its supervisor starts, moves and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from palestra.app.lifecycle import Node
from palestra.cli.running import either, started
from palestra.core import log
from palestra.core.config import Settings
from palestra.core.errors import PalestraError, SetupError
from palestra.gateway.shared_port import SharedPort, Tally

ORDERS = 0
"""Standard input: the task is its first line, each further byte is an order, and its end is that of the supervisor."""
LEAVE = b"l"
"""The order to stop while others go on at the same port. The signal SIGTERM is that to stop with them."""
STOP_SECONDS_MAX = 15.0
"""How much longer than its settings allow a stop may take, once nobody is there any more to wait for it."""


class Task(msgspec.Struct):
    """What the process is to do; `listening`, `tally` and `report` are file descriptors that it has inherited."""

    settings: Settings
    modules: list[str]
    listening: int
    tally: int
    slot: int
    slots: int
    report: int


class Report(msgspec.Struct):
    """What it tells when it serves, or why it never will."""

    failed: str = ""
    console_port: int = 0
    games: list[str] = []
    pages: list[str] = []


def main() -> int:
    """Serve until told otherwise; the exit status."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    settings = task.settings
    as_text = settings.log.text or (sys.stderr.isatty() and not settings.production)
    log.configure(settings.log.level, as_text, settings.node)
    try:
        return uvloop.run(_serve(task))
    except (SetupError, PalestraError) as error:
        _tell(task.report, Report(failed=str(error)))
        return 1


async def _serve(task: Task) -> int:
    port = SharedPort(socket.socket(fileno=task.listening), Tally(task.tally, task.slots), task.slot)
    node = Node(task.settings, [Path(file) for file in task.modules], port=port)
    orders = _Orders(task.settings.notice_seconds + task.settings.drain_seconds + STOP_SECONDS_MAX)
    try:
        if await started(node, orders.stop):
            games = [game.name for game in node.games]
            _tell(task.report, Report(console_port=node.console_port, games=games, pages=node.pages))
            await either(orders.stop, node.lost)
    finally:
        await node.stop(others_listen=orders.leaving)
    return 0


def _tell(report: int, what: Report) -> None:
    with os.fdopen(report, "wb") as pipe:
        pipe.write(msgspec.json.encode(what))


class _Orders:
    """What the supervisor wants."""

    def __init__(self, stop_seconds_max: float) -> None:
        self.stop = asyncio.Event()
        self.leaving = False
        self._stop_seconds_max = stop_seconds_max
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        os.set_blocking(ORDERS, False)
        self._loop.add_reader(ORDERS, self._read)

    def _read(self) -> None:
        order = os.read(ORDERS, 1)
        if order == LEAVE:
            self.leaving = True
        elif not order:
            self._loop.remove_reader(ORDERS)
            if self.stop.is_set():
                # Nobody waits for the end of this stop.
                os._exit(1)
            self._loop.call_later(self._stop_seconds_max, os._exit, 1)
        self.stop.set()


if __name__ == "__main__":
    sys.exit(main())
