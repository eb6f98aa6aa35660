"""Liveness and readiness as operations of the client port."""

from __future__ import annotations

from collections.abc import Callable

from palestra.core.errors import Unavailable
from palestra.gateway.operation import Auth, Call, Operation


def operations(ready: Callable[[], bool]) -> list[Operation]:
    """`/healthcheck` answers while the process lives, `/ready` only while it can serve."""

    async def health(call: Call, request: object) -> None:
        """Alive."""

    async def serving(call: Call, request: object) -> None:
        """Able to serve."""
        if not ready():
            raise Unavailable("This node is not serving: it is starting, draining, or its database is away.")

    return [
        Operation("node.health", "GET", "/healthcheck", Auth.NONE, health, hookable=False),
        Operation("node.ready", "GET", "/ready", Auth.NONE, serving, hookable=False),
    ]
