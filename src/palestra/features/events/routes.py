"""Events over HTTP."""

from __future__ import annotations

from palestra.core.clock import Clock, utc
from palestra.features.events.contract import ClientEvent
from palestra.features.events.service import EventService
from palestra.features.events.wire import EventRequest
from palestra.gateway.operation import Call


class EventRoutes:
    """Decode, call, encode."""

    def __init__(self, events: EventService, clock: Clock) -> None:
        self._events = events
        self._clock = clock

    async def send(self, call: Call, request: EventRequest) -> None:
        """Report an event; the answer does not wait for its handlers."""
        when = request.timestamp or utc(self._clock.now())
        self._events.put(ClientEvent(request.name, request.properties, when, external=True, caller=call.player))
