"""The measurements in their order: in every round each workload, and right before it its floor."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench import (
    board,
    caching,
    cluster,
    costs,
    crowd,
    fanout,
    matches,
    parse,
    population,
    servers,
    signed,
    sockets,
    state,
    storm,
    tickets,
)
from bench.engine import Seen
from bench.processes import cpu_seconds, family_cpu_seconds, machine_cpu_seconds
from bench.servers import HOST, Failed, Node, Postgres
from bench.workloads import (
    BOARD,
    BOARD_ROWS,
    CACHES,
    COMMITS,
    CROWDS,
    HTTP,
    MATCHES,
    PLAYERS,
    POPULATION,
    RELAYS,
    WORKLOADS,
    CrowdLoad,
    Workload,
)
from palestra.database.embedded import binaries

CONNECTIONS = 64
LUA = servers.HERE / "lua" / "requests.lua"
LUA_AT_SIZE = servers.HERE / "lua" / "population.lua"
TRANSFER = servers.HERE / "transfer.pgbench"
GRACE_SECONDS = 30
CROWD_SECONDS = 60
"""For a crowd to come together."""
WARM_SECONDS = 8
GLANCE_SECONDS = 1
"""Long enough to know the CPU time of a request to the HTTP floor."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """One workload, or one floor, in one round. CPU is µs per request of the node and of PostgreSQL."""

    load: parse.Load
    node_us: float | None = None
    postgres_us: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    """CPU per request of the HTTP floor to that of the node: what `ratio` would be if each had a core to itself."""


@dataclass
class Results:
    """Everything that was measured, round by round. `failures` are sentences about what could not be."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    relays: dict[str, list[sockets.Relay]] = field(default_factory=dict)
    crowds: dict[str, list[crowd.Seen]] = field(default_factory=dict)
    matches: dict[str, list[matches.Seen]] = field(default_factory=dict)
    ready: list[tuple[float, float]] = field(default_factory=list)
    idle: list[sockets.Idle] = field(default_factory=list)
    board: list[board.Seen] = field(default_factory=list)
    storms: list[storm.Storm] = field(default_factory=list)
    tickets: list[tickets.Tickets] = field(default_factory=list)
    cache_hit_us: list[float] = field(default_factory=list)
    stampedes: list[caching.Stampedes] = field(default_factory=list)
    cluster: cluster.Seen = field(default_factory=cluster.Seen)
    costs_us: dict[str, float] = field(default_factory=dict)
    state: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Bytes per player and tick, and µs per tick, of each way to tell a state."""
    postgres: dict[str, str] = field(default_factory=dict)
    others_percent: float | None = None
    """Share of all CPUs that went to processes which are not ours while the rounds ran: figures suffer beyond a few."""
    failures: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    chosen: set[str]
    seconds: int
    rounds: int
    idle_sockets: int
    storm_sockets: int
    population: bool = False

    @property
    def workloads(self) -> list[Workload]:
        """Those that were chosen, in their order."""
        return [one for one in (POPULATION if self.population else WORKLOADS) if one.name in self.chosen]


@dataclass(frozen=True)
class _Site:
    """The servers of the rounds, and the file of session tokens."""

    floor: Node
    relay_floor: Node
    node: Node
    postgres: Postgres
    tokens_file: Path
    tokens: list[str]


def run(options: Options, folder: Path, say: Say) -> Results:
    """Measure everything that was chosen. What fails is told in the results; the rest goes on."""
    logging.getLogger("picows").setLevel(logging.ERROR)
    results = Results()
    if options.population:
        _run_at_size(options, folder, results, say)
        return results
    if "costs" in options.chosen:
        with _telling(results, "costs"):
            say("costs of sealing, of batches and of telling followers")
            results.costs_us = {**costs.sealing(folder), **costs.batching(), **fanout.status()}
    if "state" in options.chosen:
        with _telling(results, "state"):
            say("ways to tell what has changed in a state")
            results.state = state.measured()
    rounds_of = [[one for one in kind if one.name in options.chosen] for kind in (WORKLOADS, RELAYS, MATCHES, CROWDS)]
    if any(rounds_of):
        with _telling(results, "the rounds"), _site(folder, say) as site:
            results.postgres = site.postgres.settings
            engines = [workload for workload in WORKLOADS if workload.name in options.chosen and workload.callers]
            if engines:
                say("opening the accounts of the ledger")
                _engine(engines[-1], 1, site, None)
            if "leaderboard_list" in options.chosen:
                _fill_board(site)
            _rounds(options, site, results, say)
    if options.chosen & {"ready", "idle"}:
        for number in range(options.rounds if "ready" in options.chosen else 1):
            with _telling(results, "start and idle sockets"):
                _starts(options, folder / f"start-{number}", results, say)
    if "matchmaker_10000" in options.chosen:
        with _telling(results, "matchmaker"):
            _matchmaking(options, results, say)
    if options.chosen & set(CACHES):
        with _telling(results, "caches"):
            _caching(options, results, say)
    if "resume_storm" in options.chosen:
        with _telling(results, "resume storm"), servers.node(folder / "storm") as node:
            _storm(options, node, results, say)
    if options.chosen & set(cluster.ALL):
        with _telling(results, "several nodes"):
            cluster.measure(options.chosen, options.rounds, options.seconds, folder / "cluster", results.cluster, say)
    return results


def _run_at_size(options: Options, folder: Path, results: Results, say: Say) -> None:
    """Every endpoint with a population, and the leaderboards service on a board of a million."""
    with _telling(results, "the population"), _site_at_size(folder, say) as site:
        results.postgres = site.postgres.settings
        if options.workloads:
            _rounds(options, site, results, say)
        if BOARD in options.chosen:
            with _telling(results, BOARD):
                say("the leaderboards service on a board of a million")
                command = [sys.executable, "-m", "bench.board", site.postgres.node_url, str(options.seconds)]
                results.board.append(msgspec.json.decode(_output(command, 120 + 10 * options.seconds), type=board.Seen))


def _rounds(options: Options, site: _Site, results: Results, say: Say) -> None:
    total, busy, ours = _cpu(site)
    for number in range(options.rounds):
        _round(options, site, results, lambda text, n=number: say(f"round {n + 1}/{options.rounds}  {text}"))
    total_after, busy_after, ours_after = _cpu(site)
    results.others_percent = 100 * max(0.0, busy_after - busy - ours_after + ours) / (total_after - total)


@contextmanager
def _site_at_size(folder: Path, say: Say) -> Iterator[_Site]:
    """As `_site`, with a population in the node's database, among whom are those who call."""
    home, targets = folder / "node", folder / "targets"
    with servers.postgres(folder / "postgres") as postgres:
        say("a first life of the node: tables, boards, and the players who will call")
        with servers.node(home, postgres.node_url, game=servers.POPULATION) as node:
            tokens = servers.log_in(node.port, population.CALLERS)
            population.enter(node.port, tokens)
        population.fill(postgres.node_url, home / "data" / "keyring.json", tokens, targets, say)
        with (
            servers.floor(folder, "floor.py") as floor,
            servers.floor(folder, "relay_floor.py") as relay_floor,
            servers.node(home, postgres.node_url, game=servers.POPULATION) as node,
        ):
            say("waiting for the ranks of a million")
            population.wait_for_ranks(node.port, tokens[0])
            yield _Site(floor, relay_floor, node, postgres, targets, tokens)


