"""A session on its way to another node: what it is made of, and how a node asks for one."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from palestra.gateway.operation import Caller
from palestra.gateway.websocket.handshake import Accepted


class Wanted(msgspec.Struct, array_like=True, frozen=True):
    """Whose session a new connection would take over. `others` allows one of another log-in of the same player."""

    user_id: str
    token_id: str
    format: str
    resume: str
    received: int | None
    others: bool = False


def wanted_by(accepted: Accepted) -> Wanted:
    """What a handshake asks for."""
    caller = accepted.caller
    return Wanted(caller.user_id, caller.token_id, accepted.format, accepted.resume, accepted.received)


class WaitingFrame(msgspec.Struct, array_like=True, frozen=True):
    """A frame that waits for the client, since so many seconds."""

    frame: bytes
    age_seconds: float
    topic: Any
    droppable: bool


class Handed(msgspec.Struct, array_like=True, frozen=True):
    """A session without a connection. `written` counts what a client with a key has been sent; `replay` ends it."""

    id: str
    caller: Caller
    language: str
    client_ip: str
    format: str
    show_status: bool
    resume_key: str
    reason: str
    waiting: list[WaitingFrame]
    written: int = 0
    replay: list[bytes] = []


class Elsewhere(Protocol):
    """The sessions of other nodes, as a handshake needs them."""

    def may_have(self, user_id: str) -> bool:
        """Whether a player has sessions on other nodes."""
        ...

    async def fetch(self, wanted: Wanted) -> None:
        """Have the session come here, if another node has one: it is among this node's away sessions then."""
        ...
