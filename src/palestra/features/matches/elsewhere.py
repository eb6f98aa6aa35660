"""Matches that run on other nodes: joins, data and signals for them, and those of other nodes' players for ours."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from palestra.cluster.bus import Unreachable
from palestra.cluster.cluster import Cluster
from palestra.core.errors import PalestraError
from palestra.core.tasks import Tasks
from palestra.features.matches.actor import Actor
from palestra.features.matches.contract import (
    Joined,
    MatchInfo,
    MatchMoved,
    MatchNotFound,
    SignalTooLong,
)
from palestra.features.matches.directory import Directory
from palestra.features.matches.running import RunningMatches
from palestra.features.matches.steps import ANSWER_SECONDS_MAX
from palestra.features.streams.contract import MATCH, Forwards, Presences, Stream
from palestra.gateway.operation import Session

SIGNAL_BYTES_MAX = 524_288
PATIENCE_SECONDS = ANSWER_SECONDS_MAX + 1.0
"""The match's own node gives up before."""
MOVES_MAX = 3
"""How often something is sent after a match that moves on."""
SWITCH_SECONDS = 1.0
HELD_MAX = 1_024
"""What waits for a match while it moves; more is lost, as in a match whose queue is full."""
A = TypeVar("A")

_encode = msgspec.msgpack.Encoder().encode


class _Join(msgspec.Struct, array_like=True):
    match: str
    node: str
    metadata: dict[str, str]


class _Signal(msgspec.Struct, array_like=True):
    match: str
    node: str
    data: str


class Data(msgspec.Struct, array_like=True):
    """What a member sent; `moves` counts the nodes where the match was no more."""

    match: str
    node: str
    session_id: str
    op_code: int
    data: bytes
    reliable: bool
    moves: int = 0


class Elsewhere:
    """The id of a match says whom to ask, until the match moves and all are told.

    While a match moves, data that this node has for it waits until all that was sent before is with the new node, so
    what a player sends arrives in order.
    """

    def __init__(
        self,
        cluster: Cluster,
        forwards: Forwards,
        presences: Presences,
        directory: Directory,
        running: RunningMatches,
        settled: Callable[[str], Awaitable[None]],
        tasks: Tasks,
    ) -> None:
        self._bus = cluster.bus
        self._calls = cluster.calls
        self._members = cluster.members
        self._forwards = forwards
        self._presences = presences
        self._directory = directory
        self._running = running
        self._tasks = tasks
        self._held: dict[str, list[Data]] = {}
        self._settled = settled
        self._read = msgspec.msgpack.Decoder(Data).decode
        forwards.serve("match.join", _Join, self._join_here)
        self._calls.serve("match.signal", _Signal, self._signal_here)
        self._calls.serve("match.look", tuple[str, str], self._look_here)
        self._calls.serve("match.switch", str, self._switched)
        self._bus.on("match.data", self._data)
        directory.on_move(self._moved)

    # -- asked of other nodes

    async def catch_up(self) -> None:
        """Hear all that other nodes have said until now, or wait a second for it."""
        await self._members.catch_up()

    async def join(self, session: Session, match: str, node: str, metadata: dict[str, str], at: str) -> Joined:
        """Join a match of another node, of `at` where that is known to be its node.

        Raises as `Actor.join`, Unreachable, MatchMoved.
        """
        at, request = self._at(match, node, at), _Join(match, node, metadata)
        return await self._answered(
            at, self._forwards.call(session, at, "match.join", request, Joined, PATIENCE_SECONDS)
        )

    async def signal(self, match: str, node: str, data: str, at: str) -> str:
        """Signal a match of another node, as `join`. Raises as `Actor.signal`, and SignalTooLong."""
        if len(data.encode("utf-8", "replace")) > SIGNAL_BYTES_MAX:
            raise SignalTooLong(SIGNAL_BYTES_MAX)
        at, request = self._at(match, node, at), _Signal(match, node, data)
        return await self._answered(at, self._calls.call(at, "match.signal", request, str, PATIENCE_SECONDS))

    async def look(self, match: str, node: str) -> MatchInfo | None:
        """What a node says of a match that it has not told of yet."""
        at = self._directory.where(match, node)
        if not at:
            return None
        found: list[MatchInfo] = await self._calls.call(at, "match.look", (match, node), list[MatchInfo])
        return found[0] if found else None

    def _at(self, match: str, node: str, at: str) -> str:
        at = at if at in self._members and at != self._bus.node else self._directory.where(match, node)
        if not at:
            raise MatchNotFound
        return at

    async def _answered(self, node: str, call: Awaitable[A]) -> A:
        try:
            return await call
        except Unreachable:
            if node in self._members:
                raise
            raise MatchNotFound from None

    def receive(self, session: Session, match: str, node: str, op_code: int, data: bytes, reliable: bool) -> bool:
        """Hand data of a session of ours to a match of any node; False if it is no member, or there is none. Hot."""
        held = self._held.get(match) if self._held else None
        if held is None and self._running.find(match, node) is not None:
            return self._running.receive(match, node, session.id, op_code, data, reliable)
        if Stream(MATCH, match, label=node) not in self._presences.of_session(session.id):
            return False
        message = Data(match, node, session.id, op_code, data, reliable)
        if held is not None:
            if len(held) < HELD_MAX:
                held.append(message)
            return True
        return self._send(message)

    def _send(self, data: Data) -> bool:
        at = self._directory.where(data.match, data.node)
        if at:
            self._bus.send(at, "match.data", _encode(data))
        return bool(at)

    # -- asked by other nodes

    async def _join_here(self, session: Session, request: _Join) -> Joined:
        return await self._running.join(self._here(request.match, request.node), session, request.metadata)

    async def _signal_here(self, sender: str, request: _Signal) -> str:
        return await self._here(request.match, request.node).signal(request.data)

    async def _look_here(self, sender: str, request: tuple[str, str]) -> list[MatchInfo]:
        actor = self._running.find(*request)
        return [] if actor is None else [self._running.info(actor)]

    def _here(self, match: str, node: str) -> Actor:
        actor = self._running.find(match, node)
        if actor is not None:
            return actor
        at = self._directory.where(match, node)
        if at and at != node:
            raise MatchMoved(at)
        raise MatchNotFound

    def _data(self, sender: str, payload: bytes) -> None:
        data = self._read(payload)
        if self._received(data):
            return
        at = self._directory.where(data.match, data.node)
        if at and at != sender and data.moves < MOVES_MAX:
            data.moves += 1
            self._bus.send(at, "match.data", _encode(data))

    def _received(self, data: Data) -> bool:
        return self._running.receive(data.match, data.node, data.session_id, data.op_code, data.data, data.reliable)

    # -- matches that move

    def _moved(self, match: str, before: str, node: str) -> None:
        if before != self._bus.node and before in self._members and match not in self._held:
            self._held[match] = []
            self._tasks.spawn(self._switch(match, before), f"new way to match {match}")

    async def _switch(self, match: str, before: str) -> None:
        try:
            # If it does not answer, what it had for the match is lost with it.
            with contextlib.suppress(PalestraError):
                await self._calls.call(before, "match.switch", match, bool, SWITCH_SECONDS)
        finally:
            for data in self._held.pop(match):
                if not self._received(data):
                    self._send(data)

    async def _switched(self, sender: str, match: str) -> bool:
        await self._settled(match)
        return True