@contextmanager
def _site(folder: Path, say: Say) -> Iterator[_Site]:
    say("starting PostgreSQL, the floors and a node")
    with (
        servers.postgres(folder / "postgres") as postgres,
        servers.floor(folder, "floor.py") as floor,
        servers.floor(folder, "relay_floor.py") as relay_floor,
        servers.node(folder / "node", postgres.node_url, {"PALESTRA_PROVIDERS": signed.SETTINGS}) as node,
    ):
        say(f"logging {PLAYERS} players in")
        tokens = servers.log_in(node.port, PLAYERS)
        tokens_file = folder / "tokens"
        tokens_file.write_text("\n".join(tokens) + "\n")
        yield _Site(floor, relay_floor, node, postgres, tokens_file, tokens)


def _cpu(site: _Site) -> tuple[float, float, float]:
    """CPU seconds since the machine started that there were, that were used, and that were ours."""
    own = os.times()
    ours = own.user + own.system + own.children_user + own.children_system + family_cpu_seconds(site.postgres.pid)
    ours += sum(cpu_seconds(server.pid) for server in (site.node, site.floor, site.relay_floor))
    return *machine_cpu_seconds(), ours


def _fill_board(site: _Site) -> None:
    """A record for some players, so that a page of the board is full from the first round on."""
    for number in range(5 * BOARD_ROWS):
        body, token = f'{{"score":"{number}"}}', site.tokens[number]
        status, text = servers.call(site.node.port, "POST", "/v2/leaderboard/bench", body, f"Bearer {token}")
        if status != 200:
            raise Failed(f"filling the leaderboard: {status} {text[:200].decode(errors='replace')}")


