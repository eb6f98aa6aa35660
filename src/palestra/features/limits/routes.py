"""The limit endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.limits import wire
from palestra.features.limits.contract import Limits
from palestra.gateway.operation import Call, Empty


class LimitRoutes:
    """Handlers of the limit operations, each about the caller."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def get(self, call: Call, request: Empty) -> wire.Limits:
        """What is in force, used and pending."""
        return wire.limits_of(await self._limits.get(call.player.user_id))

    async def set(self, call: Call, request: wire.SetRequest) -> wire.Limits:
        """Set the caller's own limits."""
        wanted = [wire.limit_of(one) for one in request.limits]
        return wire.limits_of(await self._limits.set(call.player.user_id, wanted, author="player"))

    async def lock(self, call: Call, request: wire.LockRequest) -> wire.Limits:
        """Lock the caller."""
        seconds = wire.lock_seconds(request)
        return wire.limits_of(await self._limits.lock(call.player.user_id, seconds, author="player"))
