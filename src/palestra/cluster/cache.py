"""Cached reads: in the memory of each node, beyond it in a cache that nodes share, invalidated by messages.

What a cache promises. On the node that wrote, whoever reads after `invalidate` sees the new truth. Other nodes see it
when its message arrives, which is milliseconds later. If messages may have been lost, a node forgets everything as soon
as it notices; if it cannot notice, what is stale ends after the `seconds` of its cache, or twice that if it was taken
over from the shared cache. Without the shared cache reads go to the database; without the bus they do so every second.

A value that was being loaded while its key was invalidated is given to those who wait, who asked before, and not kept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Context
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

import msgspec

from palestra.cluster.bus import Bus
from palestra.cluster.caches.figures import Figures, measure
from palestra.cluster.caches.memory import Held, Memory
from palestra.cluster.caches.shared import Codec, Lease, Shared, State
from palestra.core.config import CacheSettings
from palestra.core.errors import PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.core.tasks import Tasks

Value = TypeVar("Value")

TOPIC = "cache"
LOAD_KEYS_MAX = 500
"""How many keys are loaded together."""
MESSAGE_KEYS_MAX = 1_000
CUT_OFF_SECONDS = 1.0
"""How long anything is kept while other nodes cannot tell what they change."""
JITTER = 0.2
"""By how much of it a time to live is shortened by chance, so that what was loaded together does not end together."""
WAIT_SECONDS = (0.003, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.05, 0.05)
"""When to look again for a value that another node is loading; after that it is loaded here as well."""
EVERYTHING = ""
"""In messages: all keys of a cache."""

log = get_logger(__name__)


class Terms(NamedTuple):
    """How long and how much is kept. `seconds` bound how stale it may be, `absent_seconds` that there is nothing."""

    seconds: float
    absent_seconds: float
    entries_max: int
    bytes_max: int


class _Stopping(Unavailable):
    """Loads were ended together with the node."""


class _Load(Generic[Value]):
    """Keys that are being loaded together, and whether what is found may be kept."""

    __slots__ = ("done", "keys", "later", "outcomes", "tries")

    def __init__(self, tries: int = 0) -> None:
        self.keys: dict[str, bool] = {}
        self.outcomes: dict[str, Value | Exception] = {}
        self.later: _Load[Value] | None = None
        """Goes on with those keys that another node is loading."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tries = tries


