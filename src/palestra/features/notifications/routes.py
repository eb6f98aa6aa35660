"""The notification endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.notifications import wire
from palestra.features.notifications.contract import Notifications
from palestra.gateway.operation import Call, Empty


class NotificationRoutes:
    """Handlers of the notification operations."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    async def list(self, call: Call, request: wire.ListRequest) -> wire.NotificationList:
        """The caller's kept notifications."""
        limit = 1 if request.limit is None else request.limit
        return wire.page_of(await self._notifications.list(call.player.user_id, limit, request.cacheable_cursor))

    async def delete(self, call: Call, request: wire.DeleteRequest) -> Empty:
        """Delete notifications of the caller."""
        await self._notifications.delete(request.ids, call.player.user_id)
        return Empty()
