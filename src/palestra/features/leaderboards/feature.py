"""Table of contents of the leaderboards feature."""

from __future__ import annotations

from palestra.features.leaderboards import wire
from palestra.features.leaderboards.routes import LeaderboardRoutes
from palestra.gateway.operation import Auth, Operation

BOARD = "/v2/leaderboard/{leaderboard_id}"
AROUND = "/v2/leaderboard/{leaderboard_id}/owner/{owner_id}"
SESSION = Auth.SESSION


def operations(routes: LeaderboardRoutes) -> list[Operation]:
    """The HTTP operations on leaderboards."""
    r = routes
    return [
        Operation("leaderboards.list", "GET", BOARD, SESSION, r.list, wire.ListRequest),
        Operation("leaderboards.submit", "POST", BOARD, SESSION, r.submit, wire.SubmitRequest, "record"),
        Operation("leaderboards.delete_record", "DELETE", BOARD, SESSION, r.delete_record, wire.DeleteRequest),
        Operation("leaderboards.around", "GET", AROUND, SESSION, r.around, wire.AroundRequest),
    ]
