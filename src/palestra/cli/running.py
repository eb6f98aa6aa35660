"""Starting a node unless it is told to stop first, and what is told of one that serves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from palestra.app.lifecycle import Node


async def started(node: Node, stop: asyncio.Event, say: Callable[[str], None] = lambda step: None) -> bool:
    """Start the node; False when it was told to stop before it served."""
    starting = asyncio.ensure_future(node.start(say))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False


async def either(first: asyncio.Event, second: asyncio.Event) -> None:
    """Wait for one of two events."""
    waiting = [asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()


def write_ready_file(file: Path, port: int, console_port: int) -> None:
    """In one step, so that whoever waits for it never reads half of it."""
    state = {"port": port, "console_port": console_port, "pid": os.getpid()}
    half = file.with_name(file.name + ".part")
    half.write_bytes(msgspec.json.encode(state))
    half.rename(file)


def tell_where(
    games: Iterable[str], pages: Iterable[str], host: str, port: int, consoles: str, key_ring_file: Path, seconds: float
) -> None:
    """Print where players, operators and the person at the terminal go."""
    shown = shown_host(host)
    base = f"http://{shown}:{port}"
    lines = [f"palestra · {', '.join(games)}", ""]
    lines += [f"  play     {base}{path}" for path in pages]
    lines += [
        f"  api      {base}",
        f"  console  {consoles}",
        f"  keys     {key_ring_file} · back it up: without it nobody can read players' sealed identifiers",
        "",
        f"ready {base} after {seconds:.1f} s · Ctrl-C stops everything",
    ]
    print("\n".join(lines), flush=True)


def shown_host(host: str) -> str:
    """An address to click on."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
