"""Where parties are that have moved: all nodes know, and correct what they know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from palestra.cluster.cluster import Cluster
from palestra.cluster.membership import NodeInfo
from palestra.features.streams.contract import Stream

ASK_SECONDS = 1.0
"""How long a node is not asked again for what it has."""

_encode = msgspec.msgpack.Encoder().encode


class Home(msgspec.Struct, array_like=True, frozen=True):
    """The node that a party is on after so many moves."""

    stream: Stream
    node: str
    moves: int


class Homes:
    """A party is on the node that its id ends in, unless it stands here. Of what is said, the latest move counts.

    The former node tells all others of a move before it says goodbye, so that nobody takes the party for gone with it.
    Heartbeats carry a sum over the ids of those that a node has been given (exclusive or of their ends): whoever knows
    of others asks for all of them. So it does not matter what is lost, or comes late, or which node has its name anew.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._bus = cluster.bus
        self._members = cluster.members
        self._at: dict[Stream, Home] = {}
        self._marks: Counter[str] = Counter()
        self._asked_at: dict[str, float] = {}
        for topic, kind, handler in (
            ("party.moved", Home, self._moved),
            ("party.over", Stream, self._over),
            ("party.ask", None, self._asked),
            ("party.all", list[Home], self._told_all),
        ):
            self._bus.on(topic, partial(self._decoded, msgspec.msgpack.Decoder(kind).decode, handler))
        self._members.on_beat(self._compare)
        self._members.state.append(lambda: {"moved_parties": self._marks[self._bus.node]})

    def _decoded(
        self, decode: Callable[[bytes], Any], handler: Callable[[str, Any], None], sender: str, data: bytes
    ) -> None:
        # What a node says that is not known yet is seen by its heartbeats.
        if sender in self._members:
            handler(sender, decode(data))

    def of(self, stream: Stream) -> str:
        """The node that a party is on, if there is such a party."""
        home = self._at.get(stream)
        return stream.label if home is None else home.node

    def next(self, stream: Stream) -> int:
        """The number that a party's next move has."""
        home = self._at.get(stream)
        return 1 if home is None else home.moves + 1

    # -- what happens here

    def taken(self, stream: Stream, moves: int) -> None:
        """A party has come here."""
        self._tell(Home(stream, self._bus.node, moves))

    def given(self, stream: Stream, node: str, moves: int) -> None:
        """A party was given to another node."""
        self._tell(Home(stream, node, moves))

    def ended(self, stream: Stream) -> None:
        """A party of this node has ended."""
        if stream in self._at:
            self._drop(stream)
            self._bus.broadcast("party.over", _encode(stream))

    def forget(self, node: str) -> None:
        """A node is gone, or this one given up, and its parties with it."""
        self._asked_at.pop(node, None)
        for home in self._of_node(node):
            self._drop(home.stream)
        self._marks.pop(node, None)

    # -- what others say

    def _moved(self, sender: str, home: Home) -> None:
        # What comes here is known by itself.
        if home.node != self._bus.node and home.node in self._members:
            self._put(home)

    def _over(self, sender: str, stream: Stream) -> None:
        if self.of(stream) == sender:
            self._drop(stream)

    def _compare(self, info: NodeInfo) -> None:
        now = self._bus.loop.time()
        if info.state.get("moved_parties", 0) == self._marks[info.name]:
            return
        if now - self._asked_at.get(info.name, -ASK_SECONDS) >= ASK_SECONDS:
            self._asked_at[info.name] = now
            self._bus.send(info.name, "party.ask", _encode(None))

    def _asked(self, sender: str, _: None) -> None:
        self._bus.send(sender, "party.all", _encode(self._of_node(self._bus.node)))

    def _told_all(self, sender: str, homes: list[Home]) -> None:
        self._asked_at.pop(sender, None)
        for gone in set(self._of_node(sender)).difference(homes):
            self._drop(gone.stream)
        for home in homes:
            self._put(home)

    # -- within

    def _tell(self, home: Home) -> None:
        """Both nodes of a move tell of it: either may die right afterwards."""
        self._put(home)
        self._bus.broadcast("party.moved", _encode(home))

    def _of_node(self, node: str) -> list[Home]:
        return [home for home in self._at.values() if home.node == node]

    def _put(self, home: Home) -> None:
        known = self._at.get(home.stream)
        if known is not None and known.node == self._bus.node != home.node and known.moves == home.moves:
            # What is here is known better here.
            return
        # The same move twice: the node that was asked first is dying.
        if known is None or home.moves >= known.moves:
            self._drop(home.stream)
            self._at[home.stream] = home
            self._marks[home.node] ^= _mark_of(home.stream)

    def _drop(self, stream: Stream) -> None:
        home = self._at.pop(stream, None)
        if home is not None:
            self._marks[home.node] ^= _mark_of(stream)


def _mark_of(stream: Stream) -> int:
    return int(stream.subject[-12:], 16)
