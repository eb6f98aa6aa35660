"""Table of contents of the leaderboards feature: leaderboards, and the tournaments that are played on them."""

from __future__ import annotations

from palestra.features.leaderboards import tournament_wire, wire
from palestra.features.leaderboards.routes import LeaderboardRoutes
from palestra.features.leaderboards.store import SQL
from palestra.features.leaderboards.tournament_routes import TournamentRoutes
from palestra.gateway.operation import Auth, Operation

BOARD = "/v2/leaderboard/{leaderboard_id}"
AROUND = "/v2/leaderboard/{leaderboard_id}/owner/{owner_id}"
TOURNAMENTS = "/v2/tournament"
TOURNAMENT = "/v2/tournament/{tournament_id}"
JOIN = "/v2/tournament/{tournament_id}/join"
AROUND_IN_TOURNAMENT = "/v2/tournament/{tournament_id}/owner/{owner_id}"
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


def tournament_operations(routes: TournamentRoutes) -> list[Operation]:
    """The HTTP operations on tournaments."""
    r, wire = routes, tournament_wire
    return [
        Operation("tournaments.list", "GET", TOURNAMENTS, SESSION, r.list, wire.ListRequest),
        Operation("tournaments.records", "GET", TOURNAMENT, SESSION, r.records, wire.RecordsRequest),
        Operation("tournaments.submit", "POST", TOURNAMENT, SESSION, r.submit, wire.SubmitRequest, "record"),
        Operation("tournaments.submit", "PUT", TOURNAMENT, SESSION, r.submit, wire.SubmitRequest, "record"),
        Operation("tournaments.delete_record", "DELETE", TOURNAMENT, SESSION, r.delete_record, wire.TournamentRequest),
        Operation("tournaments.join", "POST", JOIN, SESSION, r.join, wire.TournamentRequest),
        Operation("tournaments.around", "GET", AROUND_IN_TOURNAMENT, SESSION, r.around, wire.AroundRequest),
    ]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"scores": SQL["export_scores"]}
