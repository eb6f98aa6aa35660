"""Matchmaker: table of contents."""

from __future__ import annotations

from palestra.features.matchmaker import wire
from palestra.features.matchmaker.messages import MatchmakerMessages
from palestra.features.matchmaker.routes import MatchmakerRoutes
from palestra.gateway.operation import Auth, Message, Operation


def operations(routes: MatchmakerRoutes) -> list[Operation]:
    """HTTP; the second is Palestra's own, not part of the protocol."""
    why = "/v2/palestra/matchmaker/{ticket}"
    return [
        Operation("matchmaker.stats", "GET", "/v2/matchmaker/stats", Auth.SESSION, routes.stats),
        Operation("matchmaker.explain", "GET", why, Auth.SESSION, routes.explain, wire.TicketRequest),
    ]


def messages(on: MatchmakerMessages) -> list[Message]:
    """Socket."""
    return [
        Message("matchmaker.add", "matchmaker_add", wire.MatchmakerAdd, on.add),
        Message("matchmaker.remove", "matchmaker_remove", wire.MatchmakerRemove, on.remove),
    ]
