"""What a node knows of the others: its name, the bus, calls and membership, made from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

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

VALKEY_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
NATS_SCHEMES = ("nats", "tls")


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
    check_urls(settings)
    url = settings.cluster.bus_url or settings.redis_url
    tasks = Tasks()
    bus = Bus(settings.node, 0, transport or transport_for(url, settings.cluster.name), tasks)
    # Heartbeats are about real time, whatever time a game is told.
    members = Membership(bus, settings.cluster, clock or SystemClock(), tasks)
    return Cluster(settings.node, not url and transport is None, bus, Calls(bus), members, tasks)


def check_urls(settings: Settings) -> None:
    """Raise SetupError for a URL that leads to nothing we know. It is not shown: it may hold a password."""
    for key, url, schemes in (
        ("redis_url", settings.redis_url, VALKEY_SCHEMES),
        ("cluster.bus_url", settings.cluster.bus_url, VALKEY_SCHEMES + NATS_SCHEMES),
    ):
        if url and not _understood(url, schemes):
            or_nats = ", or nats://127.0.0.1:4222" if NATS_SCHEMES[0] in schemes else ""
            raise SetupError(
                f"{key} has to be a URL such as redis://127.0.0.1:6379 or unix:///path/to/socket{or_nats}."
            )


def _understood(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        # A URL of NATS may name several places.
        return parts.scheme in schemes and (parts.scheme in NATS_SCHEMES or parts.port != 0)
    except ValueError:
        return False


def transport_for(url: str, prefix: str) -> Transport:
    """What carries packets to and from the broker at `url`, or within this process without one."""
    scheme = url.partition("://")[0]
    if not url:
        return LocalTransport()
    if scheme in NATS_SCHEMES:
        return NatsTransport(url, prefix)
    return ValkeyTransport(url, prefix)
