"""Metrics: hot paths count in plain integers; a collector turns them into Prometheus text when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Sample = tuple[tuple[str, ...], float]


class Metrics:
    """What `/metrics` shows: each source is read only when somebody scrapes."""

    def __init__(self) -> None:
        self._sources: list[tuple[type[Any], str, str, tuple[str, ...], Callable[[], Iterable[Sample]]]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)  # type: ignore[arg-type]

    def counter(self, name: str, help: str, labels: tuple[str, ...], read: Callable[[], Iterable[Sample]]) -> None:
        """A figure that only grows. `read` yields (label values, value) pairs."""
        self._sources.append((CounterMetricFamily, name, help, labels, read))

    def gauge(self, name: str, help: str, labels: tuple[str, ...], read: Callable[[], Iterable[Sample]]) -> None:
        """A figure that goes up and down. `read` yields (label values, value) pairs."""
        self._sources.append((GaugeMetricFamily, name, help, labels, read))

    def collect(self) -> Iterator[Any]:
        """Called by the Prometheus client library while rendering."""
        for family, name, help, labels, read in self._sources:
            metric = family(name, help, labels=labels)
            for values, value in read():
                metric.add_metric(list(values), value)
            yield metric

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)
