"""What others may know of client events."""

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


EventHandler = Callable[[ClientEvent], Awaitable[None]]


class Events(Protocol):
    """Events, as game modules see them (`ctx.events`)."""

    def send(self, name: str, properties: dict[str, str] | None = None) -> None:
        """Hand an event to the handlers in the background; it is dropped, and counted, when too many are waiting."""
        ...
