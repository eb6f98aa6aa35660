"""What happened, told in process: a feature publishes a record of its contract, others subscribe to its type."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

E = TypeVar("E")


class EventBus:
    """Typed publish and subscribe inside one node.

    Subscribers are awaited one after the other in the order of subscription, inside the publisher's call: a subscriber
    that raises makes the publication fail, so that work done in the publisher's transaction is undone as one.
    """

    def __init__(self) -> None:
        self._subscribers: dict[type, list[Callable[[Any], Awaitable[None]]]] = {}

    def subscribe(self, kind: type[E], handler: Callable[[E], Awaitable[None]]) -> None:
        """Call `handler` with every event of exactly this type."""
        self._subscribers.setdefault(kind, []).append(handler)

    async def publish(self, event: object) -> None:
        """Hand `event` to every subscriber of its type."""
        for handler in self._subscribers.get(type(event), ()):
            await handler(event)
