"""JSON shape of an event."""

from __future__ import annotations

from datetime import datetime

import msgspec


class EventRequest(msgspec.Struct):
    """An event; everything is optional. `external` is ignored: what a client sends is external."""

    name: str = ""
    timestamp: datetime | None = None
    properties: dict[str, str] = {}
    external: bool = False
