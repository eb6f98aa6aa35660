"""Chat messages of the socket: decode, call, encode."""

from __future__ import annotations

from palestra.features.chat import contract, wire
from palestra.features.chat.channels import ChannelService
from palestra.gateway.operation import Call

Ack = tuple[str, wire.ChannelMessageAck]


class ChatMessages:
    """What players may ask of channels over their socket."""

    def __init__(self, channels: ChannelService) -> None:
        self._channels = channels

    async def join(self, call: Call, request: wire.ChannelJoin) -> tuple[str, wire.Channel]:
        """channel_join."""
        joined = await self._channels.join(
            call.connection,
            request.target,
            request.type,
            persistence=request.persistence is not False,
            hidden=request.hidden is True,
        )
        return "channel", wire.channel_reply(joined.channel, joined.own, joined.shown)

    async def leave(self, call: Call, request: wire.ChannelLeave) -> None:
        """channel_leave."""
        self._channels.leave(call.connection, request.channel_id)

    async def send(self, call: Call, request: wire.ChannelMessageSend) -> Ack:
        """channel_message_send."""
        return _ack(await self._channels.send(call.connection, request.channel_id, request.content))

    async def update(self, call: Call, request: wire.ChannelMessageUpdate) -> Ack:
        """channel_message_update."""
        channel_id, message_id = request.channel_id, request.message_id
        return _ack(await self._channels.update(call.connection, channel_id, message_id, request.content))

    async def remove(self, call: Call, request: wire.ChannelMessageRemove) -> Ack:
        """channel_message_remove."""
        return _ack(await self._channels.remove(call.connection, request.channel_id, request.message_id))


def _ack(message: contract.Message) -> Ack:
    return "channel_message_ack", wire.ack_of(message)
