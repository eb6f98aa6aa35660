"""A document that a provider publishes, such as its keys: fetched when needed, once for all who wait, kept a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from palestra.core.clock import Clock
from palestra.gateway.outgoing import ProviderAway

FRESH_SECONDS = 3_600.0
"""How long a document is used without asking again."""
KEPT_SECONDS_MAX = 86_400.0
"""How long an old one still serves while the provider is away."""
REFETCH_SECONDS_MIN = 30.0
"""At most so often is a newer one asked for, whatever callers bring along."""
AWAY_SECONDS = 5.0
"""How long a provider is left alone after it could not be reached."""

T = TypeVar("T")


class Published(Generic[T]):
    """The latest of one document. A failed fetch replaces nothing and is remembered for AWAY_SECONDS only."""

    def __init__(self, name: str, fetch: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._name = name
        self._fetch = fetch
        self._clock = clock
        self._kept: tuple[T, float] | None = None
        self._away_until = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> T:
        """A document not older than FRESH_SECONDS, or KEPT_SECONDS_MAX while the provider is away.

        Raises ProviderAway, and what `fetch` raises.
        """
        kept = self._kept_for(FRESH_SECONDS)
        if kept is not None:
            return kept[0]
        try:
            return await self._renewed(FRESH_SECONDS)
        except ProviderAway:
            kept = self._kept_for(KEPT_SECONDS_MAX)
            if kept is None:
                raise
            return kept[0]

    async def newer(self) -> T:
        """The document as it is now, asked for at most every REFETCH_SECONDS_MIN. Raises as `get`."""
        return await self._renewed(REFETCH_SECONDS_MIN)

    async def _renewed(self, seconds: float) -> T:
        """The document if younger than `seconds`, else a new one: one caller fetches, the others wait for it."""
        async with self._lock:
            kept = self._kept_for(seconds)
            if kept is not None:
                return kept[0]
            seconds_left = self._away_until - self._clock.monotonic()
            if seconds_left > 0:
                raise ProviderAway(self._name, seconds_left)
            try:
                document = await self._fetch()
            except ProviderAway:
                self._away_until = self._clock.monotonic() + AWAY_SECONDS
                raise
            self._kept = document, self._clock.monotonic()
            return document

    def _kept_for(self, seconds: float) -> tuple[T, float] | None:
        if self._kept is not None and self._clock.monotonic() - self._kept[1] < seconds:
            return self._kept
        return None
