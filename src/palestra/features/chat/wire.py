"""The JSON shapes of channels, over HTTP and in envelopes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from palestra.core.clock import timestamp
from palestra.core.encoded import encoded
from palestra.features.chat import contract
from palestra.features.chat.rules import channel_id, channel_of
from palestra.features.streams.contract import GROUP, ROOM, Member, Presence, Stream
from palestra.gateway.fields import Int32, JsonText
from palestra.gateway.presence import UserPresence
from palestra.gateway.push import Push

_encode = msgspec.json.Encoder().encode


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


class ChannelJoin(msgspec.Struct):
    """Request of channel_join. `type` 0 or 1 is a room, 2 direct, 3 a group; left out, it is seen and persistent."""

    target: str = ""
    type: Int32 = 0
    persistence: bool | None = None
    hidden: bool | None = None


class ChannelLeave(msgspec.Struct):
    """Request of channel_leave."""

    channel_id: str = ""


class ChannelMessageSend(msgspec.Struct):
    """Request of channel_message_send; `content` is the text of a JSON object."""

    channel_id: str = ""
    content: str = ""


class ChannelMessageUpdate(msgspec.Struct):
    """Request of channel_message_update."""

    channel_id: str = ""
    message_id: str = ""
    content: str = ""


class ChannelMessageRemove(msgspec.Struct):
    """Request of channel_message_remove."""

    channel_id: str = ""
    message_id: str = ""


_NOBODY = msgspec.Raw(b"[]")


class Channel(msgspec.Struct, omit_defaults=True):
    """The `channel` reply to a join. `presences` is JSON already: rooms are full of people, who may come at once."""

    id: str
    presences: msgspec.Raw = _NOBODY
    own: UserPresence | None = msgspec.field(name="self", default=None)
    room_name: str = ""
    group_id: str = ""
    user_id_one: str = ""
    user_id_two: str = ""


class ChannelMessageAck(msgspec.Struct, omit_defaults=True):
    """The reply to sending, changing and removing; code 0 and what is not persistent are written."""

    channel_id: str = ""
    message_id: str = ""
    code: int | None = None
    username: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    persistent: bool | None = None
    room_name: str = ""
    group_id: str = ""
    user_id_one: str = ""
    user_id_two: str = ""


class ChannelPresenceEvent(msgspec.Struct, omit_defaults=True):
    """Who came to a channel and who went."""

    channel_id: str
    joins: list[UserPresence] = []
    leaves: list[UserPresence] = []
    room_name: str = ""
    group_id: str = ""
    user_id_one: str = ""
    user_id_two: str = ""


def _names_of(channel: Stream) -> dict[str, Any]:
    """The fields that say what a channel is."""
    if channel.mode == ROOM:
        return {"room_name": channel.label}
    if channel.mode == GROUP:
        return {"group_id": channel.subject}
    return {"user_id_one": channel.subject, "user_id_two": channel.subcontext}


def _times_of(message: contract.Message) -> dict[str, Any]:
    """What was written has times in microseconds, what happened to members in whole seconds."""
    fraction = message.code in (contract.SAID, contract.EDITED, contract.REMOVED)
    return {
        "create_time": timestamp(message.created_at, fraction=fraction),
        "update_time": timestamp(message.updated_at, fraction=fraction),
    }


def message_of(message: contract.Message) -> ChannelMessage:
    """A message in its wire form."""
    return ChannelMessage(
        channel_id=message.channel_id,
        message_id=message.id,
        code=message.code,
        sender_id=message.sender_id,
        username=message.username,
        content=message.content,
        persistent=message.persistent,
        **_times_of(message),
        **_names_of(channel_of(message.channel_id)),
    )


def push_of(message: contract.Message) -> Push:
    """The envelope that tells a message."""
    return Push("channel_message", message_of(message))


def ack_of(message: contract.Message) -> ChannelMessageAck:
    """What the sender of a message is told of it."""
    return ChannelMessageAck(
        channel_id=message.channel_id,
        message_id=message.id,
        code=message.code,
        username=message.username,
        persistent=message.persistent,
        **_times_of(message),
        **_names_of(channel_of(message.channel_id)),
    )


def _user_presence(presence: Presence) -> UserPresence:
    return UserPresence(presence.user_id, presence.session_id, presence.username, presence.persistence)


def channel_reply(channel: Stream, own: Presence, shown: Iterable[Member]) -> Channel:
    """The answer to a join. What a member looks like is encoded once for all who come later."""
    texts: list[bytes] = []
    for member in shown:
        if not member.encoded:
            member.encoded = _encode(_user_presence(member.presence))
        texts.append(member.encoded)
    presences = msgspec.Raw(b"[%b]" % b",".join(texts)) if texts else _NOBODY
    return Channel(channel_id(channel), presences, _user_presence(own), **_names_of(channel))


def channel_presence_event(channel: Stream, joins: Sequence[Presence], leaves: Sequence[Presence]) -> Push:
    """The presence event of a channel."""
    event = ChannelPresenceEvent(
        channel_id(channel),
        [_user_presence(one) for one in joins],
        [_user_presence(one) for one in leaves],
        **_names_of(channel),
    )
    return Push("channel_presence_event", event)


def history_json(page: contract.HistoryPage) -> ChannelMessageList:
    """As `history_of`, already encoded: for answers that nobody looks at. Kept with the page."""
    return encoded(page, lambda: history_of(page))


def history_of(page: contract.HistoryPage) -> ChannelMessageList:
    """A page of history in its wire form."""
    messages = [message_of(message) for message in page.messages]
    return ChannelMessageList(messages, page.next_cursor, page.prev_cursor, page.cacheable_cursor)
