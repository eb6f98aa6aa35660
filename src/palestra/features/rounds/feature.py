"""Table of contents of the rounds feature."""

from __future__ import annotations

from palestra.features.rounds import wire
from palestra.features.rounds.routes import RoundRoutes
from palestra.gateway.operation import Auth, Operation


def operations(routes: RoundRoutes) -> list[Operation]:
    """The HTTP operations on rounds."""
    return [
        Operation("rounds.list", "GET", "/v2/palestra/rounds", Auth.SESSION, routes.list, wire.ListRequest),
        Operation("rounds.get", "GET", "/v2/palestra/rounds/{id}", Auth.SESSION, routes.get, wire.GetRequest),
    ]
