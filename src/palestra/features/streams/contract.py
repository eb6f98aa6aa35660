"""What others may know of streams: their names, presences on them, and the two faces of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from palestra.core.errors import FailedPrecondition, InvalidArgument, NotFound
from palestra.gateway.operation import Session
from palestra.gateway.push import Push

NOTIFICATIONS, STATUS, ROOM, GROUP, DIRECT, RELAYED_MATCH, MATCH, PARTY = range(8)
"""The built-in modes. Game modules choose modes of their own, from 8 to 255."""
OWN_MODE_MIN, MODE_MAX = 8, 255


class Stream(msgspec.Struct, frozen=True, cache_hash=True):
    """The name of a stream; `subject` and `subcontext` are ids or empty, `label` is free text."""

    mode: int
    subject: str = ""
    subcontext: str = ""
    label: str = ""


class Presence(msgspec.Struct, frozen=True):
    """One session on one stream. Hidden presences receive everything and are shown to nobody."""

    user_id: str
    session_id: str
    username: str
    hidden: bool = False
    persistence: bool = True
    status: str = ""


class Member(msgspec.Struct, eq=False):
    """A live presence: the session it belongs to, and what it shows of itself.

    `encoded` is room for the owner of the stream's mode to keep the presence's wire forms, None until it does.
    """

    session: Session
    presence: Presence
    encoded: Any = None


Audience = Mapping[str, Member]
"""The members of a stream by session id, in the order of joining. A live view: look, do not keep across awaits."""

Watcher = Callable[[Stream, Sequence[Member], Sequence[Member]], None]
"""Is told of a stream's joins and leaves, the hidden included, as they happen."""

Shape = Callable[[Stream, Sequence[Presence], Sequence[Presence]], Push]
"""Makes the envelope of a presence event out of a stream, its joins and its leaves."""


class UnknownSession(NotFound):
    """There is no such session on this node."""

    def __init__(self) -> None:
        super().__init__("Session not found.")


class SessionClosing(FailedPrecondition):
    """The session is on its way out and joins nothing any more."""

    def __init__(self) -> None:
        super().__init__("Session is closing.")


class ReservedMode(InvalidArgument):
    """Game modules may use the modes from 8 to 255."""

    def __init__(self, mode: int) -> None:
        super().__init__(f"Stream mode {mode} is not for game modules: use {OWN_MODE_MIN} to {MODE_MAX}.")


class Presences(Protocol):
    """The engine as features use it: in memory, at once, for sessions of this node.

    Visible joins, leaves and updates tell everybody who is on the stream at the time of telling: after the reply to the
    message that the session has in hand, else when the loop is next free. So a joiner reads its reply, then its join.
    """

    def join(
        self, session: Session, stream: Stream, *, hidden: bool = False, persistence: bool = True, status: str = ""
    ) -> tuple[Presence, bool]:
        """The session's presence and whether it is new; joining twice changes nothing. Raises SessionClosing."""
        ...

    def leave(self, session_id: str, stream: Stream) -> bool:
        """Whether the session was there."""
        ...

    def leave_mode(self, session_id: str, mode: int, *, but: Stream | None = None) -> None:
        """Leave all streams of a mode except `but`."""
        ...

    def update(self, session_id: str, stream: Stream, status: str) -> bool:
        """Change what a presence shows; others see the new presence join and the former leave."""
        ...

    def audience(self, stream: Stream) -> Audience:
        """Everybody on a stream, the hidden included."""
        ...

    def visible(self, stream: Stream) -> list[Presence]:
        """Everybody to be seen on a stream. O(members)."""
        ...

    def of_mode(self, mode: int) -> Mapping[Stream, Audience]:
        """All streams of a mode that have anybody on them."""
        ...

    def send(self, stream: Stream, push: Push) -> int:
        """Send one envelope to everybody on a stream; returns to how many. O(members)."""
        ...

    def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        ...

    def announce(self, mode: int, shape: Shape) -> None:
        """Make presence events of a mode look so. Built-in modes without a shape announce nothing."""
        ...

    def watch(self, mode: int, watcher: Watcher) -> None:
        """Tell `watcher` of joins and leaves on streams of a mode at once, before anybody is sent the event."""
        ...


class Streams(Protocol):
    """Streams as game modules use them (`ctx.streams`): modes 8 to 255."""

    async def join(
        self, session_id: str, stream: Stream, *, hidden: bool = False, persistence: bool = True, status: str = ""
    ) -> bool:
        """Put a session on a stream; whether it was not there before. Raises UnknownSession, SessionClosing."""
        ...

    async def leave(self, session_id: str, stream: Stream) -> None:
        """Take a session off a stream."""
        ...

    async def send(self, stream: Stream, data: str) -> None:
        """Send text to everybody on a stream."""
        ...

    async def users(self, stream: Stream) -> list[Presence]:
        """Everybody to be seen on a stream."""
        ...

    async def count(self, stream: Stream) -> int:
        """How many sessions are on a stream, the hidden included."""
        ...

    async def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        ...
