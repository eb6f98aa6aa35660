"""What others may know of streams: their names, presences on them, and the two faces of the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from palestra.core.errors import FailedPrecondition, InvalidArgument, NotFound
from palestra.gateway.operation import Session
from palestra.gateway.push import Push

NOTIFICATIONS, STATUS, ROOM, GROUP, DIRECT, RELAYED_MATCH, MATCH, PARTY = range(8)
"""The built-in modes. Game modules choose modes of their own, from 8 to 255."""
OWN_MODE_MIN, MODE_MAX = 8, 255
OPEN_MODES = frozenset((ROOM, GROUP, DIRECT, RELAYED_MATCH, *range(OWN_MODE_MIN, MODE_MAX + 1)))
"""The modes in which game modules may change who is there; the features of the others keep accounts of their own."""
NAME_CHARS_MAX = 255
"""The longest subject, subcontext and label that game modules may give a stream."""
ENVELOPE_BYTES_MAX = 1 << 18
"""The longest envelope that game modules may send, and the longest text in one."""


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

    `encoded` is room for the owner of the stream's mode to keep the presence's wire forms, None until it does. It is
    `silent` when its stream was closed: nobody is told. `node` is the other node that the session is on, "" for ours.
    """

    session: Session
    presence: Presence
    node: str = ""
    encoded: Any = None
    silent: bool = False


Audience = Mapping[str, Member]
"""The members of a stream by session id, in the order of joining. A live view: look, do not keep across awaits."""

T = TypeVar("T")

Watcher = Callable[[Stream, Sequence[Member], Sequence[Member]], None]
"""Is told of a stream's joins and leaves, the hidden included, as they happen."""

Shape = Callable[[Stream, Sequence[Presence], Sequence[Presence]], Push]
"""Makes the envelope of a presence event out of a stream, its joins and its leaves."""

Hearers = Callable[[Stream], Iterable[Session]]
"""Who is told of presence events on a stream where that is not who is on it."""


class UnknownSession(NotFound):
    """There is no such session on this node."""

    def __init__(self) -> None:
        super().__init__("Session not found.")


class SessionClosing(FailedPrecondition):
    """The session is on its way out and joins nothing any more."""

    def __init__(self) -> None:
        super().__init__("Session is closing.")


class ReservedMode(InvalidArgument):
    """A mode whose presences are the affair of one feature."""

    def __init__(self, mode: int) -> None:
        super().__init__(
            f"Stream mode {mode} is not for game modules: use {OWN_MODE_MIN} to {MODE_MAX}, "
            f"or {ROOM} to {RELAYED_MATCH} for channels and relayed matches."
        )


class BadStream(InvalidArgument):
    """A name that no stream may have."""

    def __init__(self) -> None:
        super().__init__(f"The parts of a stream's name are texts of at most {NAME_CHARS_MAX} characters.")


class BadEnvelope(InvalidArgument):
    """An envelope has one member that the protocol knows, an object, and nothing beside it."""

    def __init__(self) -> None:
        super().__init__(
            'An envelope is {"<member>": {...}} with one member of the protocol, '
            f"of at most {ENVELOPE_BYTES_MAX} bytes as JSON."
        )


class BadText(InvalidArgument):
    """A text for a stream that is too long."""

    def __init__(self) -> None:
        super().__init__(f"What is sent to a stream has at most {ENVELOPE_BYTES_MAX} bytes.")


class Presences(Protocol):
    """The engine as features use it: in memory, at once, for the sessions of all nodes.

    What is done here to a session of another node is done there a moment later; what happens there is known here a
    moment later, and each node tells its own sessions.

    Visible joins, leaves and updates tell everybody who is on the stream at the time of telling: after the reply to the
    message that the session has in hand, else when the loop is next free. So a joiner reads its reply, then its join.
    """

    def join(
        self,
        session: Session,
        stream: Stream,
        *,
        hidden: bool = False,
        persistence: bool = True,
        status: str = "",
    ) -> tuple[Presence, bool]:
        """The session's presence and whether it is new; joining twice changes nothing. Raises SessionClosing."""
        ...

    def leave(self, session_id: str, stream: Stream) -> bool:
        """Whether the session was there."""
        ...

    def leave_mode(self, session_id: str, mode: int, *, but: Stream | None = None) -> None:
        """Leave all streams of a mode except `but`."""
        ...

    def update(
        self,
        session_id: str,
        stream: Stream,
        status: str | None = None,
        *,
        hidden: bool | None = None,
        persistence: bool | None = None,
    ) -> bool:
        """Change what a presence shows, whether there is one; others see the new one join and the former leave."""
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

    def of_session(self, session_id: str) -> Mapping[Stream, Member]:
        """The streams that a session is on, a live view."""
        ...

    def send(self, stream: Stream, push: Push) -> int:
        """Send one envelope to everybody on a stream; returns to how many. O(members).

        Joins and leaves that are still to be told are told first.
        """
        ...

    def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        ...

    def announce(self, mode: int, shape: Shape, *, gathers: bool = False, hearers: Hearers | None = None) -> None:
        """Make presence events of a mode look so. Built-in modes without a shape announce nothing.

        With `gathers`, what happens on a stream while the loop has work in hand shares an event: of a thousand who join
        at once, everybody hears a few times, not a thousand. `hearers` are told instead of who is on the stream.
        """
        ...

    def watch(self, mode: int, watcher: Watcher) -> None:
        """Tell `watcher` of joins and leaves on streams of a mode at once, before anybody is sent the event."""
        ...