def _round(options: Options, site: _Site, results: Results, say: Say) -> None:
    for workload in options.workloads:
        with _telling(results, workload.name):
            # Measured anew beside each workload: the speed of a machine that others share moves within seconds.
            floor = _floor(workload.floor, options.seconds, site)
            _keep(results, workload.floor, floor, say)
            if workload.at_size and workload.floor == HTTP and workload.name not in results.samples:
                # Measured as on a node that has been running for a while, whose caches know what is asked for.
                _wrk(site.node.port, WARM_SECONDS, LUA_AT_SIZE, workload.name, str(site.tokens_file))
            http_us = (floor if workload.floor == HTTP else _floor(HTTP, GLANCE_SECONDS, site)).node_us
            _keep(results, workload.name, _workload(workload, options.seconds, site, floor, http_us), say)
    for relay in RELAYS:
        if relay.name not in options.chosen:
            continue
        with _telling(results, relay.name):
            load = relay.matches, relay.players, relay.rate, options.seconds
            floor = site.node if relay.protobuf else site.relay_floor
            for name, server, protobuf in ((relay.floor, floor, False), (relay.name, site.node, relay.protobuf)):
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    seen = runner.run(sockets.relay(HOST, [server], site.tokens, *load, protobuf=protobuf))
                results.relays.setdefault(name, []).append(seen)
                told = f"{seen.cpu_us:.2f} µs CPU  {seen.p99_ms:.1f} ms"
                say(f"{name:<18} {seen.delivered_per_second:>9,.0f} /s  {told}")
    for load in MATCHES:
        if load.name not in options.chosen:
            continue
        with _telling(results, load.name):
            size = load.matches, load.players, load.rate, options.seconds
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                seen = runner.run(matches.play(site.node, site.tokens, *size))
            results.matches.setdefault(load.name, []).append(seen)
            say(f"{load.name:<18} {matches.told(seen)}")
    for load in CROWDS:
        if load.name not in options.chosen:
            continue
        with _telling(results, load.name):
            seen = _crowd(load, options.seconds, site)
            results.crowds.setdefault(load.name, []).append(seen)
            told = f"{seen.cpu_us:.2f} µs CPU  joined in {seen.joined_seconds:.1f} s"
            say(f"{load.name:<18} {seen.delivered_per_second:>9,.0f} /s  {told}")


def _crowd(load: CrowdLoad, seconds: int, site: _Site) -> crowd.Seen:
    """The listeners in a process of their own."""
    node, arguments = site.node, (site.tokens_file, load.listeners, load.rate, seconds)
    command = [sys.executable, "-m", "bench.crowd", load.kind, *map(str, (node.port, node.pid, *arguments))]
    return msgspec.json.decode(_output(command, seconds + CROWD_SECONDS), type=crowd.Seen)


