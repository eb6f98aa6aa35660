"""Which matches run on other nodes: each node tells the others of its own, and corrects its copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.core.query import Document
from palestra.features.matches.actor import Actor
from palestra.features.streams.contract import MATCH, Presences, Stream

PART_MATCHES = 200
"""Matches in one message of a copy: labels are long."""
ASK_SECONDS = 2.0
"""After what time a copy that has not come is asked for again."""

_encode = msgspec.msgpack.Encoder().encode


class Listed(msgspec.Struct, array_like=True, frozen=True):
    """A match. `home` is the node that its id names, `node` where it runs if that is not who says so."""

    subject: str
    home: str
    name: str
    ticks_per_second: int
    started_at: float
    label: str
    checkpointed: bool
    node: str = ""


class Part(msgspec.Struct, array_like=True, frozen=True):
    """A piece of all that a node has, after so many others, and how much it had told to everybody by then."""

    told: int
    last: bool
    matches: list[Listed]
    start: int


class Sign(msgspec.Struct):
    """Implements `Shown`."""

    id: str
    name: str
    node: str
    ticks_per_second: int
    started_at: float
    label: str
    label_version: int = 0


class OtherMatch(msgspec.Struct, eq=False):
    """Implements `Findable`: a match that runs on another node."""

    stream: Stream
    desk: Sign
    checkpointed: bool
    over: bool = False
    indexed: tuple[int, Document] | None = None


class Directory:
    """The matches of other nodes by the first part of their ids.

    What is told is counted: heartbeats carry the count, so whoever missed something asks for the whole. A match that
    was handed over is told of by its new node, under its old id.
    """

    def __init__(self, cluster: Cluster, presences: Presences) -> None:
        self._bus = cluster.bus
        self._members = cluster.members
        self._presences = presences
        self.own: Mapping[str, Actor] = {}
        """The matches that run here."""
        self.others: dict[str, OtherMatch] = {}
        self._given: set[str] = set()
        self._changed: dict[str, Actor] = {}
        self._told = 0
        self._heard: dict[str, int] = {}
        self._asked_at: dict[str, float] = {}
        self._parts: dict[str, dict[str, Listed]] = {}
        self._on_move: list[Callable[[str, str, str], None]] = []
        for topic, kind, handler in (
            ("match.here", Listed, self._here),
            ("match.over", str, self._over),
            ("match.ask", None, self._tell_everything),
            ("match.part", Part, self._part),
        ):
            self._bus.on(topic, partial(self._decoded, msgspec.msgpack.Decoder(kind).decode, handler))
        self._bus.on_gap(self._missed)
        self._members.on_join(lambda info: self._ask(info.name))
        self._members.on_beat(self._compare)
        self._members.state.append(lambda: {"matches": self._told})

    def _decoded(
        self, decode: Callable[[bytes], Any], handler: Callable[[str, Any], None], sender: str, data: bytes
    ) -> None:
        if sender in self._members:
            handler(sender, decode(data))

    # -- where matches are

    def where(self, match: str, node: str) -> str:
        """The other node to ask about a match, by the two parts of its id; "" for this one, or if there is none."""
        other = self.others.get(match)
        if other is not None and other.stream.label == node:
            node = other.desk.node
        return node if node != self._bus.node and node in self._members else ""

    def find(self, match: str, node: str) -> OtherMatch | None:
        """What is known of a match of another node."""
        other = self.others.get(match)
        return other if other is not None and other.stream.label == node else None

    def of_node(self, node: str) -> Iterator[OtherMatch]:
        """All matches of another node. O(matches)."""
        return (other for other in self.others.values() if other.desk.node == node)

    def on_move(self, callback: Callable[[str, str, str], None]) -> None:
        """Call back with the first part of an id, the node where the match ran, and the one where it runs now."""
        self._on_move.append(callback)

    # -- what happens here, told to others

    def begun(self, actor: Actor) -> None:
        """A match runs here from now on."""
        self._given.discard(actor.stream.subject)
        known = self.others.pop(actor.stream.subject, None)
        self._tell("match.here", _listed(actor))
        if known is not None:
            self._moved(actor.stream.subject, known.desk.node, self._bus.node)

    def given(self, actor: Actor, node: str) -> None:
        """A match was handed over: its new node tells of it."""
        self._put(node, _listed(actor))
        self._given.add(actor.stream.subject)

    def was_given(self, match: str) -> bool:
        """Whether a match that runs on another node ran here before."""
        return match in self._given

    def ended(self, actor: Actor) -> None:
        """A match has ended."""
        self._tell("match.over", actor.stream.subject)

    def relabelled(self, actor: Actor) -> None:
        """A match has another label; told when the loop is next free, however often it changes until then."""
        if actor.stream.subject in self.own:
            if not self._changed:
                self._bus.loop.call_soon(self._tell_changed)
            self._changed[actor.stream.subject] = actor

    def _tell_changed(self) -> None:
        changed, self._changed = self._changed, {}
        for subject, actor in changed.items():
            if subject in self.own:
                self._tell("match.here", _listed(actor))

    def _tell(self, topic: str, what: Any) -> None:
        self._told += 1
        self._bus.broadcast(topic, _encode(what))

    # -- what others say of theirs

    def _here(self, sender: str, listed: Listed) -> None:
        self._heard[sender] = self._heard.get(sender, 0) + 1
        self._put(sender, listed)

    def _put(self, sender: str, listed: Listed) -> None:
        node = listed.node or sender
        if node == self._bus.node:
            # Who gave it to us tells of it as well.
            return
        known = self.others.get(listed.subject)
        before = self._bus.node if listed.subject in self.own else known.desk.node if known else listed.home
        if known is None:
            match_id = f"{listed.subject}.{listed.home}"
            sign = Sign(match_id, listed.name, node, listed.ticks_per_second, listed.started_at, listed.label)
            stream = Stream(MATCH, listed.subject, label=listed.home)
            self.others[listed.subject] = OtherMatch(stream, sign, listed.checkpointed)
        elif listed.node:
            # Its own node knows more of it.
            return
        else:
            known.desk.node = node
            known.desk.label = listed.label
            known.desk.label_version += 1
            known.checkpointed = listed.checkpointed
        if before != node:
            self._moved(listed.subject, before, node)

    def _moved(self, subject: str, before: str, node: str) -> None:
        for callback in self._on_move:
            callback(subject, before, node)

    def _over(self, sender: str, subject: str) -> None:
        self._heard[sender] = self._heard.get(sender, 0) + 1
        known = self.others.get(subject)
        if known is not None and known.desk.node == sender:
            self._drop(known)

    def _drop(self, known: OtherMatch) -> None:
        known.over = True
        self.others.pop(known.stream.subject, None)
        self._given.discard(known.stream.subject)

    def lost(self, node: str) -> list[OtherMatch]:
        """A node has gone: forget its matches; which they were."""
        for kept in (self._heard, self._asked_at, self._parts):
            kept.pop(node, None)
        lost = list(self.of_node(node))
        for other in lost:
            self._drop(other)
        return lost

    # -- correcting a copy

    def _missed(self, node: str) -> None:
        """Something that a node said was lost, maybe a piece of the copy that is coming."""
        self._parts.pop(node, None)
        self._ask(node)

    def _ask(self, node: str) -> None:
        now = self._bus.loop.time()
        if node in self._members and now - self._asked_at.get(node, -ASK_SECONDS) >= ASK_SECONDS:
            self._asked_at[node] = now
            self._parts.pop(node, None)
            self._bus.send(node, "match.ask", _encode(None))

    def _compare(self, info: NodeInfo) -> None:
        # When it was asked, that stands until its copy is here.
        if info.name in self._asked_at or info.state.get("matches", 0) != self._heard.get(info.name, 0):
            self._ask(info.name)

    def _tell_everything(self, sender: str, _: None) -> None:
        listed = [_listed(actor) for actor in self.own.values()]
        for subject in self._given:
            if (known := self.others.get(subject)) is not None:
                listed.append(_handed(known))
        for start in range(0, len(listed) or 1, PART_MATCHES):
            last = start + PART_MATCHES >= len(listed)
            part = Part(self._told, last, listed[start : start + PART_MATCHES], start)
            self._bus.send(sender, "match.part", _encode(part))

    def _part(self, sender: str, part: Part) -> None:
        if not part.start:
            self._parts[sender] = {}
        everything = self._parts.get(sender)
        if everything is None or len(everything) != part.start:
            # One before it was lost.
            return
        everything.update((listed.subject, listed) for listed in part.matches)
        if not part.last:
            return
        del self._parts[sender]
        self._asked_at.pop(sender, None)
        self._heard[sender] = part.told
        for gone in [one for one in self.of_node(sender) if one.stream.subject not in everything]:
            self._drop(gone)
            # Its end was told to all, and we have missed it.
            self._presences.close(gone.stream)
        for listed in everything.values():
            self._put(sender, listed)


def _listed(actor: Actor) -> Listed:
    desk, stream = actor.desk, actor.stream
    kept = actor.checkpoint_ticks > 0
    return Listed(stream.subject, stream.label, desk.name, desk.ticks_per_second, desk.started_at, desk.label, kept)


def _handed(known: OtherMatch) -> Listed:
    desk, stream = known.desk, known.stream
    return Listed(
        stream.subject,
        stream.label,
        desk.name,
        desk.ticks_per_second,
        desk.started_at,
        desk.label,
        known.checkpointed,
        desk.node,
    )
