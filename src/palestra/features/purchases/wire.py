"""The JSON shapes of purchases and subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from palestra.core.clock import timestamp
from palestra.features.purchases import contract
from palestra.features.purchases.contract import Store
from palestra.gateway.fields import Int32

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""How "not refunded" looks where the field is always there."""
NAMELESS_UNLESS_KEPT = (Store.HUAWEI, Store.SAMSUNG)
"""Stores whose purchases name nobody when they are only looked at."""


class AppleReceipt(msgspec.Struct):
    """Signed data of the App Store, or a receipt."""

    receipt: str = ""
    persist: bool | None = None


class GooglePurchase(msgspec.Struct):
    """What Google's client library gave the player, as JSON text."""

    purchase: str = ""
    persist: bool | None = None


class GoogleReceipt(msgspec.Struct):
    """The same for a subscription."""

    receipt: str = ""
    persist: bool | None = None


class HuaweiPurchase(msgspec.Struct):
    """The purchase data as JSON text, and its signature in base64."""

    purchase: str = ""
    signature: str = ""
    persist: bool | None = None


class InstantPurchase(msgspec.Struct):
    """The signed request of an instant game."""

    signed_request: str = ""
    persist: bool | None = None


class SamsungPurchase(msgspec.Struct):
    """The id of a purchase."""

    purchase_id: str = ""
    persist: bool | None = None


class SubscriptionsRequest(msgspec.Struct):
    """Which of the caller's subscriptions; `limit` left out is 100."""

    limit: Int32 | None = None
    cursor: str = ""


class SubscriptionRequest(msgspec.Struct):
    """Which product."""

    product_id: str = ""


class AppleNotification(msgspec.Struct):
    """What the App Store's servers send: signed data, under Apple's own name for it."""

    signed_payload: str = ""


class PushMessage(msgspec.Struct):
    """A message of Pub/Sub; `data` is base64."""

    data: str = ""


class GoogleNotification(msgspec.Struct):
    """What Pub/Sub pushes."""

    message: PushMessage = msgspec.field(default_factory=PushMessage)


class ValidatedPurchase(msgspec.Struct, omit_defaults=True):
    """A purchase; all times but the second and third in whole seconds."""

    user_id: str = ""
    product_id: str = ""
    transaction_id: str = ""
    store: int = 0
    purchase_time: datetime | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None
    refund_time: datetime | None = None
    provider_response: str = ""
    environment: int = 0
    seen_before: bool = False


class ValidatedPurchases(msgspec.Struct, omit_defaults=True):
    """What a receipt held."""

    validated_purchases: list[ValidatedPurchase] = []


class ValidatedSubscription(msgspec.Struct, omit_defaults=True):
    """A subscription; all times but the second and third in whole seconds."""

    user_id: str = ""
    product_id: str = ""
    original_transaction_id: str = ""
    store: int = 0
    purchase_time: datetime | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None
    environment: int = 0
    expiry_time: datetime | None = None
    refund_time: datetime | None = None
    provider_response: str = ""
    provider_notification: str = ""
    active: bool = False


class SubscriptionAnswer(msgspec.Struct, omit_defaults=True):
    """What a receipt held."""

    validated_subscription: ValidatedSubscription


class SubscriptionList(msgspec.Struct, omit_defaults=True):
    """A page of subscriptions."""

    validated_subscriptions: list[ValidatedSubscription] = []
    cursor: str = ""
    prev_cursor: str = ""


def purchase_of(purchase: contract.Purchase, caller: str, *, always_refund_time: bool = False) -> ValidatedPurchase:
    """The wire form of a purchase that `caller` brought; it names them, whoever came first."""
    sale = purchase.sale
    kept = purchase.created_at is not None
    refunded = _whole(sale.refunded_at) or (NEVER if always_refund_time else None)
    return ValidatedPurchase(
        caller if kept or sale.store not in NAMELESS_UNLESS_KEPT else "",
        sale.product_id,
        sale.transaction_id,
        int(sale.store),
        _whole(sale.purchased_at),
        purchase.created_at,
        purchase.updated_at,
        refunded,
        sale.response,
        int(sale.environment),
        purchase.seen_before,
    )


def subscription_of(one: contract.Subscription, caller: str, refund_time: datetime | None) -> ValidatedSubscription:
    """The wire form of a subscription of the caller's."""
    term = one.term
    return ValidatedSubscription(
        caller,
        term.product_id,
        term.original_id,
        int(term.store),
        _whole(term.purchased_at),
        one.created_at,
        one.updated_at,
        int(term.environment),
        _whole(term.expires_at),
        refund_time,
        term.response,
        one.notification,
        one.active,
    )


def refund_time_of(one: contract.Subscription) -> datetime | None:
    """When a subscription was refunded, None if it was not."""
    return _whole(one.term.refunded_at)


def _whole(when: datetime | None) -> datetime | None:
    return None if when is None else timestamp(when)
