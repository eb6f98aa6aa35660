"""Table of contents of the limits feature."""

from __future__ import annotations

from palestra.features.limits import wire
from palestra.features.limits.routes import LimitRoutes
from palestra.features.limits.store import SQL
from palestra.gateway.operation import Auth, Operation


def operations(routes: LimitRoutes) -> list[Operation]:
    """The HTTP operations on the caller's limits; they are Palestra's own, not part of the protocol."""
    path, auth = "/v2/palestra/limits", Auth.SESSION
    return [
        Operation("limits.get", "GET", path, auth, routes.get),
        Operation("limits.set", "PUT", path, auth, routes.set, wire.SetRequest, "*"),
        Operation("limits.lock", "POST", "/v2/palestra/limits/lock", auth, routes.lock, wire.LockRequest, "*"),
    ]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"limit_changes": SQL["export_limit_changes"]}
