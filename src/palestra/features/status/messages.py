"""Status messages of the socket: decode, call, encode."""

from __future__ import annotations

from palestra.features.status import wire
from palestra.features.status.contract import Statuses
from palestra.gateway.operation import Call


class StatusMessages:
    """What players may ask of statuses over their socket."""

    def __init__(self, statuses: Statuses) -> None:
        self._statuses = statuses

    async def follow(self, call: Call, request: wire.StatusFollow) -> tuple[str, wire.Status]:
        """status_follow."""
        presences = await self._statuses.follow(call.connection.id, request.user_ids, request.usernames)
        return "status", wire.Status(wire.shown(presences))

    async def unfollow(self, call: Call, request: wire.StatusUnfollow) -> None:
        """status_unfollow."""
        await self._statuses.unfollow(call.connection.id, request.user_ids)

    async def update(self, call: Call, request: wire.StatusUpdate) -> None:
        """status_update."""
        await self._statuses.update(call.connection.id, request.status)
