"""The cache that all nodes share: generations, so that nothing survives an outage, and leases, so that one node loads.

A key is in one of three states: absent, leased (a marker lies there, and its node is loading the value), or valued. A
value is stored only in the place of the marker under which it was loaded. Whoever changes the truth deletes the key
afterwards, whatever its state, and with it the right of a slow reader to store what was true before.

All keys carry a generation, which lies in the server too and is read along with them. A node that lost the server
starts a new generation before it uses it again; nobody ever looks at the old one, which expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeVar

from palestra.core.log import get_logger
from palestra.core.tasks import Tasks

REPLY_SECONDS_MAX = 0.25
"""A server that takes longer is as good as gone: PostgreSQL would have answered by now."""
LEASE_SECONDS = 2
"""How long a node may take to load. Memcached counts whole seconds."""
CLOSE_SECONDS_MAX = 1.0
"""The client may wait for a server that hangs."""
GENERATIONS_MAX = 3
"""How often the generation may change while a key is looked for."""
BACK_OFF_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
KEY_CHARACTERS_MAX = 150
"""Longer keys, and those that are not plain, are hashed: Memcached takes 250 bytes."""
_MARKER, _VALUE = b"L", b"V"
_TOKEN_BYTES = 8

Value = TypeVar("Value")

log = get_logger(__name__)


class Away(Exception):
    """The server does not answer, or not as it should."""


class Swap(NamedTuple):
    """Put `value` in the place of `expected`, for some seconds."""

    key: str
    expected: bytes
    value: bytes
    seconds: float


class CacheServer(Protocol):
    """What a cache server can do. Every method raises Away within `REPLY_SECONDS_MAX`, and works again later."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What lies there."""
        ...

    async def set(self, key: str, value: bytes) -> None:
        """Put a value there that does not expire."""
        ...

    async def add(self, keys: Sequence[str], value: bytes, seconds: float) -> list[bool]:
        """Put a value where there is none; whether that was so. 0 seconds: it does not expire."""
        ...

    async def swap(self, swaps: Sequence[Swap]) -> None:
        """Put values in the place of others; where something else lies, or nothing, nothing is done."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove what lies there."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class Codec(Protocol[Value]):
    """How values look in the shared cache."""

    def encode(self, key: str, value: Value) -> bytes:
        """A value as bytes, of which there is at least one."""
        ...

    def decode(self, key: str, data: bytes) -> Value:
        """The value again. Raises ValueError when these are not its bytes."""
        ...


class Lease(NamedTuple):
    """The right to store what lies at a place, unless it is deleted in between."""

    place: str
    marker: bytes


class State(Enum):
    """What else may be found: another node is loading the value; or the server cannot be asked."""

    BUSY = "busy"
    AWAY = "away"


Found = bytes | Lease | State


class Shared:
    """One node's way to the shared cache. Nothing here raises: without the server there is just nothing in it."""

    def __init__(self, server: CacheServer, tasks: Tasks, prefix: str = "palestra") -> None:
        self.usable = False
        self.failures = 0
        self._server = server
        self._tasks = tasks
        self._prefix = prefix
        self._generation_key = f"{prefix}:cache:generation"
        self._generation = b""
        self._missed = False
        self._returning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; a server that is away will be used once it is there."""
        try:
            await self._learn()
        except Away as error:
            self._away(error)
        else:
            self.usable = True

    async def stop(self) -> None:
        """Disconnect."""
        self.usable = False
        if self._returning is not None:
            # Some clients keep a cancellation to themselves; its owner cancels it again.
            self._returning.cancel()
            await asyncio.wait([self._returning], timeout=CLOSE_SECONDS_MAX)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._server.close()

    async def take(self, keys: Sequence[str]) -> list[Found]:
        """For each key its value, or a lease to load it, or why there is neither."""
        if not self.usable or not keys:
            return [State.AWAY] * len(keys)
        try:
            return await self._take(keys)
        except Away as error:
            self._away(error)
            return [State.AWAY] * len(keys)

    async def _take(self, keys: Sequence[str]) -> list[Found]:
        places, values = await self._get(keys)
        free = [place for place, value in zip(places, values, strict=True) if value is None]
        leases: dict[str, Found] = {}
        if free:
            marker = _MARKER + os.urandom(_TOKEN_BYTES)
            added = await self._server.add(free, marker, LEASE_SECONDS)
            leases = {
                place: Lease(place, marker) if mine else State.BUSY for place, mine in zip(free, added, strict=True)
            }
        return [
            leases[place] if value is None else State.BUSY if value.startswith(_MARKER) else value[1:]
            for place, value in zip(places, values, strict=True)
        ]

    async def _get(self, keys: Sequence[str]) -> tuple[list[str], list[bytes | None]]:
        """Where the keys lie in the present generation, and what is there."""
        for _ in range(GENERATIONS_MAX):
            generation, places = self._generation, self._places(keys)
            present, *values = await self._server.get([self._generation_key, *places])
            if present == generation:
                return places, values
            await self._learn()
        raise Away("it keeps losing what it is given")

    async def put(self, loaded: Sequence[tuple[Lease, bytes, float]]) -> None:
        """Store what was loaded under leases, each for some seconds."""
        if not self.usable or not loaded:
            return
        try:
            await self._server.swap(
                [Swap(lease.place, lease.marker, _VALUE + value, seconds) for lease, value, seconds in loaded]
            )
        except Away as error:
            self._away(error)

    async def delete(self, keys: Sequence[str]) -> bool:
        """Remove values and leases; whether they are gone for sure. If not, a new generation will see to it."""
        if not self.usable:
            self._missed = True
            return False
        try:
            for _ in range(GENERATIONS_MAX):
                generation = self._generation
                await self._server.delete(self._places(keys))
                if await self._learn() == generation:
                    return True
            raise Away("it keeps losing what it is given")
        except Away as error:
            self._away(error)
            return False

    def renew(self) -> None:
        """Start a new generation: what lies there is not to be believed."""
        self._leave()

    # -- coming back

    def _away(self, error: Away) -> None:
        self.failures += 1
        if self._returning is None:
            log.warning("the shared cache is away, reads go to the database", reason=str(error))
        self._leave()

    def _leave(self) -> None:
        self.usable = False
        self._missed = True
        if self._returning is None:
            self._returning = self._tasks.spawn(self._return(), "return of the shared cache")

    async def _return(self) -> None:
        """Use the server again, in a new generation: deletions may be missing, or it woke up with old data."""
        failures = 0
        while not self.usable:
            self._missed = False
            try:
                await self._server.set(self._generation_key, _token())
                await self._learn()
            except Away:
                await asyncio.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
                failures += 1
            else:
                # Not if something could not be deleted meanwhile.
                self.usable = not self._missed
        self._returning = None
        log.info("the shared cache is in use, in a new generation")

    async def _learn(self) -> bytes:
        """The present generation, noted, and made if there is none: a server that lost it has lost all else as well."""
        (present,) = await self._server.get([self._generation_key])
        if present is None:
            await self._server.add([self._generation_key], _token(), 0)
            (present,) = await self._server.get([self._generation_key])
        self._generation = present or b""
        return self._generation

    def _places(self, keys: Sequence[str]) -> list[str]:
        start = f"{self._prefix}:c:{self._generation.decode()}:"
        return [start + (key if _is_plain(key) else _hashed(key)) for key in keys]


def _token() -> bytes:
    return os.urandom(_TOKEN_BYTES).hex().encode()


def _is_plain(key: str) -> bool:
    return len(key) <= KEY_CHARACTERS_MAX and key.isascii() and key.isprintable() and " " not in key


def _hashed(key: str) -> str:
    name, _, _ = key.partition(":")
    return f"{name}:#{blake2b(key.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
