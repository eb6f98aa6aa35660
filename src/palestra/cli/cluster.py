"""`palestra cluster`: the nodes on a database as operators want to see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import msgspec
from rich.console import Console

from palestra.cli.ledger import attached
from palestra.core.config import Settings
from palestra.core.errors import SetupError
from palestra.features.nodes.contract import LeaseRow, NodeRow, ReplicaRow
from palestra.features.nodes.service import SILENT_SECONDS
from palestra.features.nodes.store import NodeStore

out = Console(highlight=False, soft_wrap=True, markup=False)


class Status(msgspec.Struct, frozen=True):
    """What is known of a platform by its database."""

    nodes: list[NodeRow]
    leases: list[LeaseRow]
    replicas: list[ReplicaRow]


def status(settings: Settings, *, as_json: bool) -> int:
    """Print it; the exit status is 1 when something is wrong with a node."""
    found = asyncio.run(_read(settings))
    if as_json:
        out.print(msgspec.json.encode(found).decode())
    else:
        _print(found)
    return int(any(_state(node) not in ("alive", "draining") for node in found.nodes))


def forget(settings: Settings, name: str) -> int:
    """Drop a node that is no more, and its leases; the exit status is 1 when it lives."""
    return asyncio.run(_forget(settings, name))


@asynccontextmanager
async def _nodes(settings: Settings) -> AsyncIterator[NodeStore]:
    async with attached(settings) as database:
        await database.open()
        try:
            yield NodeStore(database)
        except asyncpg.UndefinedTableError:
            raise SetupError("this database has no nodes of this version: run `palestra migrate` first") from None
        finally:
            await database.close()


async def _read(settings: Settings) -> Status:
    async with _nodes(settings) as store:
        return Status(await store.read_all(), await store.read_leases(), await store.read_replicas())


async def _forget(settings: Settings, name: str) -> int:
    async with _nodes(settings) as store:
        node = await store.read(name)
        if node is None:
            known = ", ".join(one.name for one in await store.read_all()) or "none"
            raise SetupError(f"there is no node {name!r} on this database; known: {known}")
        if node.silent_seconds <= SILENT_SECONDS and not node.process.is_gone():
            out.print(f"{name} was seen {node.silent_seconds:.0f} s ago: it lives. To end it, stop it.")
            return 1
        await store.remove(name, node.epoch)
    out.print(f"{name} is forgotten; it was silent for {node.silent_seconds:.0f} s")
    return 0


def _state(node: NodeRow) -> str:
    if node.silent_seconds > SILENT_SECONDS:
        return f"silent for {node.silent_seconds:.0f} s"
    if node.process.is_gone():
        return "gone"
    if node.state.get("bus_up") is False:
        return "cut off from the bus"
    if node.state.get("unheard"):
        return f"does not hear {', '.join(node.state['unheard'])}"
    return "draining" if node.state.get("draining") else "alive"


def _print(found: Status) -> None:
    if not found.nodes:
        out.print("no node has been on this database in the last day")
        return
    lines = [["node", "state", "role", "epoch", "sockets", "matches", "parties", "tickets", "out/in", "gaps"]]
    for node in found.nodes:
        figures = node.state
        rates = f"{figures.get('bus_sent_per_second', 0)}/{figures.get('bus_received_per_second', 0)}"
        counts = [str(figures.get(name, "-")) for name in ("sockets", "matches", "parties", "tickets")]
        role = "serves" if node.serves else "works"
        gaps = str(figures.get("bus_gaps", "-"))
        lines.append([node.name, _state(node), role, str(node.epoch), *counts, rates, gaps])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        out.print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    for lease in found.leases:
        left = f"for {lease.seconds_left:.1f} s more" if lease.seconds_left > 0 else "expired"
        out.print(f"lease {lease.name}: {lease.node} (epoch {lease.epoch}), {left}")
    for replica in found.replicas:
        if not replica.state:
            out.print(f"replica {replica.name or '?'}: this role may not see how far it is: GRANT pg_monitor to it")
            continue
        lag = f"{replica.behind_bytes} bytes, {replica.behind_seconds:.3f} s behind"
        out.print(f"replica {replica.name or '?'}: {replica.state}, {replica.sync_state}, {lag}")
