"""Table of contents of the friends feature."""

from __future__ import annotations

from palestra.features.friends import wire
from palestra.features.friends.routes import FriendRoutes
from palestra.features.friends.store import SQL
from palestra.gateway.operation import Auth, Operation


def operations(routes: FriendRoutes) -> list[Operation]:
    """The HTTP operations on friendships."""
    session = Auth.SESSION
    imported = wire.ImportRequest
    of_friends = wire.FriendsOfFriendsRequest
    return [
        Operation("friends.list", "GET", "/v2/friend", session, routes.list, wire.ListRequest),
        Operation("friends.add", "POST", "/v2/friend", session, routes.add, wire.AddRequest),
        Operation("friends.delete", "DELETE", "/v2/friend", session, routes.delete, wire.NamedRequest),
        Operation("friends.block", "POST", "/v2/friend/block", session, routes.block, wire.NamedRequest),
        Operation("friends.list_of_friends", "GET", "/v2/friend/friends", session, routes.list_of_friends, of_friends),
        Operation("friends.import_facebook", "POST", "/v2/friend/facebook", session, routes.import_facebook, imported, "account"),
        Operation("friends.import_steam", "POST", "/v2/friend/steam", session, routes.import_steam, imported, "account"),
    ]  # fmt: skip


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"friends": SQL["export_friends"]}
