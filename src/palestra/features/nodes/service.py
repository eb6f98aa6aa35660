"""A node's name, which it has alone, and the leases that it holds for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.core.clock import Clock
from palestra.core.errors import PalestraError, SetupError
from palestra.core.log import get_logger
from palestra.core.processes import this_process
from palestra.features.nodes.contract import NODE_CHARS_MAX, AloneTogether, NameTaken, NodeRow
from palestra.features.nodes.store import NodeStore

SEEN_SECONDS = 2.0
"""How often a node notes in the database that it lives."""
SILENT_SECONDS = 7.0
"""After what silence there its name is free."""
LEASE_SECONDS = 3.0
RENEW_SECONDS = 1.0
ASK_SECONDS = 0.25
UNHEARD_LOOKS = 6
"""How often in a row, `SEEN_SECONDS` apart, a node is missed on the bus before that is told: after `SILENT_SECONDS`."""

log = get_logger(__name__)


def refuse_company(nodes: Iterable[NodeRow], name: str, *, alone: bool) -> None:
    """Nodes on one database have a bus, all of them, or are one. Raises AloneTogether where node `name` breaks that."""
    for other in nodes:
        lives = other.silent_seconds < SILENT_SECONDS and not other.process.is_gone()
        apart = alone or other.state.get("alone", False)
        if lives and apart and other.serves and other.name != name and other.process != this_process():
            raise AloneTogether(other.name)


class _Lease:
    """Implements `Lease`. Held until a moment of this node's own clock that comes before the one in the database."""

    def __init__(self, name: str, now: Callable[[], float]) -> None:
        self.name = name
        self.until = 0.0
        self._now = now

    @property
    def held(self) -> bool:
        """Whether it is this node's to do, now."""
        return self._now() < self.until


