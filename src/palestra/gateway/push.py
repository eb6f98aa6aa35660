"""An envelope on its way to sockets: built once, encoded once for each format that any receiver speaks."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

import msgspec

from palestra.gateway.websocket.frames import frame_of

encode = msgspec.json.Encoder().encode


class BinaryFormat(Protocol):
    """Makes Protobuf frames of envelopes; a node has one."""

    def frame(self, envelope: bytes) -> bytes:
        """The binary frame of an envelope given as JSON text."""
        ...


class Push:
    """One envelope without a cid: what its one member is called, and that member.

    `text` and `binary` are whole frames, b"" until the first socket of that format asks. `droppable` is what a receiver
    may miss: when it does not keep up, such envelopes go first.
    """

    topic: Hashable | None = None

    __slots__ = ("_key", "_member", "binary", "droppable", "text")

    def __init__(self, key: str, member: msgspec.Struct, *, droppable: bool = False) -> None:
        self._key = key
        self._member = member
        self.droppable = droppable
        self.text = self.binary = b""

    def envelope(self) -> bytes:
        """The envelope as JSON text."""
        return b'{"%b":%b}' % (self._key.encode(), encode(self._member))

    def make_text(self) -> bytes:
        """Encode for sockets that speak JSON."""
        self.text = frame_of(self.envelope())
        return self.text

    def make_binary(self, binary: BinaryFormat) -> bytes:
        """Encode for sockets that speak Protobuf."""
        self.binary = binary.frame(self.envelope())
        return self.binary


class LatestPush(Push):
    """An envelope that replaces those before it on the same topic: who does not keep up gets only the latest."""

    __slots__ = ("topic",)

    def __init__(self, key: str, member: msgspec.Struct, topic: Hashable) -> None:
        super().__init__(key, member)
        self.topic = topic


class RawPush(Push):
    """An envelope whose JSON text is at hand already."""

    __slots__ = ("_envelope",)

    def __init__(self, envelope: bytes, *, droppable: bool = False) -> None:
        self._envelope = envelope
        self.droppable = droppable
        self.text = self.binary = b""

    def envelope(self) -> bytes:
        """The envelope as JSON text."""
        return self._envelope
