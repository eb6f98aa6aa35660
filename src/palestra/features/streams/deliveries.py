"""Envelopes for sessions of other nodes: those of one turn of the loop share a message to each node, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from palestra.cluster.bus import PACKET_BYTES_MAX, Bus
from palestra.features.streams.contract import Stream
from palestra.features.streams.remote import RemoteSession
from palestra.gateway.push import Push, RawPush

GATHERED_BYTES_MAX = PACKET_BYTES_MAX
"""Envelopes beyond this go in a further message; a larger one has its own."""
ID_BYTES = 38

_encode = msgspec.msgpack.Encoder().encode


class Delivery(msgspec.Struct, array_like=True, frozen=True):
    """An envelope as JSON text, to sessions or to a stream. `topic` is that of a push of which the latest counts."""

    envelope: bytes
    droppable: bool
    topic: Any
    sessions: list[str] = []
    stream: Stream | None = None


class Deliveries:
    """Gathers what is sent to sessions of other nodes, until something else is sent to them or the turn ends."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, list[Delivery]] = {}
        self._bytes = 0
        self._push: Push | None = None
        self._envelope = b""
        self._sessions: dict[str, list[str]] = {}
        """Who gets `_push`, by node."""

    def deliver(self, session: RemoteSession, push: Push) -> None:
        """See Link.deliver."""
        if push is not self._push:
            self._envelope = self._room_for(push)
            self._push, self._sessions = push, {}
        sessions = self._sessions.get(session.node)
        if sessions is None:
            sessions = self._sessions[session.node] = []
            delivery = Delivery(self._envelope, push.droppable, push.topic, sessions)
            self._waiting.setdefault(session.node, []).append(delivery)
        sessions.append(session.id)
        self._bytes += ID_BYTES

    def deliver_stream(self, stream: Stream, push: Push, nodes: Iterable[str]) -> None:
        """See Link.deliver_stream."""
        delivery = Delivery(self._room_for(push), push.droppable, push.topic, [], stream)
        # Whoever gets the envelope that was in hand gets it before this from now on, or after it.
        self._push = None
        for node in nodes:
            self._waiting.setdefault(node, []).append(delivery)

    def _room_for(self, push: Push) -> bytes:
        """The envelope of a push, which may be added now."""
        envelope = push.envelope()
        if not self._waiting or self._bytes + len(envelope) > GATHERED_BYTES_MAX:
            # What was gathered before goes first.
            self._bus.gather(self._send)
        self._bytes += len(envelope)
        return envelope

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._push, self._bytes = None, 0
        for node, deliveries in waiting.items():
            self._bus.send(node, "deliver", _encode(deliveries))


class LatestRawPush(RawPush):
    """An envelope as text that replaces those before it on the same topic."""

    __slots__ = ("topic",)

    def __init__(self, envelope: bytes, topic: Any) -> None:
        super().__init__(envelope)
        self.topic = topic


def push_of(delivery: Delivery) -> Push:
    """The envelope that another node has sent."""
    if delivery.topic is not None:
        return LatestRawPush(delivery.envelope, _hashable(delivery.topic))
    return RawPush(delivery.envelope, droppable=delivery.droppable)


def _hashable(topic: Any) -> Any:
    return tuple(topic) if isinstance(topic, list) else topic
