"""Reading what wrk and pgbench print."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0}


class Unreadable(Exception):
    """A tool printed something else than figures; the message holds what."""


@dataclass(frozen=True)
class Load:
    """What a load generator saw. `faults` says in words what went wrong, "" for a clean run."""

    requests: int
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    faults: str = ""


def wrk(output: str) -> Load:
    """The figures of one `wrk --latency` run. Raises Unreadable."""
    requests = _number(r"(\d+) requests in", output)
    faults = []
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
        faults.append(f"{int(found[1]):,} of {int(requests):,} answers were errors")
    if found := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output):
        kinds = zip(("connect", "read", "write", "timeout"), found.groups(), strict=True)
        faults.append("socket errors: " + ", ".join(f"{count} {kind}" for kind, count in kinds if count != "0"))
    if requests == 0:
        faults.append("no answer at all")
    return Load(
        requests=int(requests),
        per_second=_number(r"Requests/sec:\s+([\d.]+)", output),
        p50_ms=_percentile("50%", output),
        p99_ms=_percentile("99%", output),
        faults="; ".join(faults),
    )


def pgbench(output: str) -> Load:
    """The figures of one pgbench run; it knows no percentiles. Raises Unreadable."""
    transactions = int(_number(r"number of transactions actually processed: (\d+)", output))
    if transactions == 0:
        # It says no more in this case.
        return Load(0, 0.0, None, None, "no transaction at all")
    failed = int(_number(r"number of failed transactions: (\d+)", output))
    return Load(
        requests=transactions,
        per_second=_number(r"tps = ([\d.]+)", output),
        p50_ms=None,
        p99_ms=None,
        faults=f"{failed:,} transactions failed" if failed else "",
    )


def _number(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise Unreadable(output.strip()[-600:] or "nothing was printed")
    return float(found[1])


def _percentile(name: str, output: str) -> float | None:
    found = re.search(rf"^\s*{name}\s+([\d.]+)(us|ms|s|m|h)\s*$", output, re.MULTILINE)
    return float(found[1]) * UNIT_MS[found[2]] if found else None
