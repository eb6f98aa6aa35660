"""Health, readiness and metrics for operators, balancers and scrapers."""

from __future__ import annotations

from collections.abc import Callable

from palestra.core.metrics import Metrics
from palestra.gateway.http.answer import Writer
from palestra.gateway.http.exchange import Exchange

TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"))
METRICS = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), (b"cache-control", b"no-store"))
JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
OVERVIEW = b"/healthcheck  alive?\n/ready        can it serve?\n/metrics      figures for Prometheus\n"


class ConsoleApp:
    """What the console port answers. `ready` tells whether the node can serve."""

    def __init__(self, metrics: Metrics, ready: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._ready = ready
        self._write = Writer()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.path
        if exchange.method not in ("GET", "HEAD"):
            self._write.other(exchange, 405, b"method not allowed\n", TEXT)
        elif path == "/metrics":
            self._write.other(exchange, 200, self._metrics.render(), METRICS)
        elif path == "/healthcheck":
            self._write.other(exchange, 200, b"{}", JSON)
        elif path == "/ready":
            self._write.other(exchange, 200 if self._ready() else 503, b"{}", JSON)
        elif path == "/":
            self._write.other(exchange, 200, OVERVIEW, TEXT)
        else:
            self._write.other(exchange, 404, b"not found\n", TEXT)
