"""How many nodes, connections, memory and money so many players take: arithmetic over measured costs.

`python -m tools.capacity` prints the tables, `--write` puts them into docs/reference/capacity.md. To ask about your own
game, change BEHAVIOUR and PRICES below; everything else follows.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[1] / "docs/reference/capacity.md"
BEGIN, END = "<!-- capacity: begin -->", "<!-- capacity: end -->"
PLAYERS = (1_000, 100_000, 1_000_000, 10_000_000)


class Cost(NamedTuple):
    """CPU of one operation in microseconds. `writes` says that it takes a commit, which a round shares."""

    node_us: float
    postgres_us: float
    writes: bool = False


# -- measured: `./dev bench`, on a machine of 2 virtual cores, Python 3.11, PostgreSQL 18.4

COSTS = {
    "account": Cost(39.6, 8.5),
    "list": Cost(30.4, 4.6),
    "function": Cost(19.7, 0),
    "log-in": Cost(34.6, 8.5),
    "new account": Cost(60.1, 31.6, writes=True),
    "stored object": Cost(44.4, 16.6, writes=True),
    "score": Cost(46.7, 16.4, writes=True),
    "coins": Cost(127.2, 88.1, writes=True),
}
COMMIT_US = 221.7
"""PostgreSQL's CPU for a transaction that shares with nobody (pgbench)."""
EMPTY_US = 18.5
"""An empty answer; taken for a ping and its pong."""
TICK_US = 15.5
"""A player's share of a tick: 100 matches of 10 at 20 ticks a second take 31 % of a core."""
DELIVERY_US = 3.1
"""One message to one socket (relay_100x10x4)."""
TICK_BYTES = 237
"""State sync of 100 units of which a fifth move."""
NODE_MIB = 106
"""A fresh node."""
SOCKET_KIB = 8.4
CONNECTIONS = 59
"""A node's to PostgreSQL, all in use: 49 of batches, 8 of the pool, one that listens, one that watches."""

# -- assumed

SESSION_KIB = 1.0
"""What every node keeps of each session of the whole cluster."""
SESSION_CHANGE_US = 5.0
"""What every node spends when a session comes or goes anywhere."""
CROSSING = 2.0
"""A delivery to a player on another node, in deliveries on one node: both nodes together."""
HTTP_CLUSTER = 1.15
"""An operation on one of many nodes, in operations on a lone one."""
ROUND_SECONDS = 0.002
"""A round trip and commit: what comes to a node meanwhile shares the next."""
BUSY = 0.6
"""How full a core may be on average, so that peaks and the loss of a node fit."""
CELL_PLAYERS_MAX = 100_000
"""Beyond this players are divided into cells that share nothing: a broker carries no more of what crosses nodes."""
TURNS = 100
"""Turns of a busy node's loop in a second: what one node tells another in a turn is one packet."""
POSTGRES_CONNECTIONS_MAX = 500
"""Beyond this a pooler goes between."""

BEHAVIOUR = {
    "account": 1 / 300,
    "list": 1 / 60,
    "function": 1 / 30,
    "log-in": 1 / 1_800,
    "new account": 1 / 36_000,
    "stored object": 1 / 120,
    "score": 1 / 600,
    "coins": 1 / 300,
}
"""What one player does, per second."""
IN_MATCHES = 0.4
"""Share of players in matches that the server decides, ten in each."""
TICKS = 20
CHAT_DELIVERIES = 0.4
"""Chat messages that reach a player, per second."""
PING_SECONDS = 15
SESSION_SECONDS = 1_800

PRICES = {"core": 25.0, "GiB": 3.0, "database core": 100.0, "egress GB": 0.05}
"""Dollars a month, and per gigabyte sent out: round figures of public clouds."""
MONTH_SECONDS = 30 * 86_400


class Need(NamedTuple):
    """What so many players take. Everything is for all cells together."""

    players: int
    cells: int
    nodes: int
    node_cores: float
    memory_gib: float
    connections: int
    commits: float
    items_per_round: float
    postgres_cores: float
    packets: float
    egress_mbit: float
    dollars: float


def live_us(nodes: int) -> float:
    """CPU per player and second that goes into what is live: ticks, chat and pings."""
    elsewhere = 1 - 1 / nodes
    crossing = 1 + (CROSSING - 1) * elsewhere
    return (IN_MATCHES * TICKS * TICK_US + CHAT_DELIVERIES * DELIVERY_US) * crossing + EMPTY_US / PING_SECONDS


def http_us(nodes: int) -> float:
    """CPU of nodes per player and second that goes into operations."""
    return sum(rate * COSTS[name].node_us for name, rate in BEHAVIOUR.items()) * (HTTP_CLUSTER if nodes > 1 else 1)


def news_us(players: int) -> float:
    """CPU per second that each node spends on hearing of sessions that come and go."""
    return 2 * players / SESSION_SECONDS * SESSION_CHANGE_US


