"""Table of contents of the fair feature."""

from __future__ import annotations

from palestra.features.fair import wire
from palestra.features.fair.routes import FairRoutes
from palestra.features.fair.store import SQL
from palestra.gateway.operation import Auth, Operation


def operations(routes: FairRoutes) -> list[Operation]:
    """The HTTP operations of fair draws."""
    r = routes
    return [
        Operation("fair.seeds", "GET", "/v2/palestra/fair", Auth.SESSION, r.seeds),
        Operation("fair.rotate", "POST", "/v2/palestra/fair/rotate", Auth.SESSION, r.rotate, wire.RotateRequest, "*"),
        Operation("fair.history", "GET", "/v2/palestra/fair/history", Auth.SESSION, r.history, wire.HistoryRequest),
        Operation("fair.verify", "POST", "/v2/palestra/fair/verify", Auth.NONE, r.verify, wire.VerifyRequest, "*"),
    ]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {
        "fair_seeds": SQL["export_fair_seeds"],
        "fair_keyed_draws": SQL["export_fair_keyed_draws"],
        "fair_past_seeds": SQL["export_fair_past_seeds"],
    }
