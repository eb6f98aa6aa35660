"""Passwords: argon2 in a few threads with a short queue, so that log-ins never stop the game."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from palestra.core.errors import Overloaded

THREADS = 2
WAITING_MAX = 64

T = TypeVar("T")


class Passwords:
    """Hashes and checks. 19 MiB, two passes, one lane: OWASP's parameters, about 30 ms of one core each."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The text to keep for a password. Raises Overloaded when too many are waiting."""
        return await self._run(self._hasher.hash, password)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Whether a password is the kept one; without one the same time is spent. Raises Overloaded."""
        if kept is None:
            await self._run(self._hasher.hash, password)
            return False
        return await self._run(self._verify, kept, password)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *args: str) -> T:
        if self._waiting >= WAITING_MAX:
            raise Overloaded("Too many log-ins by password at this moment, try again.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
