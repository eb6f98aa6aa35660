"""The shared cache in one or several Memcached servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from palestra.cluster.caches.shared import REPLY_SECONDS_MAX, Away, Swap
from palestra.core.errors import SetupError

CONNECTIONS_MAX = 4
PORT = 11211


class MemcachedCache:
    """Implements `CacheServer`. `servers` are texts such as `cache-1:11211`; keys are spread over them."""

    def __init__(self, servers: Sequence[str]) -> None:
        try:
            import emcache
        except ImportError:
            raise SetupError("Memcached needs its client: pip install emcache") from None
        self._emcache = emcache
        self._addresses = [_address(text) for text in servers]
        self._client: Any = None
        self._errors: tuple[type[Exception], ...] = (
            emcache.CommandError,
            emcache.StorageCommandError,
            emcache.ClusterNoAvailableNodes,
            OSError,
            TimeoutError,
        )

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What lies there."""
        async with self._in_time() as client:
            found = await client.get_many([key.encode() for key in keys])
            return [item.value if (item := found.get(key.encode())) else None for key in keys]

    async def set(self, key: str, value: bytes) -> None:
        """Put a value there that does not expire."""
        async with self._in_time() as client:
            await client.set(key.encode(), value)

    async def add(self, keys: Sequence[str], value: bytes, seconds: float) -> list[bool]:
        """Put a value where there is none; whether that was so."""
        async with self._in_time() as client:
            return await asyncio.gather(*[self._add(client, key.encode(), value, int(seconds)) for key in keys])

    async def _add(self, client: Any, key: bytes, value: bytes, seconds: int) -> bool:
        try:
            await client.add(key, value, exptime=seconds)
        except self._emcache.NotStoredStorageCommandError:
            return False
        return True

    async def swap(self, swaps: Sequence[Swap]) -> None:
        """Put values in the place of others."""
        async with self._in_time() as client:
            found = await client.gets_many([one.key.encode() for one in swaps])
            await asyncio.gather(
                *[
                    self._swap(client, one, item.cas)
                    for one in swaps
                    if (item := found.get(one.key.encode())) and item.value == one.expected
                ]
            )

    async def _swap(self, client: Any, one: Swap, version: int) -> None:
        # Another value lies there by now, or (which the client tells as it tells errors) nothing does.
        with contextlib.suppress(self._emcache.StorageCommandError):
            await client.cas(one.key.encode(), one.value, version, exptime=max(1, int(one.seconds)))

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove what lies there."""
        async with self._in_time() as client:
            await asyncio.gather(*[self._delete(client, key.encode()) for key in keys])

    async def _delete(self, client: Any, key: bytes) -> None:
        with contextlib.suppress(self._emcache.NotFoundCommandError):
            await client.delete(key)

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(REPLY_SECONDS_MAX):
                if self._client is None:
                    self._client = await self._emcache.create_client(
                        [self._emcache.MemcachedHostAddress(host, port) for host, port in self._addresses],
                        timeout=None,
                        connection_timeout=REPLY_SECONDS_MAX,
                        max_connections=CONNECTIONS_MAX,
                        min_connections=0,
                        purge_unused_connections_after=None,
                    )
                yield self._client
        except self._errors as error:
            # It would wait for up to a minute before it tries to connect again; a new one does so at once.
            await self.close()
            raise Away(f"Memcached: {str(error) or 'it does not answer in time'}") from error


def _address(text: str) -> tuple[str, int]:
    """Host and port of a server. Raises SetupError."""
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        host, port = port, str(PORT)
    if not host or not port.isdecimal():
        raise SetupError(f"{text!r} is no Memcached server: name it as host:{PORT}")
    return host, int(port)
