"""Health, readiness and metrics for operators, balancers and scrapers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from palestra.core.metrics import Metrics
from palestra.gateway.http.answer import Writer

TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"))
METRICS = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), (b"cache-control", b"no-store"))
JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
OVERVIEW = b"/healthcheck  alive?\n/ready        can it serve?\n/metrics      figures for Prometheus\n"


class ConsoleApp:
    """An ASGI callable for the console port. `ready` tells whether the node can serve."""

    def __init__(self, metrics: Metrics, ready: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._ready = ready
        self._write = Writer()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        cycle, path = send.__self__, scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            self._write.other(cycle, 405, b"method not allowed\n", TEXT)
        elif path == "/metrics":
            self._write.other(cycle, 200, self._metrics.render(), METRICS)
        elif path == "/healthcheck":
            self._write.other(cycle, 200, b"{}", JSON)
        elif path == "/ready":
            self._write.other(cycle, 200 if self._ready() else 503, b"{}", JSON)
        elif path == "/":
            self._write.other(cycle, 200, OVERVIEW, TEXT)
        else:
            self._write.other(cycle, 404, b"not found\n", TEXT)
