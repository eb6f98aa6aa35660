"""Table of contents of the chat feature."""

from __future__ import annotations

from palestra.features.chat import wire
from palestra.features.chat.routes import ChatRoutes
from palestra.features.chat.store import SQL
from palestra.gateway.operation import Auth, Operation


def operations(routes: ChatRoutes) -> list[Operation]:
    """The HTTP operations on channels."""
    return [Operation("chat.list", "GET", "/v2/channel/{channel_id}", Auth.SESSION, routes.list, wire.ListRequest)]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"messages": SQL["export_messages"]}
