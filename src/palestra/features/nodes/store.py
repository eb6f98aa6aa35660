"""Rows of nodes and leases; all times are the database's own."""

from __future__ import annotations

import msgspec

from palestra.core.processes import Process
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.nodes.contract import LeaseRow, NodeRow, ReplicaRow

SQL = load_queries(__file__)


class NodeStore:
    """One statement each. Raises Unavailable, Overloaded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, name: str, process: Process, serves: bool, silent_seconds: float, gone: int) -> int | None:
        """The epoch in which a name is ours, None when another node has it. `gone` is an epoch known to be over."""
        text = msgspec.json.encode(process).decode()
        rows = await self._database.fetch(SQL["claim_name"], name, text, serves, silent_seconds, gone)
        return rows[0]["epoch"] if rows else None

    async def read(self, name: str) -> NodeRow | None:
        """Who has a name now."""
        rows = await self._database.fetch(SQL["read_node"], name)
        return _node(rows[0]) if rows else None

    async def read_all(self) -> list[NodeRow]:
        """All nodes, also those that have fallen silent."""
        return [_node(row) for row in await self._database.fetch(SQL["read_nodes"])]

    async def see(self, name: str, epoch: int, state: bytes) -> bool:
        """Note that a node lives; False when its name is another's by now."""
        return bool(await self._database.fetch(SQL["see_node"], name, epoch, state.decode()))

    async def remove(self, name: str, epoch: int) -> None:
        """A node leaves."""
        await self._database.execute(SQL["remove_node"], name, epoch)

    async def forget(self) -> None:
        """Drop names that were given up."""
        await self._database.execute(SQL["forget_nodes"])

    async def hold(self, lease: str, node: str, epoch: int, seconds: float) -> bool:
        """Take or keep a lease for so long; whether it is ours."""
        return bool(await self._database.fetch(SQL["hold_lease"], lease, node, epoch, seconds))

    async def give_back(self, lease: str, node: str, epoch: int) -> None:
        """Give a lease back before its time."""
        await self._database.execute(SQL["give_lease"], lease, node, epoch)

    async def read_leases(self) -> list[LeaseRow]:
        """All leases."""
        return [LeaseRow(*row) for row in await self._database.fetch(SQL["read_leases"])]

    async def read_replicas(self) -> list[ReplicaRow]:
        """Those that copy the database."""
        return [ReplicaRow(*row) for row in await self._database.fetch(SQL["read_replicas"])]


def _node(row: object) -> NodeRow:
    name, epoch, process, serves, state, silent_seconds = row  # type: ignore[misc]
    return NodeRow(
        name,
        epoch,
        msgspec.json.decode(process, type=Process),
        serves,
        msgspec.json.decode(state, type=dict),
        silent_seconds,
    )
