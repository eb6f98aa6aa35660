"""The command: `python -m bench [NAME …]`."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Console

from bench import cluster, measure, report, servers
from bench.workloads import CROWDS, all_names, choose

LATEST = servers.HERE / "results" / "latest.json"
SPARE_FILES = 500

app = App(name="bench", result_action="return_value")


@app.default
def bench(
    *names: str,
    seconds: int = 5,
    rounds: int = 3,
    idle: int = 3_000,
    storm: int = 3_000,
    json: Path | None = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
    population: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure the hot paths of a node against the floors of this machine; about ten minutes by default.

    Parameters
    ----------
    names: What to measure, by the beginnings of names; everything by default.
    seconds: Length of each load.
    rounds: How often everything is repeated; medians are shown.
    idle: How many idle sockets to open.
    storm: How many sockets to drop at once.
    json: Write every figure of every round to this file.
    keep: Write the same to bench/results/latest.json.
    population: Measure every endpoint at size instead: 100,000 players with 50 friends each, 10,000 groups, a board of
        a million; takes some minutes to fill and ten for each round.
    """
    try:
        chosen = choose(list(names), population)
    except KeyError as error:
        print(f"bench: nothing begins with {error}; there are: {', '.join(all_names(population))}", file=sys.stderr)
        return 2
    if min(seconds, rounds, idle, storm) < 1:
        print("bench: --seconds, --rounds, --idle and --storm are at least 1", file=sys.stderr)
        return 2
    _allow_files(2 * max(idle, storm, cluster.SOCKETS, *(one.listeners for one in CROWDS)) + SPARE_FILES)
    options = measure.Options(chosen, seconds, rounds, idle, storm, population)
    # PostgreSQL runs as an account of its own when this is root, and must be able to enter.
    with tempfile.TemporaryDirectory(prefix="palestra-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        results = measure.run(options, folder, _say)
    report.show(results, options, Console(width=None if sys.stdout.isatty() else 100))
    text = msgspec.json.format(msgspec.json.encode(report.document(results, options)), indent=2) + b"\n"
    for file in [*([json] if json else []), *([LATEST] if keep else [])]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    return 1 if results.failures else 0


def _allow_files(wanted: int) -> None:
    """Raise the soft limit on open files as far as it may be: it is inherited by the servers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    # As Ctrl-C does: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(app())
    except KeyboardInterrupt:
        sys.exit(130)
