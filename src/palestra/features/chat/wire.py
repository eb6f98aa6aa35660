"""The JSON shapes of channel history."""

from __future__ import annotations

from datetime import datetime

import msgspec

from palestra.core.clock import timestamp
from palestra.features.chat import contract
from palestra.features.chat.rules import channel_of
from palestra.features.streams.contract import DIRECT, GROUP, ROOM
from palestra.gateway.fields import Int32, JsonText


class ListRequest(msgspec.Struct):
    """Which messages of a channel; `limit` left out is 1, `forward` left out is oldest first."""

    channel_id: str = ""
    limit: Int32 | None = None
    forward: bool | None = None
    cursor: str = ""


class ChannelMessage(msgspec.Struct, omit_defaults=True):
    """A message; code 0 is written. Which of the last four are filled depends on the kind of channel."""

    channel_id: str = ""
    message_id: str = ""
    code: int | None = None
    sender_id: str = ""
    username: str = ""
    content: JsonText = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    persistent: bool | None = None
    room_name: str = ""
    group_id: str = ""
    user_id_one: str = ""
    user_id_two: str = ""


class ChannelMessageList(msgspec.Struct, omit_defaults=True):
    """One page of history."""

    messages: list[ChannelMessage] = []
    next_cursor: str = ""
    prev_cursor: str = ""
    cacheable_cursor: str = ""


def message_of(message: contract.Message) -> ChannelMessage:
    """A stored message in its wire form. What was said has times in microseconds, what happened in whole seconds."""
    channel = channel_of(message.channel_id)
    fraction = message.code == contract.SAID
    return ChannelMessage(
        channel_id=message.channel_id,
        message_id=message.id,
        code=message.code,
        sender_id=message.sender_id,
        username=message.username,
        content=message.content,
        create_time=timestamp(message.created_at, fraction=fraction),
        update_time=timestamp(message.updated_at, fraction=fraction),
        persistent=True,
        room_name=channel.label if channel.mode == ROOM else "",
        group_id=channel.subject if channel.mode == GROUP else "",
        user_id_one=channel.subject if channel.mode == DIRECT else "",
        user_id_two=channel.subcontext if channel.mode == DIRECT else "",
    )


def history_of(page: contract.HistoryPage) -> ChannelMessageList:
    """A page of history in its wire form."""
    messages = [message_of(message) for message in page.messages]
    return ChannelMessageList(messages, page.next_cursor, page.prev_cursor, page.cacheable_cursor)
