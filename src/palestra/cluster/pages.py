"""Pages that many read, kept as they were made until something they show changes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from palestra.cluster.cache import Cache, Caches, Terms

Page = TypeVar("Page")

LOAD_SECONDS_MAX = 60.0
"""No page takes longer to read."""
SUBJECTS_MAX = 100_000
"""With more changes than these to remember everything is forgotten."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Any]).decode


class _Kept(NamedTuple, Generic[Page]):
    """A page, and how many changes this node knew of when it began to read."""

    page: Page
    known: int


class Pages(Cache[_Kept[Page]]):
    """Pages by what was asked for, each about a subject: a channel, a player. Changed subjects are invalidated.

    `load` makes a page from the arguments, which must be JSON; what it raises is told to who asked, and not kept.
    """

    def __init__(
        self, name: str, caches: Caches, load: Callable[..., Awaitable[Page]], page_bytes: int, terms: Terms
    ) -> None:
        super().__init__(name, caches, self._load_all, terms, lambda kept: page_bytes)
        self._load = load
        self._seconds_max = terms.seconds + LOAD_SECONDS_MAX
        self._changed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._changes = 0

    async def page(self, subject: str, *arguments: Any) -> Page:
        """The page about a subject that these arguments ask for. Raises what `load` raises."""
        key = _encode(arguments).decode()
        kept = await self.get(key)
        changed = self._changed.get(subject)
        if kept is None or (changed is not None and kept.known < changed[0]):
            super().drop(key)
            kept = await self.get(key)
        assert kept is not None
        return kept.page

    async def _load_all(self, keys: list[str]) -> dict[str, Any]:
        return dict(zip(keys, await asyncio.gather(*map(self._load_one, keys), return_exceptions=True), strict=True))

    async def _load_one(self, key: str) -> _Kept[Page]:
        known = self._changes
        return _Kept(await self._load(*_decode(key)), known)

    def drop(self, key: str) -> None:
        """A subject has changed: pages read before are not shown any more."""
        now = self._caches.monotonic()
        self._changes += 1
        self._changed[key] = self._changes, now
        self._changed.move_to_end(key)
        # Pages that old are gone by themselves.
        while next(iter(self._changed.values()))[1] < now - self._seconds_max:
            self._changed.popitem(last=False)
        if len(self._changed) > SUBJECTS_MAX:
            self.clear()

    def clear(self) -> None:
        """Forget all pages, and what has changed since they were read."""
        super().clear()
        self._changed.clear()
