"""Table of contents of the groups feature."""

from __future__ import annotations

from palestra.features.groups import wire
from palestra.features.groups.routes import GroupRoutes
from palestra.features.groups.store import SQL
from palestra.gateway.operation import Auth, Operation


def operations(routes: GroupRoutes) -> list[Operation]:
    """The HTTP operations on groups."""
    auth, one, users, of_user = Auth.SESSION, wire.GroupRequest, wire.UsersRequest, wire.ListOfUserRequest
    return [
        Operation("groups.list", "GET", "/v2/group", auth, routes.list, wire.ListRequest),
        Operation("groups.create", "POST", "/v2/group", auth, routes.create, wire.CreateRequest, "*"),
        Operation("groups.update", "PUT", "/v2/group/{group_id}", auth, routes.update, wire.UpdateRequest, "*"),
        Operation("groups.delete", "DELETE", "/v2/group/{group_id}", auth, routes.delete, one),
        Operation("groups.join", "POST", "/v2/group/{group_id}/join", auth, routes.join, one),
        Operation("groups.leave", "POST", "/v2/group/{group_id}/leave", auth, routes.leave, one),
        Operation("groups.add_users", "POST", "/v2/group/{group_id}/add", auth, routes.add_users, users),
        Operation("groups.kick_users", "POST", "/v2/group/{group_id}/kick", auth, routes.kick_users, users),
        Operation("groups.ban_users", "POST", "/v2/group/{group_id}/ban", auth, routes.ban_users, users),
        Operation("groups.promote_users", "POST", "/v2/group/{group_id}/promote", auth, routes.promote_users, users),
        Operation("groups.demote_users", "POST", "/v2/group/{group_id}/demote", auth, routes.demote_users, users),
        Operation(
            "groups.list_users", "GET", "/v2/group/{group_id}/user", auth, routes.list_users, wire.ListUsersRequest
        ),
        Operation("groups.list_of_user", "GET", "/v2/user/{user_id}/group", auth, routes.list_of_user, of_user),
    ]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"groups": SQL["export_groups"]}
