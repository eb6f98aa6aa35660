"""Load on authoritative matches: players who send at the rate their match ticks; the node's own figures of lateness."""

from __future__ import annotations

import asyncio
import base64
import re
import time
import urllib.request
from dataclasses import dataclass

from picows import WSMsgType

from bench import servers
from bench.processes import cpu_seconds
from bench.servers import HOST, Failed, Node
from bench.sockets import SETTLE_SECONDS, TICK_SECONDS, Player, Tally, connect, disconnect

POSITION = base64.b64encode(bytes(range(12)))
"""What a player sends: three coordinates of four bytes."""
QUANTILE = 0.99
LATENESS = "palestra_match_tick_lateness_seconds"
WARM_SECONDS = 1.0


@dataclass(frozen=True)
class Seen:
    """What a load saw. Lateness and ticks are what the node counted, CPU is the node's."""

    ticks_per_second: float
    missed: float
    late_p99_ms: float
    cpu_percent: float
    sent_per_second: float
    delivered_percent: float


def told(seen: Seen) -> str:
    """In one line."""
    return (
        f"{seen.late_p99_ms:.1f} ms late, {seen.cpu_percent:.0f} % CPU; {seen.ticks_per_second:,.0f} ticks/s, "
        f"{seen.missed:.0f} missed; {seen.sent_per_second:,.0f} messages/s in, {seen.delivered_percent:.0f} % out"
    )


async def play(node: Node, tokens: list[str], count: int, size: int, rate: int, seconds: float) -> Seen:
    """`count` matches of `size` players, each sending `rate` messages a second."""
    tally = Tally(timed=False)
    players = [Player(tally) for _ in range(count * size)]
    await connect(players, HOST, node.port, tokens, "false")
    prefixes: list[bytes] = []
    for begin in range(0, len(players), size):
        match_id = _begun(node, tokens[0])
        await asyncio.gather(*(player.ask("match_join", match_id=match_id) for player in players[begin : begin + size]))
        prefixes.append(b'{"match_data_send":{"match_id":"%s","op_code":"1","data":"' % match_id.encode())
    messages = [prefix + POSITION + b'"}}' for prefix in prefixes]
    await _send(players, messages, rate, WARM_SECONDS)
    before, cpu_before, started, tally.on = figures(node), cpu_seconds(node.pid), time.monotonic(), True
    sent = await _send(players, messages, rate, seconds)
    elapsed, cpu, after = time.monotonic() - started, cpu_seconds(node.pid) - cpu_before, figures(node)
    received = tally.received
    tally.on = False
    lost = sum(player.lost for player in players)
    await disconnect(players)
    await asyncio.sleep(SETTLE_SECONDS)
    if lost:
        raise RuntimeError(f"{lost} of {len(players)} sockets were closed by the server")
    ticks = after["palestra_match_ticks_total"] - before["palestra_match_ticks_total"]
    missed = after["palestra_match_ticks_missed_total"] - before["palestra_match_ticks_missed_total"]
    return Seen(
        ticks / elapsed,
        missed,
        1e3 * quantile(before, after),
        100 * cpu / elapsed,
        sent / elapsed,
        100 * received / (ticks * size),
    )


def _begun(node: Node, token: str) -> str:
    status, body = servers.call(node.port, "POST", "/v2/rpc/begin", '""', f"Bearer {token}")
    found = re.search(rb'"payload":"([^"]+)"', body)
    if status != 200 or found is None:
        raise Failed(f"beginning a match: {status} {body[:200].decode(errors='replace')}")
    return found[1].decode()


async def _send(players: list[Player], messages: list[bytes], rate: int, seconds: float) -> int:
    """Let players send in turn, evenly; how many messages that were."""
    size = len(players) // len(messages)
    started, sent = time.monotonic(), 0
    while (now := time.monotonic()) < started + seconds:
        due = int((now - started) * rate * len(players))
        for number in range(sent, due):
            place = number % len(players)
            players[place].transport.send(WSMsgType.TEXT, messages[place // size])
        sent = max(sent, due)
        await asyncio.sleep(TICK_SECONDS)
    return sent


def figures(node: Node) -> dict[str, float]:
    """The node's metrics by name; those with labels are added up, buckets are kept apart by their bound."""
    with urllib.request.urlopen(f"http://{HOST}:{node.console_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {"palestra_match_ticks_missed_total": 0.0}
    for name, labels, value in re.findall(r"^(\w+)(\{[^}]*\})? (\S+)$", text, re.MULTILINE):
        key = name + labels if name.endswith("_bucket") else name
        found[key] = found.get(key, 0.0) + float(value)
    return found


def quantile(before: dict[str, float], after: dict[str, float]) -> float:
    """The lateness, in seconds, that `QUANTILE` of the ticks between two looks did not exceed."""
    pattern = re.compile(LATENESS + r'_bucket\{le="([^"]+)"\}')
    buckets = sorted((float(m[1]), after[key] - before.get(key, 0.0)) for key in after if (m := pattern.fullmatch(key)))
    wanted = QUANTILE * buckets[-1][1]
    low_bound, low_count = 0.0, 0.0
    for bound, counted in buckets:
        if counted >= wanted:
            share = (wanted - low_count) / (counted - low_count) if counted > low_count else 1.0
            return low_bound + share * (bound - low_bound) if bound != float("inf") else low_bound
        low_bound, low_count = bound, counted
    return low_bound
