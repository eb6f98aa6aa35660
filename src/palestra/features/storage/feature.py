"""Table of contents of the storage feature."""

from __future__ import annotations

from palestra.features.storage import wire
from palestra.features.storage.routes import StorageRoutes
from palestra.features.storage.store import SQL
from palestra.gateway.operation import Auth, Operation


def operations(routes: StorageRoutes) -> list[Operation]:
    """The HTTP operations on stored objects."""
    session = Auth.SESSION
    return [
        Operation("storage.list", "GET", "/v2/storage/{collection}", session, routes.list, wire.ListRequest),
        Operation("storage.list", "GET", "/v2/storage/{collection}/{user_id}", session, routes.list, wire.ListRequest),
        Operation("storage.read", "POST", "/v2/storage", session, routes.read, wire.ReadRequest, "*"),
        Operation("storage.write", "PUT", "/v2/storage", session, routes.write, wire.WriteRequest, "*"),
        Operation("storage.delete", "PUT", "/v2/storage/delete", session, routes.delete, wire.DeleteRequest, "*"),
    ]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"objects": SQL["export_objects"]}