def _floor(kind: str, seconds: int, site: _Site) -> Sample:
    if kind == HTTP:
        before = cpu_seconds(site.floor.pid)
        load = _wrk(site.floor.port, seconds)
        return Sample(load, node_us=_us(cpu_seconds(site.floor.pid) - before, load))
    assert kind == COMMITS
    before = family_cpu_seconds(site.postgres.pid)
    command = [str(binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared", "--file", str(TRANSFER)]
    command += [f"--client={CONNECTIONS}", "--jobs=1", f"--time={seconds}", site.postgres.floor_url]
    load = parse.pgbench(_output(command, seconds))
    return Sample(load, postgres_us=_us(family_cpu_seconds(site.postgres.pid) - before, load))


def _workload(workload: Workload, seconds: int, site: _Site, floor: Sample, http_us: float | None) -> Sample:
    if workload.callers:
        return _engine(workload, seconds, site, floor)
    file = site.tokens_file
    if workload.signed:
        file = file.with_name("signed")
        signed.write_rounds(file, site.node.port, site.tokens, seconds)
    node_before, postgres_before = cpu_seconds(site.node.pid), family_cpu_seconds(site.postgres.pid)
    load = _wrk(site.node.port, seconds, LUA_AT_SIZE if workload.at_size else LUA, workload.name, str(file))
    if workload.signed:
        each = signed.REQUESTS_PER_ROUND
        load = replace(load, requests=load.requests // each, per_second=load.per_second / each)
    node_us = _us(cpu_seconds(site.node.pid) - node_before, load)
    postgres_us = _us(family_cpu_seconds(site.postgres.pid) - postgres_before, load)
    cpu_ratio = http_us / node_us if http_us and node_us else None
    ratio = load.per_second / floor.load.per_second if floor.load.per_second else None
    return Sample(load, node_us, postgres_us, ratio, cpu_ratio)


def _engine(workload: Workload, seconds: int, site: _Site, floor: Sample | None) -> Sample:
    """The ledger engine in a process of its own, on the node's database."""
    before = family_cpu_seconds(site.postgres.pid)
    command = [sys.executable, "-m", "bench.engine", site.postgres.node_url, str(workload.callers), str(seconds)]
    seen = msgspec.json.decode(_output([*command, "hot"] if workload.hot else command, seconds), type=Seen)
    load = parse.Load(requests=seen.transfers, per_second=seen.per_second, p50_ms=seen.p50_ms, p99_ms=seen.p99_ms)
    postgres_us = _us(family_cpu_seconds(site.postgres.pid) - before, load)
    return Sample(load, seen.cpu_us, postgres_us, load.per_second / floor.load.per_second if floor else None)


def _wrk(port: int, seconds: int, lua: Path | None = None, *arguments: str) -> parse.Load:
    """One load of 64 connections from one thread; with a script, with the requests of a workload."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    if lua is not None:
        command += ["-s", str(lua), f"http://{HOST}:{port}", "--", *arguments, str(time.time_ns() // 1_000_000 % 2**31)]
    else:
        command += [f"http://{HOST}:{port}/"]
    return parse.wrk(_output(command, seconds))


def _output(command: list[str], seconds: int) -> str:
    """Run a tool to its end and return what it printed. Raises Failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed, status {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def _starts(options: Options, folder: Path, results: Results, say: Say) -> None:
    """A node on nothing but itself: its very first start, its next one, and idle sockets on the fresh process."""
    with servers.node(folder) as first:
        say(f"ready              {first.ready_seconds:.2f} s the first time")
    with servers.node(folder) as again:
        say(f"ready              {again.ready_seconds:.2f} s after")
        if "ready" in options.chosen:
            results.ready.append((first.ready_seconds, again.ready_seconds))
        if "idle" not in options.chosen or results.idle:
            return
        tokens = servers.log_in(again.port, PLAYERS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen = runner.run(sockets.idle(HOST, again.port, again.pid, tokens, options.idle_sockets))
        results.idle.append(seen)
        told = f"{seen.each_kib:.1f} KiB each, process {seen.after_kib / 1024:.0f} MiB"
        say(f"idle               {seen.sockets:,} sockets, {told}")


def _matchmaking(options: Options, results: Results, say: Say) -> None:
    """The matchmaker under a stream of tickets, as often as there are rounds."""
    for _ in range(options.rounds):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results.tickets.append(runner.run(tickets.arriving()))
        say(f"matchmaker_10000   {results.tickets[-1].told()}")


def _caching(options: Options, results: Results, say: Say) -> None:
    """A cached read, and a stampede, as often as there are rounds."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(options.rounds):
            if "cache_hit" in options.chosen:
                results.cache_hit_us.append(runner.run(caching.hit_us()))
                say(f"cache_hit          {results.cache_hit_us[-1]:.2f} µs")
            if "cache_stampede" in options.chosen:
                results.stampedes.append(runner.run(caching.stampedes()))
                say(f"cache_stampede     {results.stampedes[-1].told()}")


def _storm(options: Options, node: Node, results: Results, say: Say) -> None:
    """As many storms as rounds, one after the other on one node."""
    count = options.storm_sockets
    say(f"logging {count:,} players in for the storm")
    tokens = servers.log_in(node.port, count + -(-count // storm.MATCH_PLAYERS))
    for _ in range(options.rounds):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen = runner.run(storm.storm(HOST, node.port, node.pid, tokens, count))
        results.storms.append(seen)
        say(f"resume_storm       {seen.told()}")


def _keep(results: Results, name: str, sample: Sample, say: Say) -> None:
    load = sample.load
    results.samples.setdefault(name, []).append(sample)
    ratio = f"  {sample.ratio:.2f} × floor" if sample.ratio is not None else ""
    say(f"{name:<18} {load.per_second:>9,.0f} /s{ratio}" + (f"  INVALID: {load.faults}" if load.faults else ""))
    if load.faults:
        results.failures.append(f"{name}: {load.faults}")


def _us(seconds: float, load: parse.Load) -> float | None:
    return 1e6 * seconds / load.requests if load.requests else None


@contextmanager
def _telling(results: Results, what: str) -> Iterator[None]:
    """Turn a failure into a sentence of the results, so that the rest is measured all the same."""
    try:
        yield
    except (Failed, parse.Unreadable, OSError, RuntimeError, TimeoutError) as error:
        results.failures.append(f"{what}: {str(error) or type(error).__name__}")
