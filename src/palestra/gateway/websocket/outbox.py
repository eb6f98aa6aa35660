"""Frames that wait: for a reader that is slow, for one that has lost its connection, and in case it asks again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from palestra.gateway.push import Push
from palestra.gateway.websocket.handed import WaitingFrame


class Holding:
    """What all sockets of a node hold back together. `dropped` counts frames that receivers have missed."""

    __slots__ = ("bytes", "bytes_max", "dropped")

    def __init__(self, bytes_max: int) -> None:
        self.bytes = 0
        self.bytes_max = bytes_max
        self.dropped = 0

    @property
    def strained(self) -> bool:
        """Whether more than half of what may be held is."""
        return self.bytes * 2 > self.bytes_max


class Bounds(NamedTuple):
    """How much may wait for one receiver, and for how long."""

    frames_max: int
    bytes_max: int
    seconds_max: float


class _Waiting(NamedTuple):
    frame: bytes
    since: float
    topic: Hashable
    droppable: bool


class Outbox:
    """The frames that wait for one receiver, oldest first.

    Of frames with one topic only the latest is kept. Past half of a bound, droppable frames go, oldest first; what then
    exceeds a bound is for the owner to act upon.
    """

    __slots__ = ("_droppable", "_holding", "_latest", "_next", "_waiting", "bounds", "bytes")

    def __init__(self, holding: Holding, bounds: Bounds, frames: Iterable[bytes], now: float) -> None:
        self.bounds = bounds
        self.bytes = 0
        self._holding = holding
        self._waiting: dict[int, _Waiting] = {}
        self._droppable: dict[int, None] = {}
        self._latest: dict[Hashable, int] = {}
        self._next = 0
        for frame in frames:
            self._append(_Waiting(frame, now, None, False))

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, frame: bytes, push: Push | None, now: float, unwritten_bytes: int = 0) -> bool:
        """Queue a frame; False when more waits now than may. `unwritten_bytes` wait further down the line."""
        topic = droppable = None
        if push is not None:
            topic, droppable = push.topic, push.droppable
        if topic is not None:
            former = self._latest.get(topic)
            if former is not None:
                self._drop(former)
            self._latest[topic] = self._next
        self._append(_Waiting(frame, now, topic, bool(droppable)))
        bounds, holding = self.bounds, self._holding
        while self._droppable and (
            len(self._waiting) * 2 > bounds.frames_max
            or (self.bytes + unwritten_bytes) * 2 > bounds.bytes_max
            or holding.strained
        ):
            self._drop(next(iter(self._droppable)))
        return (
            len(self._waiting) <= bounds.frames_max
            and self.bytes + unwritten_bytes <= bounds.bytes_max
            and holding.bytes <= holding.bytes_max
        )

    def age(self, now: float) -> bool:
        """Drop what may be missed and has waited for half the time; False when anything has waited too long."""
        limit = now - self.bounds.seconds_max / 2
        while self._droppable:
            oldest = next(iter(self._droppable))
            if self._waiting[oldest].since > limit:
                break
            self._drop(oldest)
        for waiting in self._waiting.values():
            return now - waiting.since < self.bounds.seconds_max
        return True

    def keep(self, wanted: Callable[[bytes], bool]) -> None:
        """Forget the frames that are not wanted any more."""
        for number, waiting in list(self._waiting.items()):
            if not wanted(waiting.frame):
                self._remove(number)

    def take(self) -> list[bytes]:
        """All that waits; nothing does afterwards."""
        frames = [waiting.frame for waiting in self._waiting.values()]
        self._holding.bytes -= self.bytes
        self.bytes = 0
        self._waiting.clear()
        self._droppable.clear()
        self._latest.clear()
        return frames

    def pack(self, now: float) -> list[WaitingFrame]:
        """All that waits, for another node to keep."""
        return [WaitingFrame(one.frame, now - one.since, one.topic, one.droppable) for one in self._waiting.values()]

    def unpack(self, frames: Iterable[WaitingFrame], now: float) -> None:
        """Keep what waited on another node."""
        for one in frames:
            topic = tuple(one.topic) if isinstance(one.topic, list) else one.topic
            if topic is not None:
                self._latest[topic] = self._next
            self._append(_Waiting(one.frame, now - one.age_seconds, topic, one.droppable))

    def _append(self, waiting: _Waiting) -> None:
        self._waiting[self._next] = waiting
        if waiting.droppable:
            self._droppable[self._next] = None
        self._next += 1
        self.bytes += len(waiting.frame)
        self._holding.bytes += len(waiting.frame)

    def _drop(self, number: int) -> None:
        self._remove(number)
        self._holding.dropped += 1

    def _remove(self, number: int) -> None:
        waiting = self._waiting.pop(number)
        self._droppable.pop(number, None)
        if waiting.topic is not None and self._latest.get(waiting.topic) == number:
            del self._latest[waiting.topic]
        self.bytes -= len(waiting.frame)
        self._holding.bytes -= len(waiting.frame)


class Replay:
    """The last envelopes written to one session, for a client that says how many it has received."""

    __slots__ = ("_bytes", "_bytes_max", "_frames", "_frames_max", "_holding", "written")

    def __init__(self, holding: Holding, frames_max: int, bytes_max: int) -> None:
        self.written = 0
        """Envelopes written since the session began."""
        self._holding = holding
        self._frames: deque[bytes] = deque()
        self._frames_max = frames_max
        self._bytes = 0
        self._bytes_max = bytes_max

    def note(self, frames: Iterable[bytes]) -> None:
        """Remember what is being written: the oldest goes when it is too much, all when the node is strained."""
        for frame in frames:
            if is_envelope(frame):
                self.written += 1
                self._frames.append(frame)
                self._bytes += len(frame)
                self._holding.bytes += len(frame)
        while len(self._frames) > self._frames_max or self._bytes > self._bytes_max:
            self._forget_oldest()
        if self._holding.strained:
            self.clear()

    def pack(self) -> list[bytes]:
        """The frames that are kept."""
        return list(self._frames)

    def unpack(self, written: int, frames: Iterable[bytes]) -> None:
        """Go on from what another node had written."""
        self.written = written
        for frame in frames:
            self._frames.append(frame)
            self._bytes += len(frame)
            self._holding.bytes += len(frame)

    @property
    def bytes(self) -> int:
        """How much is kept."""
        return self._bytes

    def since(self, received: int) -> list[bytes] | None:
        """What a receiver of so many has missed; None when that is not known any more, or never was written."""
        missed = self.written - received
        if not 0 <= missed <= len(self._frames):
            return None
        return list(self._frames)[len(self._frames) - missed :]

    def clear(self) -> None:
        """Forget all frames, not how many they were."""
        while self._frames:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        size = len(self._frames.popleft())
        self._bytes -= size
        self._holding.bytes -= size


def is_envelope(frame: bytes) -> bool:
    """Whether a frame carries an envelope; pings and pongs do not."""
    return frame[0] in _DATA


def is_push(frame: bytes) -> bool:
    """Whether a frame carries an envelope without a cid: such as mean something to whoever reads them."""
    member = _DATA.get(frame[0])
    size = frame[1]
    return member is not None and not frame.startswith(member, 2 if size < 126 else 4 if size == 126 else 10)


_DATA = {0x81: b'{"cid":', 0x82: b"\x0a"}
"""First byte of frames of text and of binary, and how the payload begins if it has a cid: replies put it first."""