class Cache(Generic[Value]):
    """Values by key, read through `load`, which reads the truth and leaves out what does not exist.

    For a key that cannot be loaded it may answer an exception, which is raised where the key was asked for.
    """

    def __init__(
        self,
        name: str,
        caches: Caches,
        load: Callable[[list[str]], Awaitable[Mapping[str, Value]]],
        terms: Terms,
        size_bytes: Callable[[Value], int],
        codec: Codec[Value] | None = None,
    ) -> None:
        self.name = name
        self.hits = self.misses = self.loaded = 0
        self._caches = caches
        self._load_truth = load
        self._terms = terms
        self._codec = codec
        self._memory: Memory[str, Value] = Memory(size_bytes, entries_max=terms.entries_max, bytes_max=terms.bytes_max)
        self._loading: dict[str, _Load[Value]] = {}
        self._next: _Load[Value] | None = None
        caches.add(self)

    # -- reading

    async def get(self, key: str) -> Value | None:
        """The value of a key, None if there is none. Raises what `load` raises."""
        return (await self.get_many((key,))).get(key)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Value]:
        """The values of those keys that have one. Raises what `load` raises."""
        found, unknown = self._memory.look(keys, self._caches.monotonic())
        self.hits += len(found)
        if unknown:
            self.misses += len(unknown)
            try:
                for key, load in [(key, self._loading.get(key) or self._begin(key)) for key in unknown]:
                    value = await _outcome(key, load)
                    if value is not None:
                        found[key] = value
            except _Stopping:
                raise
            except Unavailable:
                # The caller's own context may know of a replica that answers: shown, and not kept.
                return found | await self._ask_here(unknown)
        return found

    def hold(self, keys: Iterable[str]) -> Held[Value] | None:
        """What is kept here of some keys, to be asked later whether it still is; None if one is not kept."""
        return self._memory.hold(keys, self._caches.monotonic)

    def renew(self, key: str) -> None:
        """What is made of a value depends on more, which has changed: whoever holds it here is to look again."""
        self._memory.renew(key)

    async def _ask_here(self, keys: list[str]) -> dict[str, Value]:
        values = await self._load_truth(keys)
        for value in values.values():
            if isinstance(value, Exception):
                raise value
        return dict(values)

    def _begin(self, key: str) -> _Load[Value]:
        """Load a key along with all others that are asked for in this turn of the loop."""
        load = self._next
        if load is None or len(load.keys) >= LOAD_KEYS_MAX:
            load = self._next = _Load()
            # In nobody's context: what is kept for all must not come from where one of them may read.
            asyncio.get_running_loop().call_soon(self._launch, load, context=Context())
        load.keys[key] = True
        self._loading[key] = load
        return load

    def _launch(self, load: _Load[Value]) -> None:
        if self._next is load:
            self._next = None
        self._caches.tasks.spawn(self._run(load), f"loading of {self.name}")

    async def _run(self, load: _Load[Value]) -> None:
        """Find out about every key, or hand it over to a later load; `done` is resolved in any case."""
        leases: dict[str, Lease] = {}
        try:
            wanted = await self._ask_shared(load, leases)
            if wanted:
                self.loaded += len(wanted)
                await self._ask_truth(load, wanted)
            self._keep(load)
        finally:
            for key in load.keys:
                if self._loading.get(key) is load:
                    del self._loading[key]
                if key not in load.outcomes and (load.later is None or key not in load.later.keys):
                    load.outcomes[key] = _Stopping("This node is stopping, try again.")
            load.done.set_result(None)
        await self._share(load, leases)

    async def _ask_shared(self, load: _Load[Value], leases: dict[str, Lease]) -> list[str]:
        """Take what the shared cache has; the keys that are left to be loaded, some of them under leases."""
        codec, shared = self._codec, self._caches.shared
        if codec is None or shared is None or not shared.usable:
            return list(load.keys)
        # What is about to be deleted there must not be read before.
        asked: list[str] = []
        wanted: list[str] = []
        for key in load.keys:
            (wanted if self._caches.is_leaving(self.name, key) else asked).append(key)
        busy: list[str] = []
        for key, found in zip(asked, await shared.take([f"{self.name}:{key}" for key in asked]), strict=True):
            if isinstance(found, bytes):
                try:
                    load.outcomes[key] = codec.decode(key, found) if found else None  # type: ignore[assignment]
                except ValueError as error:
                    log.warning("a value in the shared cache cannot be read", cache=self.name, reason=str(error))
                    wanted.append(key)
            elif found is State.BUSY and load.tries < len(WAIT_SECONDS):
                busy.append(key)
            else:
                wanted.append(key)
                if isinstance(found, Lease):
                    leases[key] = found
        if busy:
            self._look_again(load, busy)
        return wanted

    def _look_again(self, load: _Load[Value], keys: list[str]) -> None:
        later = load.later = _Load(load.tries + 1)
        for key in keys:
            later.keys[key] = load.keys[key]
            if self._loading.get(key) is load:
                self._loading[key] = later
        asyncio.get_running_loop().call_later(WAIT_SECONDS[load.tries], self._launch, later, context=Context())

    async def _ask_truth(self, load: _Load[Value], wanted: list[str]) -> None:
        try:
            values = await self._load_truth(wanted)
        except PalestraError as error:
            load.outcomes.update(dict.fromkeys(wanted, error))
        except Exception as error:
            if len(wanted) == 1:
                load.outcomes[wanted[0]] = error
                return
            # One of them is to blame, and others asked for the rest.
            for key in wanted:
                await self._ask_truth(load, [key])
        else:
            load.outcomes.update((key, values.get(key)) for key in wanted)  # type: ignore[misc]

    def _keep(self, load: _Load[Value]) -> None:
        now = self._caches.monotonic()
        for key, outcome in load.outcomes.items():
            if load.keys[key] and not isinstance(outcome, Exception):
                self._memory.put(key, outcome, now + self._seconds(outcome), now)

    async def _share(self, load: _Load[Value], leases: dict[str, Lease]) -> None:
        codec, shared = self._codec, self._caches.shared
        if codec is None or shared is None:
            return
        loaded = []
        # Also what may not be kept here: the lease knows better, and unused it would make others wait.
        for key, lease in leases.items():
            outcome = load.outcomes[key]
            if not isinstance(outcome, Exception):
                data = b"" if outcome is None else codec.encode(key, outcome)
                loaded.append((lease, data, self._seconds(outcome)))
        await shared.put(loaded)

    def _seconds(self, value: Value | None) -> float:
        seconds = self._terms.absent_seconds if value is None else self._terms.seconds
        if self._caches.cut_off:
            seconds = min(seconds, CUT_OFF_SECONDS)
        return seconds * (1 - JITTER * random.random())

    # -- changing

    def invalidate(self, keys: Iterable[str]) -> None:
        """The truth of these keys has changed, and is committed: nobody who asks from now on sees the old one.

        Never waits, never fails. Other nodes are told at once.
        """
        self._caches.invalidate(self, keys)

    def invalidate_all(self) -> None:
        """As `invalidate`, for every key. Only for caches without a codec: what is shared cannot be listed."""
        self._caches.invalidate(self, (EVERYTHING,))

    def drop(self, key: str) -> None:
        """Forget a key here, and do not keep what is being loaded for it."""
        self._memory.drop(key)
        load = self._loading.pop(key, None)
        if load is not None:
            load.keys[key] = False

    def clear(self) -> None:
        """Forget everything here."""
        self._memory.clear()
        for key, load in self._loading.items():
            load.keys[key] = False
        self._loading.clear()

    @property
    def entries(self) -> int:
        """How much is kept."""
        return len(self._memory)

    @property
    def bytes(self) -> int:
        """About how many bytes that takes."""
        return self._memory.bytes

    @property
    def shares(self) -> bool:
        """Whether values go into the shared cache as well."""
        return self._codec is not None


