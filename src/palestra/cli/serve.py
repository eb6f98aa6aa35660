"""`palestra run` and `palestra work`: start a node or a worker, tell where it is, stop it on a signal."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from palestra.app.lifecycle import Node
from palestra.cli.progress import Progress
from palestra.cli.running import either, shown_host, started, tell_where, write_ready_file
from palestra.cli.supervisor import supervise
from palestra.core import log
from palestra.core.config import Settings
from palestra.core.errors import SetupError


def serve(settings: Settings, modules: list[Path], ready_file: Path | None) -> int:
    """Run a node until SIGINT or SIGTERM; the exit status."""
    if settings.workers > 1:
        return supervise(settings, modules or [example()], ready_file)
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
    as_text = settings.log.text or (sys.stderr.isatty() and not settings.production)
    log.configure(settings.log.level, as_text, settings.node)
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
    began = time.perf_counter()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        with Progress() as progress:
            serves = await started(node, stop, progress.say)
        if serves:
            tell(node, time.perf_counter() - began)
            if ready_file is not None:
                write_ready_file(ready_file, node.port, node.console_port)
            await either(stop, node.lost)
        # From here on a second signal ends the process at once, and with it what it started.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    finally:
        await node.stop()
    return 0


def _tell(node: Node, seconds: float) -> None:
    host = node.settings.host
    console = f"http://{shown_host(host)}:{node.console_port}"
    names = [game.name for game in node.games]
    tell_where(names, node.pages, host, node.port, console, node.key_ring_file, seconds)


def _tell_worker(node: Node, seconds: float) -> None:
    games = ", ".join(game.name for game in node.games) or "no games"
    console = f" · console port {node.console_port}" if node.console_port else ""
    print(f"palestra · works for {games}{console}\n\nready after {seconds:.1f} s · Ctrl-C stops it", flush=True)
