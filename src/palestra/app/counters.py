"""The figures of a node, gathered from its parts when somebody scrapes."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from palestra.app.build import Parts
from palestra.core.metrics import Sample
from palestra.database.batch import Batch
from palestra.gateway.dispatch import measure


def measure_node(parts: Parts) -> None:
    """Register every source of figures."""
    metrics = parts.metrics
    measure(metrics, parts.table, parts.dispatcher)
    parts.sockets.measure(metrics)
    parts.jobs.measure(metrics)
    parts.services.live.matchmaker.measure(metrics)
    parts.services.live.running.measure(metrics)
    parts.services.live.parties.measure(metrics)
    parts.services.money.ledger_audit.measure(metrics)
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


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as state:
            return int(state.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
