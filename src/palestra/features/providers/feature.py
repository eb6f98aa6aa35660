"""Third-party games: table of contents."""

from __future__ import annotations

import msgspec

from palestra.features.providers import wire
from palestra.features.providers.openapi import document
from palestra.features.providers.routes import ProviderRoutes
from palestra.gateway.operation import Auth, Handler, Operation

OPENAPI = "/v2/palestra/provider/openapi.json"


def operations(routes: ProviderRoutes) -> list[Operation]:
    """HTTP operations of this feature."""
    signed = [
        _signed("providers.authenticate", "/v2/palestra/provider/authenticate", routes.authenticate, wire.Authenticate),
        _signed("providers.balance", "/v2/palestra/provider/balance", routes.balance, wire.BalanceOf),
        _signed("providers.debit", "/v2/palestra/provider/debit", routes.debit, wire.Debit),
        _signed("providers.credit", "/v2/palestra/provider/credit", routes.credit, wire.Credit),
        _signed("providers.rollback", "/v2/palestra/provider/rollback", routes.rollback, wire.Rollback),
        _signed("providers.list", "/v2/palestra/provider/list", routes.list, wire.List),
    ]
    routes.document = document(signed)
    return [*signed, Operation("providers.openapi", "GET", OPENAPI, Auth.NONE, routes.openapi, hookable=False)]


def _signed(name: str, path: str, handler: Handler, request: type[msgspec.Struct]) -> Operation:
    """They belong to other servers, so game code does not hook into them."""
    return Operation(name, "POST", path, Auth.SIGNATURE, handler, request, "*", hookable=False)
