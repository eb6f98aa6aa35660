"""Sessions: table of contents."""

from __future__ import annotations

from palestra.features.sessions import wire
from palestra.features.sessions.routes import SessionRoutes
from palestra.features.sessions.store import SQL
from palestra.gateway.operation import Auth, Operation

REFRESH = "/v2/account/session/refresh"
LOGOUT = "/v2/session/logout"


def operations(routes: SessionRoutes) -> list[Operation]:
    """HTTP operations of this feature."""
    return [
        Operation("sessions.refresh", "POST", REFRESH, Auth.SERVER_KEY, routes.refresh, wire.RefreshRequest, "*"),
        Operation("sessions.logout", "POST", LOGOUT, Auth.SESSION, routes.logout, wire.LogoutRequest, "*"),
    ]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"revocations": SQL["export_revocations"]}
