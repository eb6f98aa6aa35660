"""Which calls may read from replicas, and which count as writes of their player: decided here, in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from palestra.cluster.bus import Bus
from palestra.core.clock import Clock
from palestra.core.metrics import Metrics
from palestra.database.replicas import Replicas, reading_from
from palestra.gateway.dispatch import Dispatcher
from palestra.gateway.operation import Call, Handler, Message, Operation

STALE_READS = frozenset(
    (
        "chat.list",
        "friends.list",
        "friends.list_of_friends",
        "groups.list",
        "groups.list_of_user",
        "groups.list_users",
        "leaderboards.around",
        "leaderboards.list",
        "notifications.list",
        "purchases.list_subscriptions",
        "storage.list",
        "tournaments.around",
        "tournaments.records",
    )
)
"""Lists, which may be as old as a replica. What is read by its id, and what game code reads, is of this moment."""
NO_WRITES = frozenset(("accounts.get", "matchmaker.explain", "matchmaker.stats", "matches.list", "users.get"))
"""Other calls after which a player may go on reading from replicas; any call that is in neither list may have written.

A game's hooks may write in these all the same: then it reads its own writes at most as late as others do.
"""
LOGIN_SECONDS = 3.0
"""How long a new session reads from the primary: its log-in was no call of its player yet, and may have written."""
ANNOUNCE_SECONDS = 5.0
"""A player who writes is announced to the other nodes once in this time."""
CALL_SECONDS_MAX = 40.0
"""How long a call may go on after it was announced: game code and a statement at their limits."""
TOPIC = "replicas.wrote"


class ReplicaReads:
    """Sends calls to replicas where that is right, and remembers who has written."""

    def __init__(self, replicas: Replicas, clock: Clock, bus: Bus | None) -> None:
        self._replicas = replicas
        self._clock = clock
        self._bus = bus
        self._announced: set[str] = set()
        self._announced_since = 0.0
        if bus is not None:
            bus.on(TOPIC, self._heard)
            bus.on_gap(lambda node: self._replicas.everybody_wrote(self._later()))
            bus.on_change(self._bus_changed)

    def follow(self, table: Iterable[Operation | Message], dispatcher: Dispatcher) -> None:
        """Look at all calls of a table from now on."""
        for operation in table:
            if operation.name in STALE_READS:
                operation.handler = self._reading(operation.handler)
        dispatcher.follower = self

    def measure(self, metrics: Metrics) -> None:
        """Show how far behind each replica is and how much it is asked."""
        replicas, label = self._replicas, ("replica",)
        metrics.gauge(
            "palestra_replica_lag_seconds",
            "How old the newest thing is that it may lack",
            label,
            lambda: [((str(one.number),), replicas.lag_seconds(one)) for one in replicas.all],
        )
        metrics.gauge(
            "palestra_replica_fit",
            "1 while it is read from",
            label,
            lambda: [((str(one.number),), int(replicas.fit(one, _now()))) for one in replicas.all],
        )
        metrics.counter(
            "palestra_replica_calls",
            "Calls that read from it",
            label,
            lambda: [((str(one.number),), one.reads) for one in replicas.all],
        )

    def _reading(self, handler: Handler) -> Handler:
        async def read(call: Call, request: object) -> object:
            caller = call.caller
            if caller is None:
                return await handler(call, request)
            logged_in_at = _now() - (self._clock.now() - caller.issued_at)
            with reading_from(self._replicas.choose(caller.user_id, logged_in_at + LOGIN_SECONDS)):
                return await handler(call, request)

        return read

    # -- who writes; called by the dispatcher

    def began(self, operation: Operation | Message, call: Call) -> None:
        """A call begins: other nodes must know by the time its answer is out, so they are told now."""
        if self._bus is None or not _writes(operation) or call.caller is None:
            return
        player, now = call.caller.user_id, _now()
        if now - self._announced_since > ANNOUNCE_SECONDS:
            self._announced, self._announced_since = set(), now
        if player not in self._announced:
            self._announced.add(player)
            self._bus.broadcast(TOPIC, player.encode())

    def handled(self, operation: Operation | Message, call: Call) -> None:
        """A call is about to be answered, or over."""
        if _writes(operation) and call.caller is not None:
            self._replicas.wrote(call.caller.user_id, _now())

    # -- what other nodes say

    def _heard(self, node: str, payload: bytes) -> None:
        # When the call ends is not told: it counts as going on for as long as it may.
        self._replicas.wrote(payload.decode(), self._later())

    def _bus_changed(self, up: bool) -> None:
        # While nothing is heard, anybody may be writing elsewhere.
        self._replicas.cut_off = not up
        self._replicas.everybody_wrote(self._later())

    def _later(self) -> float:
        return _now() + ANNOUNCE_SECONDS + CALL_SECONDS_MAX


def _writes(operation: Operation | Message) -> bool:
    return operation.name not in STALE_READS and operation.name not in NO_WRITES


def _now() -> float:
    return asyncio.get_running_loop().time()
