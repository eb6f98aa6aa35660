"""Several nodes on one PostgreSQL and one Valkey, and a node alone beside them: what it costs that they are several."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench import parse, servers, sockets
from bench.matches import figures
from bench.processes import cpu_seconds, family_cpu_seconds
from bench.servers import HOST, Failed, Node
from palestra.database.sealed import KeyRing

HTTP, RELAY, PRESENCE = ALL = ("cluster_http", "cluster_relay", "cluster_presence")
NODES = 4
PLAYERS = 500
CONNECTIONS = 64
MATCHES, MATCH_PLAYERS, RATE = 100, 2, 40
SOCKETS = 10_000
LUA = servers.HERE / "lua" / "requests.lua"
WARM_UP_SECONDS = 1
GRACE_SECONDS = 30
AGREE_SECONDS_MAX = 30.0
LOOK_SECONDS = 0.02

Say = Callable[[str], None]


@dataclass(frozen=True)
class Mixed:
    """What an HTTP mix cost: CPU µs per request of all nodes together, of PostgreSQL, and of Valkey."""

    nodes_us: float
    postgres_us: float
    broker_us: float
    faults: str


@dataclass(frozen=True)
class Killed:
    """How long after a node was killed every other one's view was the truth again."""

    right_seconds: float
    back_seconds: float
    """From when the last of its sockets had come back with it until all knew of all of them."""

    def told(self) -> str:
        """In a line."""
        return f"right {self.right_seconds:.2f} s after a kill, {self.back_seconds:.2f} s after the return"


@dataclass
class Seen:
    """Round by round. Pairs are of the same load on a node alone and on several nodes, one right after the other."""

    http: list[tuple[Mixed, Mixed]] = field(default_factory=list)
    http_each: list[tuple[Mixed, Mixed]] = field(default_factory=list)
    """As many connections on each of several nodes as on the one alone, as when nodes are added to carry more."""
    http_in_turn: list[tuple[Mixed, Mixed]] = field(default_factory=list)
    """The same load on one of the nodes after the other: what they cost each other, whatever the machine can carry."""
    relay: list[tuple[sockets.Relay, sockets.Relay]] = field(default_factory=list)
    presence: list[Killed] = field(default_factory=list)


