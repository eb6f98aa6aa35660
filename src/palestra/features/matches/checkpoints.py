"""Snapshots of running matches in Valkey, from which another node goes on when this one dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from palestra.cluster.line import client_url
from palestra.core.errors import SetupError
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics

KEPT_SECONDS = 600
"""How long a checkpoint outlives the last one after it."""
WAIT_SECONDS = 3.0
AT_ONCE_MAX = 100
"""Checkpoints that are written in one round trip."""

# A checkpoint is a hash of its owner, which is a node in one epoch, and the snapshot. Only the owner changes it.
_KEEP = """
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'snapshot', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_ADOPT = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return false end
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
return redis.call('HGET', KEYS[1], 'snapshot')
"""
_FORGET = """
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

log = get_logger(__name__)


class Checkpoints:
    """Keeps the latest snapshot of each match, written by one task: at any time at most one of each waits.

    `owner` names this node in its present epoch. One whose epoch is over finds that its checkpoints are another's.
    """

    def __init__(self, url: str, prefix: str, owner: Callable[[], str]) -> None:
        try:
            import redis.asyncio
        except ImportError:
            raise SetupError('a redis_url needs its client: pip install "redis[hiredis]"') from None
        self._client: Any = redis.asyncio.Redis.from_url(
            client_url(url), socket_timeout=WAIT_SECONDS, socket_connect_timeout=WAIT_SECONDS, protocol=3
        )
        self._errors: tuple[type[Exception], ...] = (redis.asyncio.RedisError, OSError, TimeoutError)
        self._prefix = prefix
        self._owner = owner
        self._waiting: dict[str, tuple[str, bytes | None]] = {}
        self._writing: dict[str, tuple[str, bytes | None]] = {}
        self._wake = asyncio.Event()
        self._turned = asyncio.Event()
        self.kept = self.refused = self.failed = 0

    def _key(self, match: str) -> str:
        return f"{self._prefix}:match:{match}"

    def keep(self, match: str, snapshot: bytes) -> None:
        """Have a snapshot written, in the place of one that still waits."""
        self._put(match, snapshot)

    def forget(self, match: str) -> None:
        """A match has ended."""
        self._put(match, None)

    def _put(self, match: str, snapshot: bytes | None) -> None:
        self._waiting[match] = self._owner(), snapshot
        self._wake.set()

    async def written(self, match: str) -> None:
        """Wait until nothing of a match waits, or Valkey does not answer in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while match in self._waiting or match in self._writing:
                    await self._turned.wait()

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        try:
            while True:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                await self._write_some()
        finally:
            await self._client.aclose()

    async def _write_some(self) -> None:
        some = {match: self._waiting.pop(match) for match in list(self._waiting)[:AT_ONCE_MAX]}
        self._writing = some
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for match, (owner, snapshot) in some.items():
                    if snapshot is None:
                        pipeline.eval(_FORGET, 1, self._key(match), owner)
                    else:
                        pipeline.eval(_KEEP, 1, self._key(match), owner, snapshot, KEPT_SECONDS)
                done = await pipeline.execute()
        except self._errors as error:
            # The next ones come soon; those of ended matches expire.
            self.failed += len(some)
            log.warning("checkpoints are not kept this time", count=len(some), reason=str(error))
            return
        finally:
            self._writing = {}
            self._turned.set()
            self._turned = asyncio.Event()
        kept = [bool(one) for one, (_, snapshot) in zip(done, some.values(), strict=True) if snapshot is not None]
        self.kept += sum(kept)
        if not all(kept):
            if not self.refused:
                log.warning("checkpoints belong to another node by now", count=len(kept) - sum(kept))
            self.refused += len(kept) - sum(kept)

    async def adopt(self, match: str, former: str) -> bytes | None:
        """Make a dead owner's checkpoint one's own; None if it is not the dead one's any more, or not to be had."""
        try:
            return await self._client.eval(_ADOPT, 1, self._key(match), former, self._owner())
        except self._errors as error:
            log.warning("a match is not adopted", match=match, reason=str(error))
            return None

    def measure(self, metrics: Metrics) -> None:
        """Show how many were kept, refused because another node has the match, and failed."""
        metrics.counter(
            "palestra_match_checkpoints",
            "Snapshots of matches kept for other nodes",
            ("what",),
            lambda: [(("kept",), self.kept), (("refused",), self.refused), (("failed",), self.failed)],
        )
