"""Load over sockets: relayed matches at a fixed rate, and sockets that only stay open."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.processes import cpu_seconds, resident_kib

PADDING = bytes(24)
"""Beside the eight bytes of the time of sending: a message carries 32 bytes, as a position and a heading would."""
SAMPLE_EVERY = 16
TICK_SECONDS = 0.001
SETTLE_SECONDS = 0.5
REPLY_SECONDS_MAX = 10.0
CONNECTING_AT_ONCE = 50


@dataclass(frozen=True)
class Relay:
    """What a relay load saw. CPU is the server's, per message that reached a player."""

    sent_per_second: float
    delivered_per_second: float
    delivered_percent: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    cpu_percent: float


@dataclass(frozen=True)
class Idle:
    """Memory of a server before and after sockets were opened that do nothing."""

    sockets: int
    before_kib: int
    after_kib: int

    @property
    def each_kib(self) -> float:
        """What one socket costs."""
        return (self.after_kib - self.before_kib) / self.sockets


@dataclass
class _Tally:
    on: bool = False
    received: int = 0
    delays_seconds: list[float] = field(default_factory=list)


class _Player(WSListener):
    """One player: counts what is relayed to it, and waits for the answers to its requests."""

    def __init__(self, tally: _Tally) -> None:
        self.tally = tally
        self.transport: WSTransport
        self.answer: asyncio.Future[dict[str, Any]] | None = None
        self.lost = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.lost = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(b'{"match_data":'):
            tally = self.tally
            if tally.on:
                tally.received += 1
                if tally.received % SAMPLE_EVERY == 0:
                    tally.delays_seconds.append(time.monotonic() - _sent_at(payload))
        elif self.answer is not None and not self.answer.done() and b'"cid"' in payload:
            self.answer.set_result(json.loads(payload))

    async def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises RuntimeError on an error."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.send(WSMsgType.TEXT, json.dumps({"cid": "1", name: fields}).encode())
        answer = await asyncio.wait_for(self.answer, REPLY_SECONDS_MAX)
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']}")
        return answer


def _sent_at(payload: bytes) -> float:
    start = payload.index(b'"', payload.index(b'"data":') + 7) + 1
    return struct.unpack("<d", base64.b64decode(payload[start : start + 12])[:8])[0]


async def _connect(players: list[Any], host: str, port: int, tokens: list[str], status: str) -> None:
    """Open one socket per player, a few at a time."""
    for begin in range(0, len(players), CONNECTING_AT_ONCE):
        some = range(begin, min(begin + CONNECTING_AT_ONCE, len(players)))
        query = f"lang=en&status={status}&token="
        urls = [f"ws://{host}:{port}/ws?{query}{tokens[number % len(tokens)]}" for number in some]
        await asyncio.gather(
            *(ws_connect(giving(players[number]), url) for number, url in zip(some, urls, strict=True))
        )


def giving(listener: WSListener) -> Callable[[], WSListener]:
    """What makes the listener of a connection: always this one."""
    return lambda: listener


async def _disconnect(players: list[Any]) -> None:
    for player in players:
        player.transport.disconnect()
    await asyncio.gather(*(player.transport.wait_disconnected() for player in players))


async def relay(
    host: str, port: int, pid: int, tokens: list[str], matches: int, size: int, rate: float, seconds: float
) -> Relay:
    """`matches` of `size` players, each sending `rate` messages a second to the others of its match."""
    tally = _Tally()
    players = [_Player(tally) for _ in range(matches * size)]
    await _connect(players, host, port, tokens, "false")
    prefixes: list[bytes] = []
    for begin in range(0, len(players), size):
        first, *others = players[begin : begin + size]
        match_id = (await first.ask("match_create"))["match"]["match_id"]
        await asyncio.gather(*(player.ask("match_join", match_id=match_id) for player in others))
        prefixes.append(b'{"match_data_send":{"match_id":"%s","op_code":"1","data":"' % match_id.encode())

    cpu_before, started, tally.on = cpu_seconds(pid), time.monotonic(), True
    sent = 0
    while (now := time.monotonic()) < started + seconds:
        due = int((now - started) * rate * len(players))
        for number in range(sent, due):
            place = number % len(players)
            data = base64.b64encode(struct.pack("<d", time.monotonic()) + PADDING)
            players[place].transport.send(WSMsgType.TEXT, prefixes[place // size] + data + b'"}}')
        sent = max(sent, due)
        await asyncio.sleep(TICK_SECONDS)
    elapsed, cpu = time.monotonic() - started, cpu_seconds(pid) - cpu_before
    await asyncio.sleep(SETTLE_SECONDS)
    tally.on = False
    lost = sum(player.lost for player in players)
    await _disconnect(players)
    if lost or not tally.delays_seconds:
        raise RuntimeError(f"{lost} of {len(players)} sockets were closed by the server; {tally.received} deliveries")
    delays = sorted(tally.delays_seconds)
    return Relay(
        sent_per_second=sent / elapsed,
        delivered_per_second=tally.received / elapsed,
        delivered_percent=100 * tally.received / (sent * (size - 1)),
        p50_ms=1e3 * delays[len(delays) // 2],
        p99_ms=1e3 * delays[int(len(delays) * 0.99)],
        cpu_us=1e6 * cpu / tally.received,
        cpu_percent=100 * cpu / elapsed,
    )


class _Sleeper(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport


async def idle(host: str, port: int, pid: int, tokens: list[str], count: int) -> Idle:
    """Open `count` sockets that say nothing, and look at the server's memory when it has come to rest."""
    sleepers = [_Sleeper() for _ in range(count)]
    before = resident_kib(pid)
    await _connect(sleepers, host, port, tokens, "true")
    await asyncio.sleep(4 * SETTLE_SECONDS)
    after = resident_kib(pid)
    await _disconnect(sleepers)
    return Idle(count, before, after)
