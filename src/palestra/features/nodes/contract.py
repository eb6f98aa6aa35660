"""What others may know of the nodes on one database."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from palestra.core.errors import SetupError
from palestra.core.processes import Process

NODE_CHARS_MAX = 63


class NodeRow(msgspec.Struct, frozen=True):
    """A node as the database knows it. `state` is what it last said of itself; `silent_seconds` since when."""

    name: str
    epoch: int
    process: Process
    serves: bool
    state: dict[str, Any]
    silent_seconds: float


class LeaseRow(msgspec.Struct, frozen=True):
    """A lease, and for how much longer its node holds it; below 0 it is free."""

    name: str
    node: str
    epoch: int
    seconds_left: float


class ReplicaRow(msgspec.Struct, frozen=True):
    """A PostgreSQL that copies the primary: `sync_state` is `sync` or `quorum` where commits wait for it.

    All but the name is empty where this role is no member of `pg_monitor`.
    """

    name: str
    state: str
    sync_state: str
    behind_bytes: int
    behind_seconds: float


class NameTaken(SetupError):
    """Another node has this name and lives."""

    def __init__(self, name: str, process: Process) -> None:
        super().__init__(
            f"a node named {name!r} lives on this database already (pid {process.pid}).\n"
            "Give each node a name of its own: --node NAME."
        )


class AloneTogether(SetupError):
    """Two nodes on one database that have no way to each other."""

    def __init__(self, other: str) -> None:
        super().__init__(
            f"the node {other!r} lives on this database already, and without a bus neither knows what the other does.\n"
            "Give all nodes the same --redis-url (or cluster.bus_url), or stop the other one."
        )


class Lease(Protocol):
    """Something that one node at a time may do."""

    @property
    def held(self) -> bool:
        """Whether it is this node's to do, now."""
        ...


class Leases(Protocol):
    """Where features get their leases. Alone, a node holds all of them."""

    def lease(self, name: str) -> Lease:
        """The lease of a name; asked for from then on, again and again, until it is given up or the node stops."""
        ...

    async def give_up(self, name: str) -> None:
        """Leave a lease to others, for good."""
        ...