class Nodes:
    """Nodes `node-1` and so on, which can be killed and started again; and `alone`, which knows of no others."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.postgres = stack.enter_context(servers.postgres(folder / "postgres"))
        self.broker, self._broker_url = stack.enter_context(servers.valkey(folder / "valkey"))
        self._key_ring = folder / "keyring.json"
        KeyRing.load_or_create(self._key_ring)
        url = servers.database(self.postgres, "alone")
        self.alone = stack.enter_context(servers.node(folder / "alone", url))
        self.several = [self.start(number) for number in range(NODES)]

    def start(self, number: int) -> Node:
        """Start one of several."""
        name = f"node-{number + 1}"
        return self._stack.enter_context(
            servers.node(
                self._folder / name,
                self.postgres.node_url,
                {"PALESTRA_DATABASE_KEY_RING_FILE": str(self._key_ring)},
                arguments=("--node", name, "--redis-url", self._broker_url),
                mortal=True,
            )
        )

    def begin_anew(self, number: int) -> None:
        """Start one that was killed."""
        self.several[number] = self.start(number)


@dataclass(frozen=True)
class _Case:
    nodes: Sequence[Node]
    tokens: list[str]
    players: Path
    """A file of tokens and user ids."""


@contextmanager
def running(folder: Path) -> Iterator[Nodes]:
    """All of them, until the end."""
    folder.mkdir()
    folder.chmod(0o711)
    with ExitStack() as stack:
        yield Nodes(folder, stack)


def measure(chosen: set[str], rounds: int, seconds: int, folder: Path, seen: Seen, say: Say) -> None:
    """Rounds in which the node alone is first, and rounds in which it is last; then a kill for each round."""
    say(f"starting PostgreSQL, Valkey, a node alone and {NODES} on a bus")
    with running(folder) as nodes:
        cases = []
        for some in ([nodes.alone], nodes.several):
            tokens = servers.log_in(some[0].port, PLAYERS)
            cases.append(_Case(some, tokens, _write_players(folder / f"players-{len(some)}", tokens)))
        if HTTP in chosen:
            for case in cases:
                _mixed(nodes, case, WARM_UP_SECONDS, in_turn=True)
        for number in range(rounds):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            if HTTP in chosen:
                ways = (("at once", {}, seen.http), ("on each", {"on_each": True}, seen.http_each))
                for name, way, pairs in (*ways, ("in turn", {"in_turn": True}, seen.http_in_turn)):
                    mixed = {place: _mixed(nodes, cases[place], seconds, **way) for place in order}
                    pairs.append((mixed[0], mixed[1]))
                    told = f"{mixed[0].nodes_us:.1f} : {mixed[1].nodes_us:.1f} µs CPU per request, on 1 node : {NODES}"
                    say(f"{HTTP:<18} {told}, {name}")
            if RELAY in chosen:
                relayed = {place: _relayed(nodes, cases[place], seconds) for place in order}
                seen.relay.append((relayed[0], relayed[1]))
                told = f"{relayed[0].cpu_us:.1f} : {relayed[1].cpu_us:.1f} µs CPU per delivery, on 1 node : 2"
                say(f"{RELAY:<18} {told}, p99 {relayed[1].p99_ms:.1f} ms")
        if PRESENCE in chosen:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_kill_some(nodes, cases[1].tokens, rounds, seen, say))


def _relayed(nodes: Nodes, case: _Case, seconds: int) -> sockets.Relay:
    load = MATCHES, MATCH_PLAYERS, RATE, seconds
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        some = case.nodes[:MATCH_PLAYERS]
        return runner.run(sockets.relay(HOST, some, case.tokens, *load, broker=nodes.broker))


# -- HTTP


def _write_players(file: Path, tokens: Sequence[str]) -> Path:
    file.write_text("".join(f"{token}\t{_user_id(token)}\n" for token in tokens))
    return file


def _user_id(token: str) -> str:
    claims = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["uid"]


def _mixed(nodes: Nodes, case: _Case, seconds: int, *, in_turn: bool = False, on_each: bool = False) -> Mixed:
    """All connections on all nodes of a case at once, as many on each of them, or all on one node after the other."""
    loads: list[parse.Load] = []
    before = _cpu(nodes, case.nodes)
    if in_turn:
        for node in case.nodes:
            loads += _loads([node.port], case.players, seconds if len(case.nodes) == 1 else -(-seconds // 2))
    else:
        ports = [node.port for node in case.nodes]
        loads += _loads(ports, case.players, seconds, CONNECTIONS * (len(ports) if on_each else 1))
    after = _cpu(nodes, case.nodes)
    requests = sum(load.requests for load in loads)
    each = [1e6 * (now - then) / max(1, requests) for then, now in zip(before, after, strict=True)]
    return Mixed(
        nodes_us=each[0],
        postgres_us=each[1],
        broker_us=each[2],
        faults="; ".join({load.faults for load in loads if load.faults}),
    )


def _loads(ports: Sequence[int], players: Path, seconds: int, connections: int = CONNECTIONS) -> list[parse.Load]:
    """As many generators as there may be nodes, each with its share of the connections."""
    each = connections // NODES
    generators = [_wrk(ports[number % len(ports)], seconds, players, number, each) for number in range(NODES)]
    try:
        return [parse.wrk(_said(one, seconds)) for one in generators]
    finally:
        for one in generators:
            one.kill()
            one.wait()


def _wrk(port: int, seconds: int, file: Path, number: int, connections: int) -> subprocess.Popen[str]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(LUA)]
    seed = (time.time_ns() // 1_000_000 + number) % 2**31
    command += [f"http://{HOST}:{port}", "--", "mixed", str(file), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _said(generator: subprocess.Popen[str], seconds: int) -> str:
    try:
        output, _ = generator.communicate(timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"wrk: {error}") from error
    if generator.returncode != 0:
        raise Failed(f"wrk failed, status {generator.returncode}: {output.strip()[-600:]}")
    return output


def _cpu(nodes: Nodes, some: Sequence[Node]) -> tuple[float, float, float]:
    """CPU seconds so far of these nodes, of PostgreSQL, and of Valkey."""
    mine = sum(cpu_seconds(node.pid) for node in some)
    return mine, family_cpu_seconds(nodes.postgres.pid), cpu_seconds(nodes.broker)


# -- presences


async def _kill_some(nodes: Nodes, tokens: list[str], kills: int, seen: Seen, say: Say) -> None:
    """Fill all nodes with sockets; then kill one after the other, which comes back with its sockets each time."""
    each = SOCKETS // NODES
    say(f"opening {SOCKETS:,} sockets on {NODES} nodes")
    sleepers = [[sockets.Sleeper() for _ in range(each)] for _ in range(NODES)]
    for some, node in zip(sleepers, nodes.several, strict=True):
        await sockets.connect(some, HOST, node.port, tokens, "true")
    await _agree(nodes, set(range(NODES)))
    for number in range(kills):
        victim = number % NODES
        others = set(range(NODES)) - {victim}
        killed = time.monotonic()
        nodes.several[victim].kill()
        right_seconds = await _agree(nodes, others) - killed
        await asyncio.to_thread(nodes.begin_anew, victim)
        sleepers[victim] = [sockets.Sleeper() for _ in range(each)]
        await sockets.connect(sleepers[victim], HOST, nodes.several[victim].port, tokens, "true")
        back = time.monotonic()
        seen.presence.append(Killed(right_seconds, await _agree(nodes, {*others, victim}) - back))
        say(f"{PRESENCE:<18} {seen.presence[-1].told()}")
    for some in sleepers:
        await sockets.disconnect(some)


async def _agree(nodes: Nodes, alive: set[int]) -> float:
    """When each of these nodes knew of the sessions and presences of the others, and of no more."""
    waiting = set(alive)
    remote = (len(alive) - 1) * SOCKETS // NODES
    until = time.monotonic() + AGREE_SECONDS_MAX
    while True:
        for number in sorted(waiting):
            shown = await asyncio.to_thread(figures, nodes.several[number])
            if shown["palestra_remote_sessions"] == remote == shown["palestra_remote_presences"]:
                waiting.discard(number)
        if not waiting:
            return time.monotonic()
        if time.monotonic() > until:
            raise Failed(f"{len(waiting)} nodes do not know the truth after {AGREE_SECONDS_MAX:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)