def nodes_for(players: int) -> int:
    """How many nodes, of one core each, carry a cell of so many players."""
    nodes = 1
    # What a node spends depends on how many there are, so the number is approached from below.
    while players * (live_us(nodes) + http_us(nodes)) + nodes * (news_us(players) if nodes > 1 else 0) > (
        nodes * BUSY * 1e6
    ):
        nodes += 1
    return nodes


def items_per_round(players: int, nodes: int) -> float:
    """How many items of the most frequent write share a commit on one node; alone is 1."""
    most = max(rate for name, rate in BEHAVIOUR.items() if COSTS[name].writes)
    return max(1.0, players * most / nodes * ROUND_SECONDS)


def packets(players: int, nodes: int) -> float:
    """Packets on the bus of a cell: inputs to matches and their ticks, to and from players on other nodes."""
    messages = 2 * players * IN_MATCHES * TICKS * (1 - 1 / nodes)
    return min(messages, nodes * (nodes - 1) * TURNS)


def postgres_us(sharing: float) -> float:
    """PostgreSQL's CPU per player and second: what an item costs in a crowd, and its share of a commit of its own."""
    total = 0.0
    for name, rate in BEHAVIOUR.items():
        cost = COSTS[name]
        alone = max(COMMIT_US - cost.postgres_us, 0) / sharing if cost.writes else 0
        total += rate * (cost.postgres_us + alone)
    return total


def need(players: int) -> Need:
    """The whole sum for a number of players who are there at once."""
    cells = math.ceil(players / CELL_PLAYERS_MAX)
    in_cell = players / cells
    nodes = nodes_for(math.ceil(in_cell))
    sharing = items_per_round(math.ceil(in_cell), nodes)
    postgres = max(1.0, in_cell * postgres_us(sharing) / 1e6 / BUSY) * cells
    known_kib = in_cell * SESSION_KIB if nodes > 1 else 0
    memory = (nodes * (NODE_MIB / 1024 + known_kib / 1024**2) + in_cell * SOCKET_KIB / 1024**2) * cells
    commits = players * sum(rate for name, rate in BEHAVIOUR.items() if COSTS[name].writes)
    egress_bytes = players * IN_MATCHES * TICKS * TICK_BYTES
    dollars = (
        nodes * cells * PRICES["core"]
        + memory * PRICES["GiB"]
        + postgres * PRICES["database core"]
        + egress_bytes * MONTH_SECONDS / 1e9 * PRICES["egress GB"]
    )
    return Need(
        players=players,
        cells=cells,
        nodes=nodes * cells,
        node_cores=players * (live_us(nodes) + http_us(nodes)) / 1e6,
        memory_gib=memory,
        connections=nodes * cells * CONNECTIONS,
        commits=commits,
        items_per_round=sharing,
        postgres_cores=postgres,
        packets=packets(math.ceil(in_cell), nodes),
        egress_mbit=egress_bytes * 8 / 1e6,
        dollars=dollars,
    )


def tables() -> str:
    """Both tables, as they stand in the page."""
    lines = ["| operation | per player | node µs | PostgreSQL µs |", "|---|---|---|---|"]
    for name, rate in BEHAVIOUR.items():
        cost = COSTS[name]
        lines.append(f"| {name} | every {1 / rate:,.0f} s | {cost.node_us} | {cost.postgres_us or '–'} |")
    columns = [f"{players:,}" for players in PLAYERS]
    needs = [need(players) for players in PLAYERS]
    lines += ["", f"| players at once | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for title, cells in (
        ("cells", [f"{one.cells}" for one in needs]),
        ("nodes, one core each", [f"{one.nodes:,}" for one in needs]),
        ("of that work, cores", [f"{one.node_cores:,.1f}" for one in needs]),
        ("memory of all nodes, GiB", [f"{one.memory_gib:,.1f}" for one in needs]),
        ("connections to PostgreSQL", [f"{one.connections:,}{_pooled(one)}" for one in needs]),
        ("writes a second", [f"{one.commits:,.0f}" for one in needs]),
        ("of one kind that share a commit on a node", [f"{one.items_per_round:.1f}" for one in needs]),
        ("PostgreSQL's cores, all cells", [f"{one.postgres_cores:,.1f}" for one in needs]),
        ("packets a second on the bus of a cell", [f"{one.packets:,.0f}" for one in needs]),
        ("state of matches sent out, Mbit/s", [f"{one.egress_mbit:,.0f}" for one in needs]),
        ("dollars a month", [f"{_rounded(one.dollars):,}" for one in needs]),
    ):
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pooled(one: Need) -> str:
    return " (pooler)" if one.connections / one.cells > POSTGRES_CONNECTIONS_MAX else ""


def _rounded(amount: float) -> int:
    """Two digits: the rest would pretend to be known."""
    step = 10 ** max(0, int(math.log10(amount)) - 1)
    return round(amount / step) * step


def page() -> str:
    """The page with the tables as they are now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(tables())