class Streams(Protocol):
    """Streams as game modules use them (`ctx.streams`).

    Anything may be looked at and sent to. Who is there may be changed in modes of the game's own, 8 to 255, and in
    those of channels and relayed matches; others raise ReservedMode. Sessions are those of this node.
    """

    async def join(
        self, session_id: str, stream: Stream, *, hidden: bool = False, persistence: bool = True, status: str = ""
    ) -> bool:
        """Put a session on a stream; whether it was not there before.

        Raises UnknownSession, SessionClosing, BadStream.
        """
        ...

    async def update(
        self,
        session_id: str,
        stream: Stream,
        *,
        hidden: bool | None = None,
        persistence: bool | None = None,
        status: str | None = None,
    ) -> bool:
        """Change what is given of a session's presence; whether there is one."""
        ...

    async def leave(self, session_id: str, stream: Stream) -> None:
        """Take a session off a stream."""
        ...

    async def kick(self, presence: Presence, stream: Stream) -> None:
        """Take somebody off a stream, as `users` showed them."""
        ...

    async def send(self, stream: Stream, data: str, to: Iterable[str] | None = None, *, reliable: bool = True) -> None:
        """Send text to everybody on a stream, or to the sessions with the ids `to`, be they on it or not.

        What is not `reliable` may be missed by a receiver that does not keep up. Raises BadText.
        """
        ...

    async def send_raw(
        self,
        stream: Stream,
        envelope: Mapping[str, Any],
        to: Iterable[str] | None = None,
        *,
        reliable: bool = True,
    ) -> None:
        """The same with any envelope of the protocol, as it is: `{"notifications": {...}}`. Raises BadEnvelope."""
        ...

    async def get(self, session_id: str, stream: Stream) -> Presence | None:
        """A session's presence on a stream, None if there is none."""
        ...

    async def users(self, stream: Stream, *, hidden: bool = False, visible: bool = True) -> list[Presence]:
        """Who is on a stream: those to be seen, the hidden, or both. O(members)."""
        ...

    async def count(self, stream: Stream) -> int:
        """How many sessions are on a stream, the hidden included."""
        ...

    async def close(self, stream: Stream) -> None:
        """Remove everybody, telling nobody."""
        ...


class Sockets(Protocol):
    """The open sockets of this node as game modules use them (`ctx.sockets`). Ids that are none here are skipped."""

    async def of_player(self, user_id: str) -> list[str]:
        """The session ids of a player's sockets."""
        ...

    async def send(self, session_ids: Iterable[str], envelope: Mapping[str, Any], *, reliable: bool = True) -> int:
        """Send an envelope of the protocol to sessions; returns to how many. Raises BadEnvelope."""
        ...

    async def send_to_player(self, user_id: str, envelope: Mapping[str, Any], *, reliable: bool = True) -> int:
        """The same to all sockets of a player."""
        ...

    async def disconnect(self, session_id: str, reason: str = "server-side session disconnect") -> bool:
        """Close a socket normally, with `reason` in the close frame; whether there was one."""
        ...


class ConnectedSockets(Protocol):
    """What this node's gateway knows of sockets."""

    @property
    def sessions(self) -> Mapping[str, Session]:
        """All of them by session id."""
        ...

    def of_user(self, user_id: str) -> Sequence[Session]:
        """Those of a player."""
        ...


class Copies(Protocol):
    """What this node knows of the presences of others."""

    def whole(self, node: str) -> bool:
        """Whether it knows all of a node's, but for what is on its way."""
        ...


class Forwards(Protocol):
    """Messages of sessions handled on another node than theirs, as if the session were there."""

    def serve(self, name: str, request: Any, handler: Callable[[Session, Any], Awaitable[Any]]) -> None:
        """Handle messages `name` of other nodes' sessions by `handler(session, request)`."""
        ...

    async def call(
        self, session: Session, node: str, name: str, request: Any, answer: type[T], seconds: float = ...
    ) -> T:
        """Have `node` handle a message of one of our sessions. Raises what it raised there, Unreachable."""
        ...

    def send(self, session: Session, push: Push) -> None:
        """Send to a session: after the reply if another node handles its message, behind what has come meanwhile.

        For a feature whose envelopes may come to the session from there as well.
        """
        ...
