"""`palestra` as a process of its own, the way people run it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS_MAX = 30
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PALESTRA_")}
GAME = """
import asyncio
from palestra import Game
game = Game("harvest")

@game.rpc
async def slow(ctx, payload: str) -> str:
    await asyncio.sleep(60)
    return payload
"""


def palestra(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "palestra", *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


class NodeProcess:
    """A running `palestra run`."""

    def __init__(self, process: subprocess.Popen[str], ready_file: Path) -> None:
        self.process = process
        self._ready_file = ready_file

    def wait_ready(self) -> dict[str, int]:
        """What the ready file says, once there is one."""
        until = time.monotonic() + SECONDS_MAX
        while True:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return json.loads(self._ready_file.read_text())
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "it does not get ready"
            time.sleep(0.02)

    def descendants(self) -> list[int]:
        """The processes it has started, and those they have started."""
        found: list[int] = []
        waiting = [self.process.pid]
        while waiting:
            for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
                try:
                    children = [int(text) for text in task.read_text().split()]
                except (FileNotFoundError, ProcessLookupError):
                    continue
                found += children
                waiting += children
        return found

    def stop(self, number: signal.Signals) -> tuple[int, float, str, str]:
        """Send a signal and wait: (status, seconds, output, errors)."""
        started = time.monotonic()
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=SECONDS_MAX)
        return self.process.returncode, time.monotonic() - started, output, errors


@contextmanager
def running(folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> Iterator[NodeProcess]:
    """Start a node in a folder; whatever the test does with it, it is gone afterwards."""
    game, ready_file = folder / "harvest.py", folder / "ready.json"
    if not game.exists():
        game.write_text(GAME)
    ports = [text for flag in ("--port", "--console-port") if flag not in arguments for text in (flag, "0")]
    process = subprocess.Popen(
        [
            *(*before, sys.executable, "-m", "palestra", "run", str(game)),
            *(*ports, "--ready-file", str(ready_file), *arguments),
        ],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield NodeProcess(process, ready_file)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=SECONDS_MAX)


def alive(pids: list[int]) -> list[int]:
    """Those of some processes that still run; a zombie, which only waits to be looked at, does not."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found.append(pid)
    return found
