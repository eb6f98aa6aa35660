"""Sending to streams that are full: what is sent within a moment is written together, as writing is what costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from palestra.features.streams.contract import Stream
from palestra.gateway.push import Push

CROWD_MEMBERS_MIN = 500
WRITES_PER_SECOND = 25_000
"""To how many members of a crowd is written in a second, if so much is sent: five times to each of 5,000."""
BURST_PUSHES_MAX = 32

Deliver = Callable[[Stream, Sequence[Push], Mapping[str, int]], None]
"""Writes envelopes to a stream; sessions that are named miss so many of them."""
Later = Callable[[float, Callable[[], None]], object]


class _Waiting:
    """What was sent to a crowd since it was last written to, the sessions whose leaves are among it, and of those that
    have come back, how much was sent before."""

    __slots__ = ("back", "left", "members", "pushes")

    def __init__(self, members: int) -> None:
        self.members = members
        self.pushes: list[Push] = []
        self.left: set[str] = set()
        self.back: dict[str, int] = {}


class Crowds:
    """Delivers at once, unless the stream is a crowd that was written to a moment ago: then when the moment is over.

    The order of a stream is kept. A write to a socket costs several times what a message costs, whatever its size.
    """

    def __init__(self, deliver: Deliver, later: Later) -> None:
        self._deliver = deliver
        self._later = later
        self._waiting: dict[Stream, _Waiting] = {}

    def send(self, stream: Stream, push: Push, members: int, left: Iterable[str] = ()) -> None:
        """Send to a stream that has so many members; `left` are the sessions whose leaves the envelope tells."""
        waiting = self._waiting.get(stream)
        if waiting is None:
            self._deliver(stream, (push,), {})
            if members >= CROWD_MEMBERS_MIN:
                self._wait(stream, members)
            return
        waiting.pushes.append(push)
        waiting.members = members
        waiting.left.update(left)
        if len(waiting.pushes) >= BURST_PUSHES_MAX:
            self.flush(stream)

    def _wait(self, stream: Stream, members: int) -> None:
        self._waiting[stream] = _Waiting(members)
        self._later(members / WRITES_PER_SECOND, lambda: self._over(stream))

    def _over(self, stream: Stream) -> None:
        waiting = self._waiting.pop(stream)
        if waiting.pushes:
            self._deliver(stream, waiting.pushes, waiting.back)
            self._wait(stream, waiting.members)

    def returns(self, stream: Stream, session_id: str) -> None:
        """A session is about to join: its own former leave is not for its ears, and no reason to write to all."""
        waiting = self._waiting.get(stream)
        if waiting is not None and session_id in waiting.left:
            waiting.back[session_id] = len(waiting.pushes)

    def flush(self, stream: Stream) -> None:
        """Deliver what waits now."""
        waiting = self._waiting.get(stream)
        if waiting is not None:
            pushes, waiting.pushes = waiting.pushes, []
            back, waiting.back = waiting.back, {}
            waiting.left.clear()
            self._deliver(stream, pushes, back)
