"""Table of contents of the notifications feature."""

from __future__ import annotations

from palestra.core.events import EventBus
from palestra.features.chat.contract import ConversationOpened
from palestra.features.friends.contract import FriendAccepted, FriendInvited, FriendJoined, FriendRemoved
from palestra.features.groups.contract import JoinRequested, MemberChanged
from palestra.features.notifications import wire
from palestra.features.notifications.occasions import Occasions
from palestra.features.notifications.routes import NotificationRoutes
from palestra.features.notifications.store import SQL
from palestra.gateway.operation import Auth, Operation


def operations(routes: NotificationRoutes) -> list[Operation]:
    """The HTTP operations on notifications."""
    auth, delete = Auth.SESSION, wire.DeleteRequest
    return [
        Operation("notifications.list", "GET", "/v2/notification", auth, routes.list, wire.ListRequest),
        Operation("notifications.delete", "DELETE", "/v2/notification", auth, routes.delete, delete),
    ]


def subscribe(events: EventBus, occasions: Occasions) -> None:
    """What other features do that players are told of."""
    events.subscribe(FriendInvited, occasions.friend_invited)
    events.subscribe(FriendAccepted, occasions.friend_accepted)
    events.subscribe(FriendJoined, occasions.friend_joined)
    events.subscribe(FriendRemoved, occasions.friend_removed)
    events.subscribe(ConversationOpened, occasions.conversation_opened)
    events.subscribe(JoinRequested, occasions.join_requested)
    events.subscribe(MemberChanged, occasions.member_changed)


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"notifications": SQL["export_notifications"]}
