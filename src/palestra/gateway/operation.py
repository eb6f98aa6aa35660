"""What features hand to the gateway: HTTP operations and socket messages, and what a handler is told about its call."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from palestra.core.errors import PalestraError
from palestra.gateway.push import Push


class Auth(enum.Enum):
    """Who may call an operation."""

    NONE = "none"
    SERVER_KEY = "server key"
    SESSION = "session"
    SESSION_OR_HTTP_KEY = "session or http key"
    SIGNATURE = "signature of another server"


class Caller(msgspec.Struct, frozen=True):
    """The player a verified session token speaks for. `expires_at` in unix seconds."""

    user_id: str
    username: str
    vars: dict[str, str]
    token_id: str
    expires_at: int
    issued_at: int


class Session(Protocol):
    """One socket, as features see it. While it is `away` it has lost its connection, and what it is sent waits.

    `node` is the other node that it is on, "" for this one, and `moves` how often it has moved from one to another.
    """

    id: str
    caller: Caller
    language: str
    client_ip: str
    closing: bool
    away: bool
    node: str
    moves: int

    def send(self, push: Push) -> None:
        """Queue one envelope; a broadcast is one `Push` handed to every member."""
        ...

    def after_reply(self, callback: Callable[[], None]) -> None:
        """Call back once the message being handled has been answered; with none in hand, when the loop is next free."""
        ...

    def close(self, reason: str) -> None:
        """Flush what is queued, then close normally (1000) with `reason`."""
        ...


class Call:
    """One request as its handler sees it. `caller` is None without a session, `session` is None outside a socket.

    `server` names the server that signed the request, "" for all others.
    """

    __slots__ = ("body", "caller", "client_ip", "headers", "operation", "query", "server", "session")

    def __init__(
        self,
        operation: Operation | Message,
        caller: Caller | None,
        *,
        session: Session | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
        query: bytes = b"",
        client_ip: str = "",
    ) -> None:
        self.operation = operation
        self.caller = caller
        self.session = session
        self.headers = headers
        self.query = query
        self.client_ip = client_ip
        self.body = b""
        self.server = ""

    @property
    def player(self) -> Caller:
        """The caller of an operation that needs a session."""
        if self.caller is None:
            raise RuntimeError(f"{self.operation.name} was called without a session")
        return self.caller

    @property
    def unseen(self) -> bool:
        """Whether the answer is encoded without game code looking at it: parts of it may be JSON already."""
        return self.operation.after is None

    @property
    def connection(self) -> Session:
        """The session of a message that came over a socket."""
        if self.session is None:
            raise RuntimeError(f"{self.operation.name} was called without a socket")
        return self.session


Handler = Callable[[Call, Any], Awaitable[Any]]
Hook = Callable[..., Awaitable[Any]]


class Stats:
    """Plain counters of one operation: calls by error code (0 = fine) and the time they took."""

    __slots__ = ("by_code", "seconds")

    def __init__(self) -> None:
        self.by_code: list[int] = [0] * 17
        self.seconds = 0.0


class Empty(msgspec.Struct, omit_defaults=True):
    """A request or answer without fields: `{}`."""


@dataclass(slots=True, eq=False)
class Operation:
    """One line of the operation table.

    `name` is at once hook name, metric label and docs anchor. `path` is literal, `{segments}` in braces are fields of
    `request`; `body` names the field that the JSON body fills, "*" for the whole request, "" for none; all other fields
    come from the query. The handler gets the decoded request and returns a struct, encoded without its defaults.
    """

    name: str
    method: str
    path: str
    auth: Auth
    handler: Handler
    request: type[msgspec.Struct] = Empty
    body: str = ""
    raw: bool = False
    """The handler gets the undecoded body (`call.body`) and answers with `Raw`; authentication precedes everything."""
    hookable: bool = True
    before: Hook | None = None
    after: Hook | None = None
    stats: Stats = field(default_factory=Stats)


@dataclass(slots=True, eq=False)
class Message:
    """One message a client may send over its socket: `key` is the envelope's member.

    The handler returns the reply envelope's member as a (key, struct) pair, or None for an empty reply. With `replies`
    off nothing is answered, and errors go out without the request's cid. A `direct` handler is an ordinary function for
    the few messages that must not cost a task: it gets the whole envelope as it arrived and says whether it dealt with
    it; if not, or if the message has a hook, the envelope goes the usual way. `direct_binary` is the same for Protobuf.
    """

    name: str
    key: str
    request: type[msgspec.Struct]
    handler: Handler
    replies: bool = True
    hookable: bool = True
    direct: Callable[[Session, bytes], bool] | None = None
    direct_binary: Callable[[Session, bytes], bool] | None = None
    before: Hook | None = None
    after: Hook | None = None
    stats: Stats = field(default_factory=Stats)


@dataclass(slots=True, frozen=True)
class Raw:
    """An answer that is sent as it is."""

    body: bytes
    content_type: bytes = b"application/json"


class Servers(Protocol):
    """Knows other servers by their signatures; implemented by the providers feature.

    Operations of `Auth.SIGNATURE` are checked by their raw body before anything in it is decoded, take a JSON body that
    must be exactly their request, and are refused in words for programs.
    """

    def verify(self, operation: Operation, headers: list[tuple[bytes, bytes]], body: bytes, client_ip: str) -> str:
        """The name of the server that signed this request. Raises PalestraError."""
        ...

    def word(self, error: PalestraError) -> str:
        """The stable word by which those servers know an error."""
        ...


class Authenticator(Protocol):
    """Turns session tokens into callers; implemented by the sessions feature."""

    def verify(self, token: str) -> Caller | None:
        """The caller of a valid, unexpired, unrevoked session token, else None. A dictionary look-up when known."""
        ...

    def lasts(self, user_id: str, token_id: str, logged_in_at: int) -> bool:
        """Whether a log-in has not been revoked since."""
        ...
