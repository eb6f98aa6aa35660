"""Table of contents of the rounds feature."""

from __future__ import annotations

from palestra.features.rounds import wire
from palestra.features.rounds.routes import RoundRoutes
from palestra.features.rounds.service import RoundService
from palestra.features.rounds.store import SQL
from palestra.gateway.operation import Auth, Operation
from palestra.jobs.contract import Job


def operations(routes: RoundRoutes) -> list[Operation]:
    """The HTTP operations on rounds."""
    return [
        Operation("rounds.list", "GET", "/v2/palestra/rounds", Auth.SESSION, routes.list, wire.ListRequest),
        Operation("rounds.get", "GET", "/v2/palestra/rounds/{id}", Auth.SESSION, routes.get, wire.GetRequest),
    ]


def jobs(rounds: RoundService) -> list[Job]:
    """What happens by the clock."""
    return [Job("rounds.resolve_overdue", rounds.resolve_overdue, cron="*/10 * * * * * *")]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"rounds": SQL["export_rounds"]}
