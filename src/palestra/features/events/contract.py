"""What others may know of events: those that clients and the server report, and those of sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import msgspec

from palestra.gateway.operation import Caller


class ClientEvent(msgspec.Struct, frozen=True):
    """Something that happened in a game. `external` is true when a client reported it; then `caller` is that player."""

    name: str
    properties: dict[str, str]
    timestamp: datetime
    external: bool
    caller: Caller | None = None


SESSION_START, SESSION_END = "session_start", "session_end"


class SessionEvent(msgspec.Struct, frozen=True):
    """A socket was opened ("session_start"), or has ended: "session_end", with its `reason` among the properties."""

    name: str
    properties: dict[str, str]
    timestamp: datetime
    caller: Caller
    session_id: str
    language: str
    client_ip: str
    external: bool = False


EventHandler = Callable[[ClientEvent], Awaitable[None]]
SessionHandler = Callable[[SessionEvent], Awaitable[None]]


class Events(Protocol):
    """Events, as game modules see them (`ctx.events`)."""

    def send(self, name: str, properties: dict[str, str] | None = None) -> None:
        """Hand an event to the handlers in the background; it is dropped, and counted, when too many are waiting."""
        ...