class NodeService:
    """Implements `Leases`. Keeps this node's row and leases; a name that was lost ends the node (`on_lost`)."""

    def __init__(self, store: NodeStore, cluster: Cluster, clock: Clock) -> None:
        self._store = store
        self._bus = cluster.bus
        self._now = clock.monotonic
        self._members = cluster.members
        self._tasks = cluster.tasks
        self._alone = cluster.alone
        self.serves = True
        self._leases: dict[str, _Lease] = {}
        self._claimed = False
        self._unheard: list[str] = []
        self.on_lost: Callable[[], None] = lambda: None
        self.state: Callable[[], dict[str, Any]] = dict
        """What the node says of itself in the database, for operators."""
        cluster.members.on_fenced(self._drop_leases)

    # -- the name

    async def claim(self) -> int:
        """Take this node's name; the epoch in which it has it. Waits for a silent predecessor to be taken for dead.

        Raises NameTaken, AloneTogether, SetupError, Unavailable.
        """
        name = self._bus.node
        if not 0 < len(name) <= NODE_CHARS_MAX or not name.replace("-", "").replace("_", "").isalnum():
            raise SetupError(f"node name {name!r}: give letters, digits, - and _, at most {NODE_CHARS_MAX}.")
        refuse_company(await self._store.read_all(), name, alone=self._alone)
        await self._store.forget()
        seen, before, gone = 0.0, 0, -1
        while True:
            epoch = await self._store.claim(name, this_process(), self.serves, SILENT_SECONDS, gone)
            if epoch is not None:
                self._claimed = True
                return epoch
            holder = await self._store.read(name)
            if holder is not None:
                if holder.process.is_gone() or holder.process == this_process():
                    gone = holder.epoch
                    continue
                if before == holder.epoch and holder.silent_seconds < seen:
                    raise NameTaken(name, holder.process)
                seen, before = holder.silent_seconds, holder.epoch
            await asyncio.sleep(ASK_SECONDS)

    def start(self) -> None:
        """Keep the name and the leases from now on."""
        self._tasks.spawn(self._keep_seen(), "this node's name")
        if not self._alone:
            self._tasks.spawn(self._keep_leases(), "leases")

    async def leave(self) -> None:
        """Give up the name and all leases, if the database is there to be told."""
        if self._claimed:
            for lease in self._leases.values():
                lease.until = 0.0
            try:
                await self._store.remove(self._bus.node, self._bus.epoch)
            except PalestraError as error:
                log.warning("this node's name is free later", reason=error.message)

    async def _keep_seen(self) -> None:
        looks: Counter[str] = Counter()
        while True:
            try:
                if not await self.see():
                    log.error("another node took this name, this one ends", node=self._bus.node)
                    self.on_lost()
                    return
                looks = await self._listen_for_all(looks)
            except PalestraError as error:
                log.warning("not seen in the database this time", reason=error.message)
            await asyncio.sleep(SEEN_SECONDS)

    async def _listen_for_all(self, before: Counter[str]) -> Counter[str]:
        """Warn, once, of nodes that the database sees and the bus does not: their bus is likely another one."""
        if self._alone or not self._bus.up or self._members.mute:
            self._unheard = []
            return Counter()
        rows = await self._store.read_all()
        # One that has just died is still seen by the database for a while.
        there = [row.name for row in rows if row.silent_seconds < SILENT_SECONDS and not row.process.is_gone()]
        looks = Counter({name: before[name] + 1 for name in there if name not in self._members})
        for name in [name for name, count in looks.items() if count == UNHEARD_LOOKS]:
            log.error(
                "a node on this database is not heard on the bus: is it cut off, or is its bus another (redis_url, "
                "cluster.bus_url, cluster.name)?",
                node=self._bus.node,
                other=name,
            )
        self._unheard = [name for name, count in looks.items() if count >= UNHEARD_LOOKS]
        return looks

    async def see(self) -> bool:
        """Note that this node lives, and how it is doing; False when another process has its name."""
        state = self.state() | {"unheard": self._unheard}
        if await self._store.see(self._bus.node, self._bus.epoch, msgspec.json.encode(state)):
            return True
        # It may be ours all the same, in an epoch that began meanwhile.
        holder = await self._store.read(self._bus.node)
        return holder is None or holder.process == this_process()

    # -- leases

    def lease(self, name: str) -> _Lease:
        """See Leases.lease."""
        if name not in self._leases:
            lease = self._leases[name] = _Lease(name, self._now)
            if self._alone:
                lease.until = float("inf")
        return self._leases[name]

    async def give_up(self, name: str) -> None:
        """See Leases.give_up."""
        lease = self._leases.pop(name, None)
        if lease is not None:
            lease.until = 0.0
            try:
                await self._store.give_back(name, self._bus.node, self._bus.epoch)
            except PalestraError as error:
                log.warning("a lease is free later", lease=name, reason=error.message)

    async def _keep_leases(self) -> None:
        while True:
            # Whom the others cannot hear does nothing for them; its leases run out.
            reached = self._bus.up and not self._members.mute
            for lease in list(self._leases.values()) if reached else ():
                asked_at, epoch = self._now(), self._bus.epoch
                try:
                    held = await self._store.hold(lease.name, self._bus.node, epoch, LEASE_SECONDS)
                except PalestraError as error:
                    log.warning("a lease is not renewed this time", lease=lease.name, reason=error.message)
                    continue
                if held and not lease.held:
                    log.info("lease taken", lease=lease.name, node=self._bus.node)
                # The database counts from later than we do; in an epoch that is over nothing is ours.
                ours = held and epoch == self._bus.epoch and lease.name in self._leases
                lease.until = asked_at + LEASE_SECONDS if ours else 0.0
            await asyncio.sleep(RENEW_SECONDS)

    def _drop_leases(self) -> None:
        """This node was given up by the others: what it held is not its own any more."""
        if not self._alone:
            for lease in self._leases.values():
                lease.until = 0.0
