"""One player heard by thousands: a full chat room, and the followers of a status; the listeners in this process.

Run as `python -m bench.crowd chat|status PORT NODE_PID TOKENS_FILE LISTENERS RATE SECONDS`; prints what it saw as one
line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.processes import cpu_seconds
from bench.sockets import giving

HOST = "127.0.0.1"
AT_ONCE = 250
REPLY_SECONDS_MAX = 30.0
QUIET_SECONDS = 0.3
"""Nothing has come for so long: all that was sent has arrived."""
SETTLE_SECONDS_MAX = 20.0
SAMPLE_EVERY = 64


Request = dict[str, object]
Speak = Callable[[str], None]


class Seen(msgspec.Struct):
    """What the listeners saw. CPU is the node's: per envelope that reached one of them, and of all joins together."""

    sent_per_second: float
    delivered_per_second: float
    delivered_percent: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    cpu_percent: float
    joined_seconds: float
    joined_cpu_seconds: float


class Tally:
    """What has come: `marker` is how envelopes begin that count, and the time of sending follows `before`."""

    def __init__(self, marker: bytes, before: bytes) -> None:
        self.marker = marker
        self.before = before
        self.received = 0
        self.frames = 0
        self.delays_seconds: list[float] = []

    async def quiet(self) -> None:
        """Wait until nothing comes any more."""
        until = time.monotonic() + SETTLE_SECONDS_MAX
        seen = -1
        while seen != self.frames and time.monotonic() < until:
            seen = self.frames
            await asyncio.sleep(QUIET_SECONDS)


class Listener(WSListener):
    """One socket."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.transport: WSTransport
        self.answer: asyncio.Future[bytes] | None = None
        self.lost = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.lost = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        tally = self.tally
        tally.frames += 1
        if payload.startswith(tally.marker):
            tally.received += 1
            if tally.received % SAMPLE_EVERY == 0 and (at := payload.find(tally.before)) >= 0:
                start = at + len(tally.before)
                sent_at = float(payload[start : payload.index(b"!", start)])
                tally.delays_seconds.append(time.monotonic() - sent_at)
        elif self.answer is not None and not self.answer.done() and payload.startswith(b'{"cid"'):
            self.answer.set_result(payload)

    def tell(self, **message: object) -> None:
        """Send without waiting for an answer."""
        self.transport.send(WSMsgType.TEXT, json.dumps(message).encode())

    async def ask(self, **message: object) -> bytes:
        """Send and wait for the answer. Raises RuntimeError on an error."""
        self.answer = asyncio.get_running_loop().create_future()
        self.tell(cid="1", **message)
        answer = await asyncio.wait_for(self.answer, REPLY_SECONDS_MAX)
        if answer.startswith(b'{"cid":"1","error"'):
            raise RuntimeError(answer.decode())
        return answer


async def _connect(listeners: list[Listener], port: int, tokens: list[str]) -> None:
    for begin in range(0, len(listeners), AT_ONCE):
        some = listeners[begin : begin + AT_ONCE]
        urls = [f"ws://{HOST}:{port}/ws?token={tokens[(begin + n) % len(tokens)]}" for n in range(len(some))]
        await asyncio.gather(*(ws_connect(giving(one), url) for one, url in zip(some, urls, strict=True)))


async def _ask_all(listeners: list[Listener], request: Request) -> None:
    for begin in range(0, len(listeners), AT_ONCE):
        await asyncio.gather(*(one.ask(**request) for one in listeners[begin : begin + AT_ONCE]))


async def _chat(port: int, tokens: list[str], count: int) -> tuple[list[Listener], Request, Speak]:
    room = f"bench {time.time_ns()}"
    tally = Tally(b'{"channel_message":', b'at\\":\\"')
    listeners = [Listener(tally) for _ in range(count)]
    await _connect(listeners, port, tokens)

    def speak(stamp: str) -> None:
        content = f'{{"at":"{stamp}","text":"to be or not to be, that is the question"}}'
        listeners[0].tell(channel_message_send={"channel_id": f"2...{room}", "content": content})

    return listeners, {"channel_join": {"target": room, "type": 1}}, speak


async def _status(port: int, tokens: list[str], count: int) -> tuple[list[Listener], Request, Speak]:
    tally = Tally(b'{"status_presence_event":', b'"status":"at ')
    # The player who is followed is none of the followers.
    speaker, listeners = Listener(Tally(b"{", b"nothing")), [Listener(tally) for _ in range(count)]
    await _connect([speaker], port, tokens[:1])
    await _connect(listeners, port, tokens[1:])
    user_id = msgspec.json.decode(_decoded(tokens[0].split(".")[1]))["uid"]
    return (
        listeners,
        {"status_follow": {"user_ids": [user_id]}},
        lambda stamp: speaker.tell(status_update={"status": f"at {stamp}"}),
    )


async def _run(kind: str, port: int, pid: int, tokens: list[str], count: int, rate: float, seconds: float) -> Seen:
    listeners, request, speak = await (_chat if kind == "chat" else _status)(port, tokens, count)
    tally = listeners[0].tally
    started, cpu = time.monotonic(), cpu_seconds(pid)
    await _ask_all(listeners, request)
    joined, joined_cpu = time.monotonic() - started, cpu_seconds(pid) - cpu
    await tally.quiet()
    gc.collect()
    gc.freeze()

    cpu, started = cpu_seconds(pid), time.monotonic()
    sent = 0
    while (now := time.monotonic()) < started + seconds:
        if (now - started) * rate >= sent:
            sent += 1
            speak(f"{time.monotonic():.6f}!")
        await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))
    elapsed, cpu_running = time.monotonic() - started, cpu_seconds(pid) - cpu
    await tally.quiet()
    lost = sum(one.lost for one in listeners)
    if lost or not tally.delays_seconds:
        raise RuntimeError(f"{lost} of {count} sockets were closed by the server; {tally.received} deliveries")
    delays = sorted(tally.delays_seconds)
    return Seen(
        sent_per_second=sent / elapsed,
        delivered_per_second=tally.received / elapsed,
        delivered_percent=100 * tally.received / (sent * count),
        p50_ms=1e3 * delays[len(delays) // 2],
        p99_ms=1e3 * delays[int(len(delays) * 0.99)],
        cpu_us=1e6 * (cpu_seconds(pid) - cpu) / tally.received,
        cpu_percent=100 * cpu_running / elapsed,
        joined_seconds=joined,
        joined_cpu_seconds=joined_cpu,
    )


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    logging.getLogger("picows").setLevel(logging.ERROR)
    kind, port, pid, file, count, rate, seconds = sys.argv[1:8]
    tokens = Path(file).read_text().split()
    seen = uvloop.run(_run(kind, int(port), int(pid), tokens, int(count), float(rate), float(seconds)))
    print(msgspec.json.encode(seen).decode())
