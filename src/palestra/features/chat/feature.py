"""Table of contents of the chat feature."""

from __future__ import annotations

from palestra.core.events import EventBus
from palestra.features.chat import wire
from palestra.features.chat.announcing import Announcements
from palestra.features.chat.routes import ChatRoutes
from palestra.features.chat.store import SQL
from palestra.features.groups.contract import MemberChanged
from palestra.gateway.operation import Auth, Operation


def operations(routes: ChatRoutes) -> list[Operation]:
    """The HTTP operations on channels."""
    return [Operation("chat.list", "GET", "/v2/channel/{channel_id}", Auth.SESSION, routes.list, wire.ListRequest)]


def subscribe(events: EventBus, announcements: Announcements) -> None:
    """What other features do that channels are told of."""
    events.subscribe(MemberChanged, announcements.member_changed)


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"messages": SQL["export_messages"]}
