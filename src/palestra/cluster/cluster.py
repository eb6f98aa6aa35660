"""What a node knows of the others: its name, the bus, calls and membership, made from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from palestra.cluster.bus import Bus, Transport
from palestra.cluster.buses.local import LocalTransport
from palestra.cluster.buses.nats import NatsTransport
from palestra.cluster.buses.valkey import ValkeyTransport
from palestra.cluster.calls import Calls
from palestra.cluster.membership import Membership
from palestra.core.clock import Clock, SystemClock
from palestra.core.config import Settings
from palestra.core.errors import SetupError
from palestra.core.tasks import Tasks


@dataclass(slots=True, frozen=True)
class Cluster:
    """One node's end of the cluster. `alone` says that there is no bus, so that there will never be another node."""

    node: str
    alone: bool
    bus: Bus
    calls: Calls
    members: Membership
    tasks: Tasks
    on_start: list[Callable[[], Any]] = field(default_factory=list)
    """Called when the bus is up and this node has its epoch, before it serves."""


def build_cluster(settings: Settings, clock: Clock | None = None, transport: Transport | None = None) -> Cluster:
    """Make and connect it; nothing runs yet. Raises SetupError. `transport` is for several nodes in one process."""
    url = settings.cluster.bus_url or settings.redis_url
    tasks = Tasks()
    bus = Bus(settings.node, 0, transport or _transport(url, settings.cluster.name), tasks)
    # Heartbeats are about real time, whatever time a game is told.
    members = Membership(bus, settings.cluster, clock or SystemClock(), tasks)
    return Cluster(settings.node, not url and transport is None, bus, Calls(bus), members, tasks)


def _transport(url: str, prefix: str) -> Transport:
    scheme = url.partition("://")[0]
    if not url:
        return LocalTransport()
    if scheme in ("redis", "rediss", "valkey", "valkeys", "unix"):
        return ValkeyTransport(url.replace("valkey", "redis", 1) if scheme.startswith("valkey") else url, prefix)
    if scheme in ("nats", "tls"):
        return NatsTransport(url, prefix)
    # What was given is not shown: it may hold a password.
    raise SetupError(
        "the URL of the bus has to begin with redis://, rediss://, unix:// or nats://.\n"
        "Correct --redis-url (or cluster.bus_url)."
    )
