"""`palestra run` and `palestra work`: start a node or a worker, tell where it is, stop it on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from palestra.app.lifecycle import Node
from palestra.cli.progress import Progress
from palestra.core import log
from palestra.core.config import Settings
from palestra.core.errors import SetupError


def serve(settings: Settings, modules: list[Path], ready_file: Path | None) -> int:
    """Run a node until SIGINT or SIGTERM; the exit status."""
    if settings.workers > 1:
        raise SetupError("this version runs one process per command: leave out --workers, start several nodes.")
    return _until_told(Node(settings, modules or [example()]), _tell, ready_file)


def work(settings: Settings, modules: list[Path], console: bool, ready_file: Path | None) -> int:
    """Run a worker until SIGINT or SIGTERM; the exit status."""
    if not settings.database_url:
        raise SetupError(
            "a worker needs --database-url: an embedded PostgreSQL belongs to its node, which runs the jobs itself."
        )
    node = Node(settings, modules, serves=False, console=console)
    if not node.key_ring_file.exists():
        raise SetupError(
            f"there is no key ring {node.key_ring_file}: a worker reads what the nodes have sealed.\n"
            "Give it a copy of theirs, and name the file in database.key_ring_file."
        )
    return _until_told(node, _tell_worker, ready_file)


def _until_told(node: Node, tell: Callable[[Node, float], None], ready_file: Path | None) -> int:
    settings = node.settings
    log.configure(settings.log.level, settings.log.text or (sys.stderr.isatty() and not settings.production))
    if ready_file is not None:
        # What an earlier run left behind would be taken for this one's.
        ready_file.unlink(missing_ok=True)
    return uvloop.run(_serve(node, tell, ready_file))


def example() -> Path:
    """The example game: from the checkout, else the copy in the installed package."""
    package = Path(__file__).resolve().parent.parent
    for file in (package.parent.parent / "examples/arena/game.py", package / "_examples/arena/game.py"):
        if file.is_file():
            return file
    raise SetupError("name a game module: palestra run my_game.py")


async def _serve(node: Node, tell: Callable[[Node, float], None], ready_file: Path | None) -> int:
    started = time.perf_counter()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        if await _start(node, stop):
            tell(node, time.perf_counter() - started)
            if ready_file is not None:
                _write_ready_file(ready_file, node)
            await _either(stop, node.lost)
        # From here on a second signal ends the process at once, and with it what it started.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    finally:
        await node.stop()
    return 0


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()


async def _start(node: Node, stop: asyncio.Event) -> bool:
    """Start the node; False when it was told to stop before it served."""
    with Progress() as progress:
        starting = asyncio.ensure_future(node.start(progress.say))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False


def _write_ready_file(file: Path, node: Node) -> None:
    """In one step, so that whoever waits for it never reads half of it."""
    state = {"port": node.port, "console_port": node.console_port, "pid": os.getpid()}
    half = file.with_name(file.name + ".part")
    half.write_bytes(msgspec.json.encode(state))
    half.rename(file)


def _tell(node: Node, seconds: float) -> None:
    shown = "127.0.0.1" if node.settings.host in ("0.0.0.0", "::", "") else node.settings.host
    base = f"http://{shown}:{node.port}"
    lines = [f"palestra · {', '.join(game.name for game in node.games)}", ""]
    lines += [f"  play     {base}{path}" for path in node.pages]
    lines += [
        f"  api      {base}",
        f"  console  http://{shown}:{node.console_port}",
        f"  keys     {node.key_ring_file} · back it up: without it nobody can read players' sealed identifiers",
        "",
        f"ready {base} after {seconds:.1f} s · Ctrl-C stops everything",
    ]
    print("\n".join(lines), flush=True)


def _tell_worker(node: Node, seconds: float) -> None:
    games = ", ".join(game.name for game in node.games) or "no games"
    console = f" · console port {node.console_port}" if node.console_port else ""
    print(f"palestra · works for {games}{console}\n\nready after {seconds:.1f} s · Ctrl-C stops it", flush=True)
