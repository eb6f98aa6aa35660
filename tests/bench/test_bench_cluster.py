"""What the bench says of several nodes: medians of ratios of neighbours, and no verdict on what went wrong."""

from __future__ import annotations

from bench.cluster import HTTP, PRESENCE, RELAY, Killed, Mixed
from bench.measure import Results
from bench.report import Row, rows
from bench.sockets import Relay


def mixed(nodes_us: float, faults: str = "") -> Mixed:
    return Mixed(nodes_us, postgres_us=20, broker_us=1, faults=faults)


def relay(cpu_us: float, p99_ms: float, delivered_percent: float = 100) -> Relay:
    return Relay(8_000, 8_000, delivered_percent, 0.3, p99_ms, cpu_us, 10, 2.5)


def row_of(results: Results, name: str) -> Row:
    (found,) = (row for row in rows(results, population=False) if row.name == name)
    return found


def test_ratios_are_those_of_neighbours() -> None:
    results = Results()
    # The machine was slow in one round: a ratio of medians would be 1.5.
    results.cluster.http = [(mixed(100), mixed(110)), (mixed(200), mixed(210)), (mixed(60), mixed(165))]
    row = row_of(results, HTTP)
    assert row.reached
    assert row.figure == "1.10 × (165 : 100 µs); pg 20 : 20, Valkey 1 µs"


def test_errors_leave_no_verdict() -> None:
    results = Results()
    results.cluster.http = [(mixed(100), mixed(100, "5 answers were errors"))]
    results.cluster.relay = [(relay(15, 1), relay(20, 1, 90))]
    for name in (HTTP, RELAY):
        row = row_of(results, name)
        assert row.reached is None
        assert row.faults


def test_a_relay_needs_both_its_cost_and_its_delay() -> None:
    results = Results()
    results.cluster.relay = [(relay(15, 1), relay(29, 4))]
    assert row_of(results, RELAY).reached
    results.cluster.relay = [(relay(15, 1), relay(29, 6))]
    assert row_of(results, RELAY).reached is False
    results.cluster.relay = [(relay(15, 1), relay(31, 4))]
    assert row_of(results, RELAY).reached is False


def test_the_slowest_kill_counts() -> None:
    results = Results()
    results.cluster.presence = [Killed(0.6, 0.1), Killed(2.1, 0.1), Killed(0.7, 0.1)]
    row = row_of(results, PRESENCE)
    assert row.reached is False
    assert row.figure == "right 2.10 s after a kill, 0.10 s after the return"
