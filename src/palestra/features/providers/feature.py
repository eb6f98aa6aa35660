"""Third-party games: table of contents."""

from __future__ import annotations

from palestra.features.providers import wire
from palestra.features.providers.openapi import document
from palestra.features.providers.routes import ProviderRoutes
from palestra.gateway.operation import Auth, Operation


def operations(routes: ProviderRoutes) -> list[Operation]:
    """HTTP operations of this feature. They belong to other servers, so game code does not hook into them."""
    signed = [
        Operation(
            "providers.authenticate",
            "POST",
            "/v2/palestra/provider/authenticate",
            Auth.SIGNATURE,
            routes.authenticate,
            wire.Authenticate,
            "*",
            hookable=False,
        ),
        Operation(
            "providers.balance",
            "POST",
            "/v2/palestra/provider/balance",
            Auth.SIGNATURE,
            routes.balance,
            wire.BalanceOf,
            "*",
            hookable=False,
        ),
        Operation(
            "providers.debit",
            "POST",
            "/v2/palestra/provider/debit",
            Auth.SIGNATURE,
            routes.debit,
            wire.Debit,
            "*",
            hookable=False,
        ),
        Operation(
            "providers.credit",
            "POST",
            "/v2/palestra/provider/credit",
            Auth.SIGNATURE,
            routes.credit,
            wire.Credit,
            "*",
            hookable=False,
        ),
        Operation(
            "providers.rollback",
            "POST",
            "/v2/palestra/provider/rollback",
            Auth.SIGNATURE,
            routes.rollback,
            wire.Rollback,
            "*",
            hookable=False,
        ),
        Operation(
            "providers.list",
            "POST",
            "/v2/palestra/provider/list",
            Auth.SIGNATURE,
            routes.list,
            wire.List,
            "*",
            hookable=False,
        ),
    ]
    routes.document = document(signed)
    return [
        *signed,
        Operation(
            "providers.openapi", "GET", "/v2/palestra/provider/openapi.json", Auth.NONE, routes.openapi, hookable=False
        ),
    ]
