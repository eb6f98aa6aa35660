"""The figures of a node, gathered from its parts when somebody scrapes."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from typing import Any

from palestra.app.build import Parts
from palestra.core.clock import SystemClock
from palestra.core.metrics import Sample
from palestra.database.batch import Batch
from palestra.gateway.dispatch import measure
from palestra.gateway.websocket.figures import measure_sockets


def measure_node(parts: Parts) -> None:
    """Register every source of figures."""
    metrics = parts.metrics
    measure(metrics, parts.table, parts.dispatcher)
    measure_sockets(parts.sockets, metrics)
    parts.jobs.measure(metrics)
    parts.services.caches.measure(metrics)
    parts.services.live.matchmaker.measure(metrics)
    parts.services.live.running.measure(metrics)
    parts.services.live.parties.measure(metrics)
    if not parts.cluster.alone:
        parts.cluster.bus.measure(metrics)
        parts.cluster.members.measure(metrics)
    if (others := parts.services.live.others) is not None:
        others.measure(metrics)
    parts.services.money.ledger_audit.measure(metrics)
    if parts.replica_reads is not None:
        parts.replica_reads.measure(metrics)
    if parts.services.boards.sharing is not None:
        parts.services.boards.sharing.measure(metrics)
    batches: list[Batch] = [batch for store in parts.services.stores for batch in store.batches]

    def of_batches(attribute: str) -> Iterable[Sample]:
        return [((batch.name,), getattr(batch, attribute)) for batch in batches]

    label = ("batch",)
    metrics.counter("palestra_batch_items", "Items sent to the database", label, lambda: of_batches("items"))
    metrics.counter("palestra_batch_rounds", "Round trips they shared", label, lambda: of_batches("rounds"))
    metrics.counter("palestra_batch_sheds", "Items refused by a full queue", label, lambda: of_batches("sheds"))
    metrics.counter("palestra_batch_retries", "Rounds sent again", label, lambda: of_batches("retries"))
    metrics.gauge("palestra_batch_queue", "Items waiting", label, lambda: of_batches("depth"))

    ledger = parts.services.money.ledger
    metrics.counter(
        "palestra_ledger_conflicts", "Rounds of entries that were decided again", (), lambda: [((), ledger.conflicts)]
    )
    events = parts.services.client_events
    metrics.counter("palestra_client_events", "Events reported", (), lambda: [((), events.sent)])
    metrics.counter("palestra_client_events_dropped", "Events dropped", (), lambda: [((), events.dropped)])
    runtime = parts.runtime
    metrics.counter("palestra_game_failures", "Bugs of game code", (), lambda: [((), runtime.failures)])
    metrics.counter("palestra_game_cut_off", "Game code that took too long", (), lambda: [((), runtime.bounds.cut_off)])
    metrics.gauge(
        "palestra_database_available", "1 while it answers", (), lambda: [((), int(parts.database.available))]
    )
    metrics.counter("process_cpu_seconds", "Processor time used", (), lambda: [((), _cpu_seconds())])
    metrics.gauge("process_resident_memory_bytes", "Memory in use", (), lambda: [((), _resident_bytes())])


SHOWN = {
    "sockets": "palestra_sockets",
    "matches": "palestra_matches",
    "parties": "palestra_parties",
    "tickets": "palestra_matchmaker_tickets",
    "sessions_elsewhere": "palestra_remote_sessions",
}
"""What operators are shown of each node, and the metric that it is."""


def report(parts: Parts) -> Callable[[], dict[str, Any]]:
    """What a node says of itself to operators, each time with the rates of its bus since the time before."""
    bus, monotonic = parts.cluster.bus, SystemClock().monotonic
    before, sent, received = monotonic(), 0, 0

    def figures() -> dict[str, Any]:
        nonlocal before, sent, received
        now, now_sent, now_received = monotonic(), bus.messages_sent, bus.messages_received
        seconds = max(now - before, 0.001)
        found: dict[str, Any] = {name: int(parts.metrics.total(metric)) for name, metric in SHOWN.items()}
        found |= {
            "draining": parts.cluster.members.draining,
            "alone": parts.cluster.alone,
            "bus_up": bus.up or parts.cluster.alone,
            "bus_sent_per_second": round((now_sent - sent) / seconds, 1),
            "bus_received_per_second": round((now_received - received) / seconds, 1),
            "bus_gaps": bus.gaps,
        }
        before, sent, received = now, now_sent, now_received
        return found

    return figures


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as state:
            return int(state.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
