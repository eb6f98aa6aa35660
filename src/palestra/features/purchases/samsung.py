"""Samsung's Galaxy Store: a receipt by the id of a purchase."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from palestra.core.iap_settings import SamsungSettings
from palestra.features.purchases import rules
from palestra.features.purchases.answers import fine
from palestra.features.purchases.contract import (
    BadReceipt,
    EmptyReceipt,
    Environment,
    NotConfigured,
    Sale,
    Store,
)
from palestra.gateway.outgoing import Outgoing

NAME = "Samsung"
FINE = "success"
ENVIRONMENTS = {"TEST": Environment.SANDBOX, "REAL": Environment.PRODUCTION}


class Receipt(msgspec.Struct, rename="camel"):
    """What the store says of a purchase."""

    status: str
    order_id: str = ""
    item_id: str = ""
    package_name: str = ""
    purchase_date: str = ""
    mode: str = ""


class Samsung:
    """Implements `Seller`."""

    def __init__(self, settings: SamsungSettings, outgoing: Outgoing) -> None:
        self._settings = settings
        self._outgoing = outgoing

    async def sales(self, receipt: str, signature: str) -> list[Sale]:
        """See Seller.sales."""
        if not receipt:
            raise EmptyReceipt("Purchase ID")
        # Without a name to compare with, a purchase in any app of the store would do.
        if not self._settings.package_name:
            raise NotConfigured(NAME)
        query = {"purchaseID": rules.transaction_id(receipt)}
        body = fine(NAME, await self._outgoing.get(NAME, self._settings.receipt_url, query))
        found = rules.decoded(body, Receipt)
        if found.status != FINE:
            raise BadReceipt(f"Invalid Receipt. Status: {found.status[:16]}")
        if found.package_name != self._settings.package_name:
            raise BadReceipt("Invalid Receipt. It is for another app.")
        sale = Sale(
            store=Store.SAMSUNG,
            transaction_id=rules.transaction_id(found.order_id),
            product_id=rules.product_id(found.item_id),
            purchased_at=_moment(found.purchase_date),
            environment=ENVIRONMENTS.get(found.mode, Environment.UNKNOWN),
            response=rules.kept_response(body),
        )
        return [sale]


def _moment(text: str) -> datetime:
    """`2026-11-25 14:20:15`, in UTC."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise BadReceipt("Invalid Receipt. It has an impossible date.") from None
