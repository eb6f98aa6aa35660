"""Load over sockets: relayed matches at a fixed rate, and sockets that only stay open."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.processes import cpu_seconds, resident_kib
from bench.servers import Node
from palestra.gateway.websocket.protobuf import Protobuf, tag_of

PADDING = bytes(24)
"""Beside the eight bytes of the time of sending: a message carries 32 bytes, as a position and a heading would."""
DATA_BYTES = 8 + len(PADDING)
SAMPLE_EVERY = 16
TICK_SECONDS = 0.001
SETTLE_SECONDS = 0.5
REPLY_SECONDS_MAX = 10.0
CONNECTING_AT_ONCE = 50
JOIN_AGAIN_SECONDS = 0.01


@dataclass(frozen=True)
class Relay:
    """What a relay load saw. CPU is that of the servers together, per message that reached a player."""

    sent_per_second: float
    delivered_per_second: float
    delivered_percent: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    cpu_percent: float
    broker_us: float = 0.0


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
class Tally:
    on: bool = False
    timed: bool = True
    """Whether messages begin with the time of their sending."""
    received: int = 0
    delays_seconds: list[float] = field(default_factory=list)


class Player(WSListener):
    """One player: counts what is relayed to it, and waits for the answers to its requests."""

    kind, form = WSMsgType.TEXT, ""
    relayed = b'{"match_data":'

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.transport: WSTransport
        self.answer: asyncio.Future[dict[str, Any]] | None = None
        self.lost = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.lost = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != self.kind:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(self.relayed):
            tally = self.tally
            if tally.on:
                tally.received += 1
                if tally.timed and tally.received % SAMPLE_EVERY == 0:
                    tally.delays_seconds.append(time.monotonic() - self.sent_at(payload))
        elif self.answer is not None and not self.answer.done():
            answer = self.read(payload)
            if "cid" in answer:
                self.answer.set_result(answer)

    async def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises RuntimeError on an error."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.send(self.kind, self.written({"cid": "1", name: fields}))
        answer = await asyncio.wait_for(self.answer, REPLY_SECONDS_MAX)
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']}")
        return answer

    def written(self, envelope: dict[str, Any]) -> bytes:
        """An envelope as this player sends it."""
        return json.dumps(envelope).encode()

    def read(self, payload: bytes) -> dict[str, Any]:
        """An envelope as this player gets it."""
        return json.loads(payload)

    def message(self, match_id: str) -> tuple[bytes, bytes]:
        """What comes before and after the data in a message to a match."""
        return b'{"match_data_send":{"match_id":"%s","op_code":"1","data":"' % match_id.encode(), b'"}}'

    def data(self, raw: bytes) -> bytes:
        """Data as it stands in a message."""
        return base64.b64encode(raw)

    def sent_at(self, payload: bytes) -> float:
        """The time in the data of what was relayed."""
        start = payload.index(b'"', payload.index(b'"data":') + 7) + 1
        return struct.unpack("<d", base64.b64decode(payload[start : start + 12])[:8])[0]


class _ProtobufPlayer(Player):
    """The same in Protobuf."""

    kind, form = WSMsgType.BINARY, "protobuf"
    relayed = tag_of("match_data")
    protobuf = Protobuf()

    def written(self, envelope: dict[str, Any]) -> bytes:
        return self.protobuf.encode(super().written(envelope))

    def read(self, payload: bytes) -> dict[str, Any]:
        return {
            name: dict(value) if isinstance(value, tuple) else value for name, value in self.protobuf.decode(payload)
        }

    def message(self, match_id: str) -> tuple[bytes, bytes]:
        data = base64.b64encode(bytes(DATA_BYTES)).decode()
        whole = self.written({"match_data_send": {"match_id": match_id, "op_code": "1", "data": data}})
        return whole[:-DATA_BYTES], b""

    def data(self, raw: bytes) -> bytes:
        return raw

    def sent_at(self, payload: bytes) -> float:
        return struct.unpack("<d", payload[-DATA_BYTES : 8 - DATA_BYTES])[0]


async def connect(players: list[Any], host: str, port: int, tokens: list[str], status: str, form: str = "") -> None:
    """Open one socket per player, a few at a time."""
    for begin in range(0, len(players), CONNECTING_AT_ONCE):
        some = range(begin, min(begin + CONNECTING_AT_ONCE, len(players)))
        query = f"lang=en&status={status}&format={form}&token="
        urls = [f"ws://{host}:{port}/ws?{query}{tokens[number % len(tokens)]}" for number in some]
        await asyncio.gather(
            *(ws_connect(giving(players[number]), url) for number, url in zip(some, urls, strict=True))
        )


def giving(listener: WSListener) -> Callable[[], WSListener]:
    """What makes the listener of a connection: always this one."""
    return lambda: listener


async def disconnect(players: list[Any]) -> None:
    for player in players:
        # With a goodbye: a node waits for whoever goes without.
        player.transport.send_close(WSCloseCode.OK)
        player.transport.disconnect()
    await asyncio.gather(*(player.transport.wait_disconnected() for player in players))


async def relay(
    host: str,
    nodes: Sequence[Node],
    tokens: list[str],
    matches: int,
    size: int,
    rate: float,
    seconds: float,
    *,
    protobuf: bool = False,
    broker: int | None = None,
) -> Relay:
    """`matches` of `size` players, each sending `rate` messages a second to the others of its match.

    With several nodes, the players of each match are on one after the other. `broker` is the process between them.
    """
    tally = Tally()
    kind = _ProtobufPlayer if protobuf else Player
    players = [kind(tally) for _ in range(matches * size)]
    for number, node in enumerate(nodes):
        await connect(players[number :: len(nodes)], host, node.port, tokens[number :: len(nodes)], "false", kind.form)
    messages: list[tuple[bytes, bytes]] = []
    for begin in range(0, len(players), size):
        first, *others = players[begin : begin + size]
        match_id = (await first.ask("match_create"))["match"]["match_id"]
        await asyncio.gather(*(_join(player, match_id) for player in others))
        messages.append(first.message(match_id))

    pids = [node.pid for node in nodes]
    cpu_before, broker_before = _cpu(pids), cpu_seconds(broker) if broker else 0.0
    started, tally.on = time.monotonic(), True
    sent = 0
    while (now := time.monotonic()) < started + seconds:
        due = int((now - started) * rate * len(players))
        for number in range(sent, due):
            place = number % len(players)
            player = players[place]
            before, after = messages[place // size]
            data = player.data(struct.pack("<d", time.monotonic()) + PADDING)
            player.transport.send(player.kind, before + data + after)
        sent = max(sent, due)
        await asyncio.sleep(TICK_SECONDS)
    elapsed, cpu = time.monotonic() - started, _cpu(pids) - cpu_before
    broker_cpu = cpu_seconds(broker) - broker_before if broker else 0.0
    await asyncio.sleep(SETTLE_SECONDS)
    tally.on = False
    lost = sum(player.lost for player in players)
    await disconnect(players)
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
        broker_us=1e6 * broker_cpu / tally.received,
    )


async def _join(player: Player, match_id: str) -> None:
    """Join a match that the player's node may not have heard of yet."""
    until = time.monotonic() + REPLY_SECONDS_MAX
    while True:
        try:
            await player.ask("match_join", match_id=match_id)
        except RuntimeError as error:
            if "not found" not in str(error) or time.monotonic() > until:
                raise
            await asyncio.sleep(JOIN_AGAIN_SECONDS)
        else:
            return


def _cpu(pids: list[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)


class Sleeper(WSListener):
    """A socket that says nothing."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport


async def idle(host: str, port: int, pid: int, tokens: list[str], count: int) -> Idle:
    """Open `count` sockets that say nothing, and look at the server's memory when it has come to rest."""
    sleepers = [Sleeper() for _ in range(count)]
    before = resident_kib(pid)
    await connect(sleepers, host, port, tokens, "true")
    await asyncio.sleep(4 * SETTLE_SECONDS)
    after = resident_kib(pid)
    await disconnect(sleepers)
    return Idle(count, before, after)
