"""Metrics: hot paths count in plain integers; a collector turns them into Prometheus text when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Sample = tuple[tuple[str, ...], float]


class Histogram(NamedTuple):
    """Values counted by size: `counts` has one number for each upper bound, and one for what is above the last."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


class Metrics:
    """What `/metrics` shows: each source is read only when somebody scrapes."""

    def __init__(self) -> None:
        self._sources: list[tuple[type[Any], str, str, tuple[str, ...], Callable[[], Iterable[Sample]]]] = []
        self._histograms: list[tuple[str, str, Callable[[], Histogram]]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)  # type: ignore[arg-type]

    def counter(self, name: str, help: str, labels: tuple[str, ...], read: Callable[[], Iterable[Sample]]) -> None:
        """A figure that only grows. `read` yields (label values, value) pairs."""
        self._sources.append((CounterMetricFamily, name, help, labels, read))

    def gauge(self, name: str, help: str, labels: tuple[str, ...], read: Callable[[], Iterable[Sample]]) -> None:
        """A figure that goes up and down. `read` yields (label values, value) pairs."""
        self._sources.append((GaugeMetricFamily, name, help, labels, read))

    def histogram(self, name: str, help: str, read: Callable[[], Histogram]) -> None:
        """Figures by size."""
        self._histograms.append((name, help, read))

    def total(self, name: str) -> float:
        """A counter or gauge now, all its labels together; 0 when there is none of that name."""
        reads = [read for _, known, _, _, read in self._sources if known == name]
        return sum(value for read in reads for _, value in read())

    def collect(self) -> Iterator[Any]:
        """Called by the Prometheus client library while rendering."""
        for family, name, help, labels, read in self._sources:
            metric = family(name, help, labels=labels)
            for values, value in read():
                metric.add_metric(list(values), value)
            yield metric
        for name, help, read in self._histograms:
            bounds, counts, total = read()
            upper = [*(repr(float(bound)) for bound in bounds), "+Inf"]
            metric = HistogramMetricFamily(name, help)
            metric.add_metric([], list(zip(upper, accumulate(counts), strict=True)), total)
            yield metric

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)
