"""The shared cache in Valkey or Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from palestra.cluster.caches.shared import REPLY_SECONDS_MAX, Away, Swap
from palestra.cluster.line import client_url
from palestra.core.errors import SetupError

CONNECTIONS_MAX = 8
SWAP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
"""


class ValkeyCache:
    """Implements `CacheServer`."""

    def __init__(self, url: str) -> None:
        try:
            import redis.asyncio
        except ImportError:
            raise SetupError('a Valkey or Redis URL needs its client: pip install "redis[hiredis]"') from None
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            client_url(url),
            max_connections=CONNECTIONS_MAX,
            timeout=REPLY_SECONDS_MAX,
            socket_timeout=REPLY_SECONDS_MAX,
            socket_connect_timeout=REPLY_SECONDS_MAX,
            protocol=3,
            retry=None,
        )
        self._client: Any = redis.asyncio.Redis.from_pool(pool)
        self._errors: tuple[type[Exception], ...] = (redis.asyncio.RedisError, OSError, TimeoutError)

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What lies there."""
        async with self._in_time():
            return await self._client.mget(keys)

    async def set(self, key: str, value: bytes) -> None:
        """Put a value there that does not expire."""
        async with self._in_time():
            await self._client.set(key, value)

    async def add(self, keys: Sequence[str], value: bytes, seconds: float) -> list[bool]:
        """Put a value where there is none; whether that was so."""
        async with self._in_time(), self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.set(key, value, nx=True, px=int(seconds * 1000) or None)
            return [bool(done) for done in await pipeline.execute()]

    async def swap(self, swaps: Sequence[Swap]) -> None:
        """Put values in the place of others."""
        async with self._in_time(), self._client.pipeline(transaction=False) as pipeline:
            for key, expected, value, seconds in swaps:
                pipeline.eval(SWAP, 1, key, expected, value, max(1, int(seconds * 1000)))
            await pipeline.execute()

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove what lies there."""
        async with self._in_time():
            await self._client.delete(*keys)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.aclose(close_connection_pool=True)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(REPLY_SECONDS_MAX):
                yield
        except self._errors as error:
            raise Away(f"Valkey: {str(error) or 'it does not answer in time'}") from error
