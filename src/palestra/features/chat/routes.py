"""The chat endpoint: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.chat import wire
from palestra.features.chat.contract import Chat
from palestra.gateway.operation import Call


class ChatRoutes:
    """Handlers of the chat operations."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def list(self, call: Call, request: wire.ListRequest) -> wire.ChannelMessageList:
        """The history of a channel that the caller may read."""
        limit = 1 if request.limit is None else request.limit
        forward = request.forward is not False
        page = await self._chat.history(
            request.channel_id, limit, forward, request.cursor, caller_id=call.player.user_id
        )
        return wire.history_json(page) if call.unseen else wire.history_of(page)
