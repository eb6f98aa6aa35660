"""Whether a process of this machine still runs: a node that was killed is known to be gone at once."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import msgspec


class Process(msgspec.Struct, frozen=True, array_like=True):
    """A process for all machines: where it runs, its pid there, and when it began in ticks of that machine."""

    machine: str
    pid: int
    started: str

    def is_gone(self) -> bool:
        """Whether it certainly runs no more; False for processes of other machines."""
        return self.machine != "" and self.machine == machine() and _started(self.pid) != self.started


def this_process() -> Process:
    """The process that asks."""
    return Process(machine(), os.getpid(), _started(os.getpid()))


@functools.cache
def machine() -> str:
    """One boot of one machine, as processes see each other there; "" where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began; "" when there is none, or only its remains."""
    try:
        # The name of the program, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
