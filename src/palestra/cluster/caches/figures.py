"""What metrics tell of everything that is kept of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from palestra.core.metrics import Metrics, Sample


class Figures(Protocol):
    """What metrics tell of a cache."""

    name: str
    hits: int
    misses: int
    loaded: int

    @property
    def entries(self) -> int:
        """How much is kept."""
        ...

    @property
    def bytes(self) -> int:
        """About how many bytes that takes."""
        ...


def measure(metrics: Metrics, kept: Sequence[Figures]) -> None:
    """Show how often what is asked for is there, and how much that is; `kept` may grow later."""
    counts: dict[str, Callable[[Figures], int]] = {
        "hits": lambda one: one.hits,
        "misses": lambda one: one.misses,
        "loaded": lambda one: one.loaded,
    }
    sizes: dict[str, Callable[[Figures], int]] = {
        "entries": lambda one: one.entries,
        "bytes": lambda one: one.bytes,
    }

    def samples(figures: Mapping[str, Callable[[Figures], int]]) -> list[Sample]:
        return [((one.name, what), read(one)) for one in kept for what, read in figures.items()]

    metrics.counter(
        "palestra_cache",
        "Keys asked for that were in the memory of this node, that were not, and that were read from the database",
        ("cache", "what"),
        lambda: samples(counts),
    )
    metrics.gauge("palestra_cache_size", "What the caches of this node hold", ("cache", "what"), lambda: samples(sizes))
