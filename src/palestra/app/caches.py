"""The caches of a node, and which server they share."""

from __future__ import annotations

from palestra.cluster.cache import Caches
from palestra.cluster.caches.memcached import MemcachedCache
from palestra.cluster.caches.shared import CacheServer, Shared
from palestra.cluster.caches.valkey import ValkeyCache
from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.clock import Clock
from palestra.core.config import Settings


def build_caches(settings: Settings, cluster: Cluster, clock: Clock) -> Caches:
    """Make them; a node that is alone shares nothing. Raises SetupError."""
    tasks = cluster.tasks
    if cluster.alone:
        return Caches(tasks, settings.cache, monotonic=clock.monotonic)
    server = _server(settings)
    shared = None if server is None else Shared(server, tasks, settings.cluster.name)
    caches = Caches(tasks, settings.cache, bus=cluster.bus, shared=shared, monotonic=clock.monotonic)

    def left(node: NodeInfo) -> None:
        # One that was draining had told everything.
        if not node.draining:
            caches.distrust()

    # One that was given up and comes back may have committed something meanwhile, of which nobody believed its word.
    cluster.members.on_join(lambda node: caches.flush())
    cluster.members.on_leave(left)
    cluster.members.on_fenced(caches.flush)
    cluster.on_start.append(lambda: tasks.spawn(caches.start(), "connecting to the shared cache"))
    return caches


def _server(settings: Settings) -> CacheServer | None:
    if settings.cache.memcached:
        return MemcachedCache(settings.cache.memcached)
    return ValkeyCache(settings.redis_url) if settings.redis_url else None
