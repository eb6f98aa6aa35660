"""Table of contents of the chat feature."""

from __future__ import annotations

from palestra.core.events import EventBus
from palestra.features.chat import wire
from palestra.features.chat.announcing import Announcements
from palestra.features.chat.channels import ChannelService
from palestra.features.chat.messages import ChatMessages
from palestra.features.chat.routes import ChatRoutes
from palestra.features.chat.store import SQL
from palestra.features.friends.contract import FriendBlocked
from palestra.features.groups.contract import GroupDeleted, MemberChanged
from palestra.gateway.operation import Auth, Message, Operation


def operations(routes: ChatRoutes) -> list[Operation]:
    """The HTTP operations on channels."""
    return [Operation("chat.list", "GET", "/v2/channel/{channel_id}", Auth.SESSION, routes.list, wire.ListRequest)]


def messages(on: ChatMessages) -> list[Message]:
    """The socket messages of channels."""
    return [
        Message("chat.join", "channel_join", wire.ChannelJoin, on.join),
        Message("chat.leave", "channel_leave", wire.ChannelLeave, on.leave),
        Message("chat.send", "channel_message_send", wire.ChannelMessageSend, on.send),
        Message("chat.update", "channel_message_update", wire.ChannelMessageUpdate, on.update),
        Message("chat.remove", "channel_message_remove", wire.ChannelMessageRemove, on.remove),
    ]


def subscribe(events: EventBus, channels: ChannelService, announcements: Announcements) -> None:
    """What other features do that concerns channels."""
    events.subscribe(MemberChanged, channels.member_changed)
    events.subscribe(GroupDeleted, channels.group_deleted)
    events.subscribe(FriendBlocked, channels.blocked)
    events.subscribe(MemberChanged, announcements.member_changed)


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"messages": SQL["export_messages"]}
