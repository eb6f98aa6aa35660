"""Table of contents of the purchases feature."""

from __future__ import annotations

import msgspec

from palestra.features.purchases import wire
from palestra.features.purchases.contract import Refund
from palestra.features.purchases.routes import PurchaseRoutes
from palestra.features.purchases.service import REFUND_JOB, PurchaseService
from palestra.features.purchases.store import SQL
from palestra.gateway.operation import Auth, Handler, Operation
from palestra.jobs.contract import Job

REFUND_ATTEMPTS_MAX = 60
"""With waits of up to an hour: more than a day for a game to be mended in."""


def operations(routes: PurchaseRoutes) -> list[Operation]:
    """The operations under /v2/iap. Notifications need no session: they are believed by their signatures."""
    r = routes
    return [
        _by_player("validate_apple", "/v2/iap/purchase/apple", r.validate_apple, wire.AppleReceipt),
        _by_player(
            "validate_facebook_instant",
            "/v2/iap/purchase/facebookinstant",
            r.validate_facebook_instant,
            wire.InstantPurchase,
        ),
        _by_player("validate_google", "/v2/iap/purchase/google", r.validate_google, wire.GooglePurchase),
        _by_player("validate_huawei", "/v2/iap/purchase/huawei", r.validate_huawei, wire.HuaweiPurchase),
        _by_player("validate_samsung", "/v2/iap/purchase/samsung", r.validate_samsung, wire.SamsungPurchase),
        _by_player(
            "validate_subscription_apple",
            "/v2/iap/subscription/apple",
            r.validate_subscription_apple,
            wire.AppleReceipt,
        ),
        _by_player(
            "validate_subscription_google",
            "/v2/iap/subscription/google",
            r.validate_subscription_google,
            wire.GoogleReceipt,
        ),
        _by_player("list_subscriptions", "/v2/iap/subscription", r.list_subscriptions, wire.SubscriptionsRequest),
        Operation(
            "purchases.get_subscription",
            "GET",
            "/v2/iap/subscription/{product_id}",
            Auth.SESSION,
            r.get_subscription,
            wire.SubscriptionRequest,
        ),
        _by_store("notify_apple", "/v2/iap/notification/apple", r.notify_apple, wire.AppleNotification),
        _by_store("notify_google", "/v2/iap/notification/google", r.notify_google, wire.GoogleNotification),
    ]


def _by_player(action: str, path: str, handler: Handler, request: type[msgspec.Struct]) -> Operation:
    return Operation(f"purchases.{action}", "POST", path, Auth.SESSION, handler, request, "*")


def _by_store(action: str, path: str, handler: Handler, request: type[msgspec.Struct]) -> Operation:
    return Operation(f"purchases.{action}", "POST", path, Auth.NONE, handler, request, "*", hookable=False)


def jobs(purchases: PurchaseService) -> list[Job]:
    """What is done in the background."""
    return [Job(REFUND_JOB, purchases.tell_refund, Refund, attempts_max=REFUND_ATTEMPTS_MAX)]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {"purchases": SQL["export_purchases"], "subscriptions": SQL["export_subscriptions"]}
