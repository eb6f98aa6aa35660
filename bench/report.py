"""What a run is told as: one table for people, one JSON document for the record."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import cluster
from bench.crowd import Seen
from bench.matches import told
from bench.measure import Options, Results, Sample
from bench.sockets import Relay
from bench.workloads import (
    BOARD_MS_MAX,
    BOARD_WRITE_RATIO_MAX,
    CACHE_HIT_US_MAX,
    CLUSTER_CPU_RATIO_MAX,
    CLUSTER_PRESENCE_SECONDS_MAX,
    CLUSTER_RELAY_CPU_RATIO_MAX,
    CLUSTER_RELAY_P99_MS_MAX,
    COMMITS,
    CROWDS,
    HTTP,
    IDLE_EACH_KIB_MAX,
    IDLE_PROCESS_MIB_MAX,
    LATE_P99_MS_MAX,
    MATCHES_CPU_PERCENT_MAX,
    POPULATION,
    READY_AGAIN_SECONDS_MAX,
    READY_FIRST_SECONDS_MAX,
    RELAY_DELIVERED_PERCENT_MIN,
    RELAY_P99_MS_MAX,
    RELAYS,
    STAMPEDE_QUERIES_MAX,
    STORM_CPU_SECONDS_MAX,
    TICKETS_PAUSE_MS_MAX,
    TICKETS_WAIT_MS_MAX,
    WORKLOADS,
)

FLOOR_TITLES = {HTTP: "floor: asgi", COMMITS: "floor: pgbench"}
COLUMNS = ("/s", "p99 ms", "node µs", "pg µs", "× floor", "CPU ×")


@dataclass(frozen=True)
class Row:
    """One line of the table. `reached` is None where there is no goal, or no valid figure."""

    name: str
    per_second: float | None = None
    p99_ms: float | None = None
    node_us: float | None = None
    postgres_us: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    goal: str = ""
    reached: bool | None = None
    figure: str = ""
    """What a row that is no load has to say."""
    faults: str = ""


def rows(results: Results, population: bool) -> list[Row]:
    """Medians of the rounds, with the goals."""
    made: list[Row] = []
    floors: set[str] = set()
    for workload in POPULATION if population else WORKLOADS:
        samples = results.samples.get(workload.name)
        if workload.floor not in floors and (floor := results.samples.get(workload.floor)):
            floors.add(workload.floor)
            made.append(_loaded(FLOOR_TITLES[workload.floor], floor, workload.floor == COMMITS))
        if samples:
            made.append(_loaded(workload.name, samples, workload.asks_postgres, workload.goal, workload.p99_ms_max))
    more = (_relay_rows, _crowd_rows, _match_rows, _process_rows, _cluster_rows, _board_rows)
    return [*made, *(row for kind in more for row in kind(results))]


def _loaded(name: str, samples: list[Sample], writes: bool, goal: float = 0.0, p99_ms_max: float = 0.0) -> Row:
    ratio = _median([s.ratio for s in samples])
    p99_ms = _median([s.load.p99_ms for s in samples])
    faults = next((s.load.faults for s in samples if s.load.faults), "")
    return Row(
        name=name,
        per_second=_median([s.load.per_second for s in samples]),
        p99_ms=p99_ms,
        node_us=_median([s.node_us for s in samples]),
        postgres_us=_median([s.postgres_us for s in samples]) if writes else None,
        ratio=ratio,
        cpu_ratio=_median([s.cpu_ratio for s in samples]),
        goal=(f"≥ {goal:.2f}" if goal else "") + (f", {p99_ms_max:.0f} ms" if p99_ms_max else ""),
        reached=ratio is not None and ratio >= goal and (p99_ms or 0) <= (p99_ms_max or math.inf)
        if goal and not faults
        else None,
        faults=faults,
    )


def _relay_rows(results: Results) -> list[Row]:
    made = []
    for relay in RELAYS:
        if not (seen := results.relays.get(relay.name)):
            continue
        made.append(_relayed(f"floor: {relay.floor}", results.relays[relay.floor]))
        row = _relayed(relay.name, seen)
        pairs = zip(results.relays[relay.floor], seen, strict=False)
        made.append(
            replace(
                row,
                cpu_ratio=median(floor.cpu_us / own.cpu_us for floor, own in pairs),
                goal=f"≤ {relay.goal_us} µs, {RELAY_P99_MS_MAX:.0f} ms",
                reached=None if row.faults else (row.node_us or 0) <= relay.goal_us and _p99_reached(row),
            )
        )
    return made


def _crowd_rows(results: Results) -> list[Row]:
    made = []
    for load in CROWDS:
        if seen := results.crowds.get(load.name):
            row = _relayed(load.name, seen)
            reached = None if row.faults else (row.node_us or 0) <= load.goal_us
            made.append(replace(row, goal=f"≤ {load.goal_us} µs", reached=reached))
    return made


def _relayed(name: str, seen: Sequence[Relay | Seen]) -> Row:
    delivered = min(s.delivered_percent for s in seen)
    return Row(
        name=name,
        per_second=median(s.delivered_per_second for s in seen),
        p99_ms=median(s.p99_ms for s in seen),
        node_us=median(s.cpu_us for s in seen),
        faults="" if delivered >= RELAY_DELIVERED_PERCENT_MIN else f"only {delivered:.1f} % delivered",
    )


def _p99_reached(row: Row) -> bool:
    return row.p99_ms is not None and row.p99_ms <= RELAY_P99_MS_MAX


def _match_rows(results: Results) -> list[Row]:
    made = []
    for name, rounds in results.matches.items():
        seen = sorted(rounds, key=lambda one: one.late_p99_ms)[len(rounds) // 2]
        made.append(
            Row(
                name=name,
                figure=told(seen),
                goal=f"≤ {LATE_P99_MS_MAX:.0f} ms, {MATCHES_CPU_PERCENT_MAX:.0f} %",
                reached=seen.late_p99_ms <= LATE_P99_MS_MAX and seen.cpu_percent <= MATCHES_CPU_PERCENT_MAX,
            )
        )
    return made


def _process_rows(results: Results) -> list[Row]:
    made = []
    for idle in results.idle:
        mib = idle.after_kib / 1024
        made.append(
            Row(
                name=f"{idle.sockets:,} idle sockets",
                figure=f"{idle.each_kib:.1f} KiB each, process {mib:.0f} MiB",
                goal=f"≤ {IDLE_EACH_KIB_MAX:.0f} KiB, {IDLE_PROCESS_MIB_MAX:.0f} MiB",
                reached=idle.each_kib <= IDLE_EACH_KIB_MAX and mib <= IDLE_PROCESS_MIB_MAX,
            )
        )
    if results.storms:
        worst = max(results.storms, key=lambda one: (not one.whole, one.cpu_seconds))
        goal = f"all, 0, ≤ {STORM_CPU_SECONDS_MAX:.0f} s"
        reached = worst.whole and worst.cpu_seconds <= STORM_CPU_SECONDS_MAX
        made.append(Row("resume_storm", figure=worst.told(), goal=goal, reached=reached))
    if results.tickets:
        middle = sorted(results.tickets, key=lambda one: one.pause_max_ms)[len(results.tickets) // 2]
        goal = f"p99 ≤ {TICKETS_WAIT_MS_MAX:.0f} ms, pauses ≤ {TICKETS_PAUSE_MS_MAX:.0f} ms"
        reached = middle.wait_p99_ms <= TICKETS_WAIT_MS_MAX and middle.pause_max_ms <= TICKETS_PAUSE_MS_MAX
        made.append(Row("matchmaker_10000", figure=middle.told(), goal=goal, reached=reached))
    if results.cache_hit_us:
        cost = median(results.cache_hit_us)
        goal = f"≤ {CACHE_HIT_US_MAX:.0f} µs"
        made.append(Row("cache_hit", figure=f"{cost:.2f} µs", goal=goal, reached=cost <= CACHE_HIT_US_MAX))
    if results.stampedes:
        most = max(results.stampedes, key=lambda one: one.queries)
        reached = most.queries <= STAMPEDE_QUERIES_MAX * most.stampedes
        goal = f"≤ {STAMPEDE_QUERIES_MAX:.0f} query"
        made.append(Row("cache_stampede", figure=most.told(), goal=goal, reached=reached))
    limits = (READY_FIRST_SECONDS_MAX, READY_AGAIN_SECONDS_MAX)
    for name, place, limit in zip(("ready, first start", "ready, next start"), (0, 1), limits, strict=True):
        if results.ready:
            seconds = median(pair[place] for pair in results.ready)
            made.append(Row(name, figure=f"{seconds:.2f} s", goal=f"≤ {limit:.0f} s", reached=seconds <= limit))
    made += [Row(name, figure=f"{cost:.2f} µs") for name, cost in results.costs_us.items()]
    made += [Row(name, figure=f"{size:,.0f} B, {cost:,.0f} µs") for name, (size, cost) in results.state.items()]
    return made


def _cluster_rows(results: Results) -> list[Row]:
    """Ratios are medians of those of the rounds; what PostgreSQL and Valkey cost is shown beside."""
    seen = results.cluster
    made = _mixed_rows(cluster.HTTP, seen.http)
    made += _mixed_rows(f"{cluster.HTTP}, each", seen.http_each)
    made += _mixed_rows(f"{cluster.HTTP}, turns", seen.http_in_turn)
    if seen.relay:
        ratio = median(two.cpu_us / alone.cpu_us for alone, two in seen.relay)
        p99_ms = median(two.p99_ms for _, two in seen.relay)
        delivered = min(one.delivered_percent for pair in seen.relay for one in pair)
        faults = "" if delivered >= RELAY_DELIVERED_PERCENT_MIN else f"only {delivered:.1f} % delivered"
        alone_us, two_us = (median(pair[place].cpu_us for pair in seen.relay) for place in (0, 1))
        broker_us = median(two.broker_us for _, two in seen.relay)
        made.append(
            Row(
                cluster.RELAY,
                figure=f"{ratio:.2f} × ({two_us:.1f} : {alone_us:.1f} µs), {p99_ms:.1f} ms; Valkey {broker_us:.1f} µs",
                goal=f"≤ {CLUSTER_RELAY_CPU_RATIO_MAX:.0f} ×, {CLUSTER_RELAY_P99_MS_MAX:.0f} ms",
                reached=None if faults else ratio <= CLUSTER_RELAY_CPU_RATIO_MAX and p99_ms <= CLUSTER_RELAY_P99_MS_MAX,
                faults=faults,
            )
        )
    if seen.presence:
        worst = max(seen.presence, key=lambda one: one.right_seconds)
        goal = f"≤ {CLUSTER_PRESENCE_SECONDS_MAX:.0f} s"
        reached = worst.right_seconds <= CLUSTER_PRESENCE_SECONDS_MAX
        made.append(Row(cluster.PRESENCE, figure=worst.told(), goal=goal, reached=reached))
    return made


def _mixed_rows(name: str, pairs: list[tuple[cluster.Mixed, cluster.Mixed]]) -> list[Row]:
    if not pairs:
        return []
    ratio = median(several.nodes_us / alone.nodes_us for alone, several in pairs)
    alone_us, several_us = (median(pair[place].nodes_us for pair in pairs) for place in (0, 1))
    alone_pg, several_pg = (median(pair[place].postgres_us for pair in pairs) for place in (0, 1))
    broker_us = median(several.broker_us for _, several in pairs)
    beside = f"pg {several_pg:.0f} : {alone_pg:.0f}, Valkey {broker_us:.0f} µs"
    faults = next((one.faults for pair in pairs for one in pair if one.faults), "")
    return [
        Row(
            name,
            figure=f"{ratio:.2f} × ({several_us:.0f} : {alone_us:.0f} µs); {beside}",
            goal=f"≤ {CLUSTER_CPU_RATIO_MAX} ×",
            reached=None if faults else ratio <= CLUSTER_CPU_RATIO_MAX,
            faults=faults,
        )
    ]


def _board_rows(results: Results) -> list[Row]:
    made = []
    for seen in results.board:
        owners = f"of {seen.owners:,}"
        for name, ms in ((f"rank {owners}, in the service", seen.rank_ms), (f"around, {owners}", seen.around_ms)):
            made.append(Row(name, figure=f"{ms:.2f} ms", goal=f"≤ {BOARD_MS_MAX:.0f} ms", reached=ms <= BOARD_MS_MAX))
        ratio = seen.write_large_us / seen.write_small_us
        figure = f"{seen.write_large_us:.0f} µs, {ratio:.2f} × that to one of a thousand"
        goal = f"≤ {BOARD_WRITE_RATIO_MAX} ×"
        made.append(Row(f"write, {owners}", figure=figure, goal=goal, reached=ratio <= BOARD_WRITE_RATIO_MAX))
        made.append(Row(f"loading ranks, {owners}", figure=f"{seen.load_seconds:.1f} s"))
    return made


def show(results: Results, options: Options, console: Console) -> None:
    """Print the table of loads, that of single figures, and what failed."""
    loads = _table("", *COLUMNS, "goal", "reached")
    figures = _table("", "figure", "goal", "reached")
    for row in rows(results, options.population):
        verdict = "INVALID" if row.faults else {None: "", True: "yes", False: "NO"}[row.reached]
        style = "red" if row.faults or row.reached is False else "bold" if row.name.startswith("floor") else ""
        if row.per_second is None:
            figures.add_row(row.name, row.figure, row.goal, verdict, style=style)
            continue
        rates = [_text(row.per_second, 0), _text(row.p99_ms, 1), _text(row.node_us, 1), _text(row.postgres_us, 1)]
        loads.add_row(row.name, *rates, _text(row.ratio, 2), _text(row.cpu_ratio, 2), row.goal, verdict, style=style)
    for table in (loads, figures):
        if table.rows:
            console.print(table)
    console.print(_caption(results, options), highlight=False)
    if results.others_percent is not None:
        console.print(f"Other processes took {results.others_percent:.0f} % of the CPUs meanwhile.", highlight=False)
    for failure in dict.fromkeys(results.failures):
        console.print(f"failed: {failure}", style="red", markup=False)


def _table(first: str, *titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def document(results: Results, options: Options) -> dict[str, Any]:
    """The same for machines, with every round."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "seconds": options.seconds,
        "rounds": options.rounds,
        "rows": [vars(row) for row in rows(results, options.population)],
        "measured": results.plain(),
    }


def _caption(results: Results, options: Options) -> str:
    version = f", PostgreSQL {results.postgres['server_version']}" if results.postgres else ""
    durable = f", fsync {results.postgres['fsync']}" if results.postgres else ""
    return (
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}{version}{durable}; wrk -t1 -c64, "
        f"{options.rounds} × {options.seconds} s, medians; ratios are of neighbours. "
        "µs: CPU time per request (relay: per delivered message)."
    )


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
