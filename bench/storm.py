"""A resume storm: many sockets in matches lose their connection at once, and are back within seconds."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.processes import cpu_seconds

MATCH_PLAYERS = 10
MARKS = 5
"""Messages to everybody while they are away; whoever misses one was not resumed."""
BACK_WITHIN_SECONDS = 5.0
CONNECTING_AT_ONCE = 50
ARRIVE_SECONDS_MAX = 20.0
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST, as when a network has gone."""


@dataclass(frozen=True)
class Storm:
    """What a storm has shown. CPU is the server's, from the drop until all were back and had heard everything."""

    sockets: int
    resumed: int
    leaves_seen: int
    back_seconds: float
    cpu_seconds: float

    @property
    def whole(self) -> bool:
        """Whether everybody was resumed and nobody saw anybody leave."""
        return self.resumed == self.sockets and self.leaves_seen == 0

    def told(self) -> str:
        """In a line."""
        return f"{self.resumed:,}/{self.sockets:,} resumed, {self.leaves_seen} leaves, {self.cpu_seconds:.2f} s CPU"


class _Player(WSListener):
    """Counts the leaves it is told of, and keeps the numbers of the marks it has received."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.transport: WSTransport
        self.leaves = 0
        self.marks: list[int] = []
        self.match_id = ""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(b'{"match_data":'):
            start = payload.index(b'"', payload.index(b'"data":') + 7) + 1
            self.marks.append(int(base64.b64decode(payload[start : payload.index(b'"', start)])))
        elif payload.startswith(b'{"match_presence_event":'):
            self.leaves += payload.count(b'"leaves":')
        elif payload.startswith(b'{"cid":'):
            self.match_id = json.loads(payload)["match"]["match_id"]

    async def connect(self) -> None:
        """Open a socket, be it for the first time or again."""
        await ws_connect(lambda: self, self.url)

    def say(self, text: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, text)

    def reset(self) -> None:
        """Lose the connection without a word."""
        raw = self.transport.underlying_transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.disconnect(False)


async def _connect(players: list[_Player]) -> None:
    for begin in range(0, len(players), CONNECTING_AT_ONCE):
        await asyncio.gather(*(player.connect() for player in players[begin : begin + CONNECTING_AT_ONCE]))


async def _until(players: list[_Player], ready: Callable[[_Player], bool], seconds_max: float) -> None:
    """Wait until something is so of all of them, or for as long as one waits."""
    until = time.monotonic() + seconds_max
    while time.monotonic() < until and not all(ready(player) for player in players):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _return(player: _Player, within_seconds: float) -> None:
    await asyncio.sleep(random.random() * within_seconds)
    await player.connect()


async def storm(
    host: str,
    port: int,
    pid: int,
    tokens: list[str],
    count: int,
    within_seconds: float = BACK_WITHIN_SECONDS,
    arrive_seconds_max: float = ARRIVE_SECONDS_MAX,
) -> Storm:
    """`count` players in matches of ten, each match with one more who stays and watches; needs a token for each.

    Everybody is gone at once, is told some marks by those who stay, and is back at a random moment of the next seconds.
    """
    urls = [f"ws://{host}:{port}/ws?lang=en&status=true&token={token}" for token in tokens]
    watchers = [_Player(url) for url in urls[count : count + -(-count // MATCH_PLAYERS)]]
    players = [_Player(url) for url in urls[:count]]
    await _connect([*watchers, *players])
    for number, player in enumerate([*watchers, *players]):
        match = number if number < len(watchers) else (number - len(watchers)) // MATCH_PLAYERS
        player.say(b'{"cid":"1","match_create":{"name":"storm %d"}}' % match)
    await _until([*watchers, *players], lambda player: player.match_id != "", ARRIVE_SECONDS_MAX)
    step_seconds = within_seconds / (2 * MARKS)
    await asyncio.sleep(step_seconds)

    started, cpu_before = time.monotonic(), cpu_seconds(pid)
    for player in players:
        player.reset()
    returning = asyncio.gather(*(_return(player, within_seconds - step_seconds) for player in players))
    for mark in range(MARKS):
        # The first when the node has seen that they are gone: what is on the way to a dead connection is lost.
        await asyncio.sleep(step_seconds)
        data = base64.b64encode(b"%d" % mark)
        for watcher in watchers:
            match_id = watcher.match_id.encode()
            watcher.say(
                b'{"match_data_send":{"match_id":"%b","op_code":"1","data":"%b","reliable":true}}' % (match_id, data)
            )
    await returning
    back = time.monotonic() - started
    await _until(players, lambda player: len(player.marks) >= MARKS, arrive_seconds_max)
    cpu = cpu_seconds(pid) - cpu_before
    everybody = [*watchers, *players]
    seen = Storm(
        sockets=count,
        resumed=sum(player.marks == list(range(MARKS)) for player in players),
        leaves_seen=sum(player.leaves for player in everybody),
        back_seconds=back,
        cpu_seconds=cpu,
    )
    for player in everybody:
        player.transport.send_close(WSCloseCode.OK)
        player.transport.disconnect()
    await asyncio.gather(*(player.transport.wait_disconnected() for player in everybody))
    return seen