async def _outcome(key: str, load: _Load[Value]) -> Value | None:
    """What came of loading a key."""
    while key not in load.outcomes:
        # Whoever stops waiting does not keep others from it.
        await asyncio.shield(load.done)
        if key not in load.outcomes:
            assert load.later is not None
            load = load.later
    outcome = load.outcomes[key]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Message(msgspec.Struct, array_like=True):
    """Keys that changed, by cache. `deleted`: they are gone from the shared cache."""

    deleted: bool
    keys: dict[str, list[str]]


class Caches:
    """All caches of a node: what they hear from other nodes by `bus`, and their way to the cache that these share."""

    def __init__(
        self,
        tasks: Tasks,
        settings: CacheSettings,
        *,
        bus: Bus | None = None,
        shared: Shared | None = None,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        limits = settings.entries_max, settings.bytes_max
        self.terms = Terms(settings.seconds, settings.absent_seconds, *limits)
        """What is usual for things that are invalidated one by one."""
        self.page_terms = Terms(settings.page_seconds, settings.page_seconds, *limits)
        """What is usual for pages that are made of many rows."""
        self.shared = shared
        self.tasks = tasks
        self.monotonic = monotonic
        self.cut_off = False
        self.invalidated = self.flushes = 0
        self._bus = bus
        self._caches: dict[str, Cache[object]] = {}
        self._shown: list[Figures] = []
        self._leaving: dict[tuple[str, str], bool] = {}
        """What is to be deleted from the shared cache, and whether others are to be told afterwards."""
        self._deleting: dict[tuple[str, str], bool] = {}
        self._deletion: asyncio.Task[None] | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(_Message).decode
        if bus is not None:
            bus.on(TOPIC, self._hear)
            bus.on_gap(lambda node: self.flush())
            bus.on_change(self._bus_changed)

    def add(self, cache: Cache[Value]) -> None:
        """Tell a cache what other nodes change."""
        if cache.name in self._caches:
            raise ValueError(f"there is a cache {cache.name!r} already")
        self._caches[cache.name] = cache  # type: ignore[assignment]
        self.show(cache)

    def show(self, kept: Figures) -> None:
        """Let metrics show something else that is kept of the database."""
        self._shown.append(kept)

    async def start(self) -> None:
        """Connect to the shared cache, if there is one; never fails."""
        if self.shared is not None:
            await self.shared.start()

    async def stop(self) -> None:
        """Delete and tell what is left, then disconnect."""
        self._begin_to_delete()
        if self._deletion is not None:
            await self._deletion
        if self.shared is not None:
            await self.shared.stop()

    @property
    def shared_is_up(self) -> bool:
        """Whether there is a shared cache that is in use."""
        return self.shared is not None and self.shared.usable

    # -- forgetting

    def invalidate(self, cache: Cache[Value], keys: Iterable[str]) -> None:
        """See Cache.invalidate."""
        for key in keys:
            self.invalidated += 1
            _forget(cache, key)
            if self._bus is not None or self.shared is not None:
                self._leave(cache.name, key, True)

    def is_leaving(self, name: str, key: str) -> bool:
        """Whether a key is still to be deleted from the shared cache."""
        place = (name, key)
        return place in self._leaving or place in self._deleting

    def flush(self) -> None:
        """Forget everything that is kept on this node, as when messages of other nodes were lost."""
        self.flushes += 1
        for cache in self._caches.values():
            cache.clear()

    def distrust(self) -> None:
        """A node died, which may have changed something and told nobody: forget everything, in the shared cache too."""
        self.flush()
        if self.shared is not None:
            self.shared.renew()

    def _leave(self, name: str, key: str, tells: bool) -> None:
        if not self._leaving and not self._deleting:
            asyncio.get_running_loop().call_soon(self._begin_to_delete)
        self._leaving[name, key] = tells or self._leaving.get((name, key), False)

    def _begin_to_delete(self) -> None:
        """Delete what came together in this turn of the loop; without a shared cache only tell of it."""
        if self.shared is None:
            leaving, self._leaving = self._leaving, {}
            self._tell(leaving, True)
        elif self._leaving and not self._deleting:
            self._deletion = self.tasks.spawn(self._delete(self.shared), "deletions from the shared cache")

    async def _delete(self, shared: Shared) -> None:
        while self._leaving:
            self._deleting, self._leaving = self._leaving, {}
            places = [f"{name}:{key}" for name, key in self._deleting if self._caches[name].shares]
            deleted = await shared.delete(places) if places else True
            # Only now: a node that hears of it earlier could still find the old value there.
            self._tell(self._deleting, deleted)
            self._deleting = {}

    def _tell(self, places: Mapping[tuple[str, str], bool], deleted: bool) -> None:
        if self._bus is None:
            return
        told = [place for place, tells in places.items() if tells]
        for start in range(0, len(told), MESSAGE_KEYS_MAX):
            keys: dict[str, list[str]] = {}
            for name, key in told[start : start + MESSAGE_KEYS_MAX]:
                keys.setdefault(name, []).append(key)
            self._bus.broadcast(TOPIC, self._encode(_Message(deleted, keys)))

    # -- hearing

    def _hear(self, sender: str, payload: bytes) -> None:
        message = self._decode(payload)
        for name, keys in message.keys.items():
            cache = self._caches.get(name)
            if cache is None:
                continue
            for key in keys:
                _forget(cache, key)
                if not message.deleted and self.shared is not None and cache.shares:
                    # The sender has lost the shared cache; perhaps we have not.
                    self._leave(name, key, False)

    def _bus_changed(self, up: bool) -> None:
        self.cut_off = not up
        self.flush()

    # -- metrics

    def measure(self, metrics: Metrics) -> None:
        """Show how often what is asked for is there."""
        measure(metrics, self._shown)
        metrics.counter("palestra_cache_invalidated", "Keys this node changed", (), lambda: [((), self.invalidated)])
        metrics.counter("palestra_cache_flushes", "Times everything was forgotten", (), lambda: [((), self.flushes)])
        metrics.gauge(
            "palestra_cache_shared_up",
            "Whether the shared cache is in use",
            (),
            lambda: [((), int(self.shared_is_up))],
        )


def _forget(cache: Cache[Value], key: str) -> None:
    if key == EVERYTHING:
        cache.clear()
    else:
        cache.drop(key)
