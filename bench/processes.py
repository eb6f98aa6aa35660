"""What the kernel says of a process: CPU time and resident memory, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of one process with all its threads, in steps of a clock tick (10 ms)."""
    return sum(_times(pid)[:2]) / TICKS_PER_SECOND


def family_cpu_seconds(pid: int) -> float:
    """The same for a server that forks: itself, its living children and those that have ended."""
    ticks = sum(_times(pid))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        try:
            ticks += sum(_times(int(child))[:2])
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended since: its parent counts it from now on.
    return ticks / TICKS_PER_SECOND


def machine_cpu_seconds() -> tuple[float, float]:
    """Time of all CPUs since the start of the machine: in all, and not idle. What the host took away is not idle."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    # user nice system idle iowait irq softirq steal; what follows is counted in user already.
    ticks = [int(field) for field in first.split()[1:9]]
    total = sum(ticks)
    return total / TICKS_PER_SECOND, (total - ticks[3] - ticks[4]) / TICKS_PER_SECOND


def resident_kib(pid: int) -> int:
    """Memory of a process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def _times(pid: int) -> list[int]:
    """utime, stime, cutime, cstime in ticks. The name before them may hold blanks and brackets."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) for field in fields[11:15]]
