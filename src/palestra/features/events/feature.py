"""Events: table of contents."""

from __future__ import annotations

from palestra.features.events.routes import EventRoutes
from palestra.features.events.wire import EventRequest
from palestra.gateway.operation import Auth, Operation


def operations(routes: EventRoutes) -> list[Operation]:
    """HTTP operations of this feature."""
    return [Operation("events.send", "POST", "/v2/event", Auth.SESSION, routes.send, EventRequest, "*")]
