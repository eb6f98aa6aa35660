"""Functions: table of contents."""

from __future__ import annotations

from palestra.features.rpc.routes import RpcRoutes
from palestra.features.rpc.wire import RpcRequest
from palestra.gateway.operation import Auth, Message, Operation

PATH = "/v2/rpc/{id}"


def operations(routes: RpcRoutes) -> list[Operation]:
    """HTTP operations of this feature. Functions have no hooks: they are the game's own code already."""
    return [
        Operation("rpc.call", "POST", PATH, Auth.SESSION_OR_HTTP_KEY, routes.call, raw=True, hookable=False),
        Operation("rpc.call", "GET", PATH, Auth.SESSION_OR_HTTP_KEY, routes.call, raw=True, hookable=False),
    ]


def messages(routes: RpcRoutes) -> list[Message]:
    """Socket messages of this feature."""
    return [Message("rpc.call", "rpc", RpcRequest, routes.message, hookable=False)]
