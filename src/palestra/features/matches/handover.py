"""Handing matches over from a node that stops to one that stays, under the same id and unnoticed by players."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from palestra.cluster.bus import Unreachable
from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.errors import PalestraError
from palestra.core.log import get_logger
from palestra.features.matches.actor import Actor
from palestra.features.matches.contract import CannotMove, MatchMoved
from palestra.features.matches.directory import Directory
from palestra.features.matches.elsewhere import Data
from palestra.features.matches.running import RunningMatches
from palestra.features.matches.snapshot import Since, Snapshot, encode
from palestra.features.streams.contract import Member, Presences, Stream

SNAPSHOT_BYTES_MAX = 524_288
REST_SECONDS = 2.0
"""How long a match may take to finish what it is about."""
HELD_SECONDS = 10.0
"""After what time a match that was brought here and never released is dropped: its old node went on with it."""
AT_ONCE_MAX = 8
NODES_TRIED_MAX = 3
ASKED_MAX = 3
ANSWER_SECONDS = 2.0

log = get_logger(__name__)


class _Departure(msgspec.Struct, array_like=True):
    match: str
    session_id: str
    reason: str


@dataclass(slots=True)
class _Held:
    """A match that was brought here, and waits for the word of its old node to go on."""

    actor: Actor
    sender: str
    timer: asyncio.TimerHandle


class HandOver:
    """Implements `Mover`. Both ends of a hand-over.

    The old node stops the match between two callbacks and sends a snapshot; the new one makes the match of it and
    holds it; on the word of the old one, which brings what came in meanwhile, it goes on. Never do both tick; if the
    word does not come, the match stays where it was.
    """

    def __init__(self, cluster: Cluster, presences: Presences, directory: Directory, running: RunningMatches) -> None:
        self._bus = cluster.bus
        self._calls = cluster.calls
        self._members = cluster.members
        self._presences = presences
        self._directory = directory
        self._running = running
        self._held: dict[str, _Held] = {}
        self._leaving: dict[str, asyncio.Event] = {}
        self._counts: Counter[str] = Counter()
        """How many matches each node has, as far as this one knows and has decided."""
        self._calls.serve("match.take", Snapshot, self._take)
        self._calls.serve("match.go", Since, self._go)
        decode = msgspec.msgpack.Decoder(_Departure).decode
        self._bus.on("match.left", lambda sender, data: self._left(decode(data)))
        self._members.on_leave(self._node_gone)
        self._members.on_fenced(self._fenced)

    # -- the old node

    async def hand_over(self, actors: list[Actor], seconds: float) -> None:
        """Hand over those that can move; none is begun with after `seconds`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        waiting = iter(actors)
        self._counts = Counter(other.desk.node for other in self._directory.others.values())

        async def some() -> None:
            for actor in waiting:
                if loop.time() > until or not self._candidates():
                    return
                await self._hand_over(actor, until)

        await asyncio.gather(*[some() for _ in range(AT_ONCE_MAX)])

    def _candidates(self) -> list[str]:
        """Nodes that take matches, those with the fewest first."""
        nodes = [info.name for info in self._members if info.serves and not info.draining]
        return sorted(nodes, key=lambda node: self._counts[node])[:NODES_TRIED_MAX]

    async def settled(self, match: str) -> None:
        """Wait until a match that is being handed over is with its new node, or stays."""
        if (event := self._leaving.get(match)) is not None:
            await event.wait()

    async def _hand_over(self, actor: Actor, until: float) -> None:
        match = actor.stream.subject
        event = self._leaving[match] = asyncio.Event()
        # From now on it does not tick here, unless it stays.
        self._running.scheduler.remove(actor)
        try:
            if await actor.freeze(REST_SECONDS) and not await self._given(actor, until):
                actor.thaw()
        finally:
            if not actor.over:
                self._running.scheduler.add(actor)
            del self._leaving[match]
            event.set()

    async def _given(self, actor: Actor, until: float) -> bool:
        """Whether a match that is at rest is over here: it has another node, or none any more."""
        try:
            snapshot = actor.snapshot()
            size = len(encode(snapshot))
            if size > SNAPSHOT_BYTES_MAX:
                raise CannotMove(f"its snapshot has {size} bytes, at most {SNAPSHOT_BYTES_MAX} can move")
        except CannotMove as error:
            log.warning("match cannot move", match=actor.desk.name, match_id=actor.desk.id, reason=error.message)
            return False
        for node in self._candidates():
            if self._bus.loop.time() > until:
                break
            self._counts[node] += 1
            try:
                await self._calls.call(node, "match.take", snapshot, bool, ANSWER_SECONDS)
                if await self._released(actor, node, snapshot):
                    return True
            except PalestraError as error:
                log.warning("match is not taken", match_id=actor.desk.id, other=node, reason=error.message)
            if actor.over:
                return True
            self._counts[node] -= 1
        return False

    async def _released(self, actor: Actor, node: str, snapshot: Snapshot) -> bool:
        """Let the new node go on. True as well if it may have done so: there must not be two."""
        if self._running.keeper is not None:
            await self._running.keeper.forgotten(actor)
        since = actor.since(snapshot)
        for _ in range(ASKED_MAX):
            try:
                if not await self._calls.call(node, "match.go", since, bool, ANSWER_SECONDS):
                    return False
                break
            except Unreachable:
                if node not in self._members:
                    return False
        if actor.over:
            return True
        late = actor.since(snapshot)
        self._directory.given(actor, node)
        self._running.let_go(actor, MatchMoved(node), f"moved to {node}")
        self._running.moves["given"] += 1
        log.info("match moved", match=actor.desk.name, match_id=actor.desk.id, to=node)
        match, home = actor.stream.subject, actor.stream.label
        for one in late.received.messages[len(since.received.messages) :]:
            data = Data(match, home, one.session_id, one.op_code, one.data, one.reliable)
            self._bus.send(node, "match.data", encode(data))
        for session_id, reason in late.departures[len(since.departures) :]:
            self._bus.send(node, "match.left", encode(_Departure(match, session_id, reason)))
        return True

    def left(self, stream: Stream, members: Sequence[Member]) -> None:
        """Members have left a match that was handed over: its new node may not have seen them come."""
        if self._directory.was_given(stream.subject) and (at := self._directory.where(stream.subject, stream.label)):
            for member in members:
                reason = "disconnect" if member.session.closing or member.session.away else "leave"
                departure = _Departure(stream.subject, member.presence.session_id, reason)
                self._bus.send(at, "match.left", encode(departure))

    # -- the new node

    async def _take(self, sender: str, snapshot: Snapshot) -> bool:
        actor = self._running.restored(snapshot)
        match = actor.stream.subject
        self._drop(match)
        timer = self._bus.loop.call_later(HELD_SECONDS, self._drop, match)
        self._held[match] = _Held(actor, sender, timer)
        return True

    async def _go(self, sender: str, since: Since) -> bool:
        match, _, home = since.match_id.partition(".")
        if self._running.find(match, home) is not None:
            return True
        held = self._held.get(match)
        if held is None or held.sender != sender:
            return False
        held.timer.cancel()
        actor = held.actor
        del self._held[match]
        self._running.admit(actor)
        if self._running.keeper is not None and actor.checkpoint_ticks:
            self._running.keeper.keep(actor)
        actor.take_in(since.received)
        for player in since.arrivals:
            actor.arrive(player)
        for session_id, reason in since.departures:
            actor.depart(session_id, reason)
        self._running.moves["taken"] += 1
        log.info("match goes on here", match=actor.desk.name, match_id=actor.desk.id, before=sender)
        return True

    def _left(self, departure: _Departure) -> None:
        actor = self._directory.own.get(departure.match)
        if actor is not None and departure.session_id not in self._presences.audience(actor.stream):
            actor.depart(departure.session_id, departure.reason)

    def _drop(self, match: str) -> None:
        held = self._held.pop(match, None)
        if held is not None:
            held.timer.cancel()
            held.actor.let_go(MatchMoved(held.sender), "not released")

    # -- nodes that go

    def _node_gone(self, info: NodeInfo) -> None:
        """What becomes of the matches of that node is decided for all of them alike."""
        for match, held in list(self._held.items()):
            if held.sender == info.name:
                self._drop(match)

    def _fenced(self) -> None:
        for match in list(self._held):
            self._drop(match)
        self._running.let_all_go()
