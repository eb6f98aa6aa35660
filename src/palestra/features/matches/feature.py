"""Matches: table of contents."""

from __future__ import annotations

from palestra.features.matches import wire
from palestra.features.matches.messages import MatchesMessages
from palestra.features.matches.routes import MatchesRoutes
from palestra.gateway.operation import Auth, Message, Operation


def operations(routes: MatchesRoutes) -> list[Operation]:
    """HTTP."""
    return [Operation("matches.list", "GET", "/v2/match", Auth.SESSION, routes.list, wire.ListMatches)]


def messages(on: MatchesMessages) -> list[Message]:
    """Socket."""
    return [
        Message("matches.create", "match_create", wire.MatchCreate, on.create),
        Message("matches.join", "match_join", wire.MatchJoin, on.join),
        Message("matches.leave", "match_leave", wire.MatchLeave, on.leave),
        Message(
            "matches.send",
            "match_data_send",
            wire.MatchDataSend,
            on.send,
            replies=False,
            direct=on.send_plain,
            direct_binary=on.send_plain_binary,
        ),
    ]
