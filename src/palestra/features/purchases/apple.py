"""The App Store: data that it signed, receipts of before StoreKit 2, and what its notifications hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from palestra.core.clock import Clock
from palestra.core.iap_settings import AppleStoreSettings
from palestra.core.log import get_logger
from palestra.features.purchases import rules
from palestra.features.purchases.answers import fine
from palestra.features.purchases.apple_signature import AppleSignature
from palestra.features.purchases.contract import (
    SALES_PER_RECEIPT_MAX,
    AppleAway,
    BadNotification,
    BadReceipt,
    EmptyReceipt,
    Environment,
    NotConfigured,
    Sale,
    Store,
    Term,
    WrongKind,
)
from palestra.features.purchases.rules import Untrue
from palestra.gateway.outgoing import Outgoing, ProviderAway

NAME = "Apple"
FOR_SANDBOX = 21007
"""The status of a receipt that the other place knows."""
ENVIRONMENTS = {"Sandbox": Environment.SANDBOX, "Production": Environment.PRODUCTION}
log = get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Transaction(msgspec.Struct, rename="camel", kw_only=True):
    """A signed transaction; times in milliseconds."""

    transaction_id: str
    original_transaction_id: str = ""
    bundle_id: str
    product_id: str
    purchase_date: float
    original_purchase_date: float = 0
    expires_date: float | None = None
    quantity: int = 1
    revocation_date: float | None = None
    environment: str = ""
    signed_date: float


class Item(msgspec.Struct, kw_only=True):
    """A transaction in a receipt of before StoreKit 2; times in milliseconds."""

    transaction_id: str
    original_transaction_id: str = ""
    product_id: str
    quantity: int = 1
    purchase_date_ms: float
    original_purchase_date_ms: float = 0
    expires_date_ms: float | None = None
    cancellation_date_ms: float | None = None


class Receipt(msgspec.Struct):
    """What such a receipt holds."""

    bundle_id: str = ""
    in_app: list[Item] = []


class Verdict(msgspec.Struct):
    """What the App Store says of such a receipt."""

    status: int
    environment: str = ""
    receipt: Receipt = msgspec.field(default_factory=Receipt)
    latest_receipt_info: list[Item] = []
    retryable: bool = msgspec.field(name="is-retryable", default=False)


class NoticeData(msgspec.Struct, rename="camel"):
    """What a notification is about."""

    bundle_id: str = ""
    signed_transaction_info: str = ""


class Notice(msgspec.Struct, rename="camel"):
    """A notification, version 2."""

    notification_type: str
    data: NoticeData = msgspec.field(default_factory=NoticeData)


class AppleStore:
    """Implements `Seller` and `TermSeller`."""

    def __init__(
        self, settings: AppleStoreSettings, signature: AppleSignature, outgoing: Outgoing, clock: Clock
    ) -> None:
        self._settings = settings
        self._signature = signature
        self._outgoing = outgoing
        self._clock = clock

    async def sales(self, receipt: str, signature: str) -> list[Sale]:
        """See Seller.sales."""
        if not receipt:
            raise EmptyReceipt("Receipt")
        self._check_configured()
        if rules.is_signed(receipt):
            transaction, body = self._transaction(receipt)
            if transaction.expires_date is not None:
                raise WrongKind("Subscription")
            return [sale_of(transaction, body)]
        verdict = await self._verdict(receipt)
        items = [item for item in verdict.receipt.in_app if item.expires_date_ms is None]
        if verdict.receipt.in_app and not items:
            raise WrongKind("Subscription")
        if len(items) > SALES_PER_RECEIPT_MAX:
            raise BadReceipt(f"Invalid Receipt. It holds more than {SALES_PER_RECEIPT_MAX} purchases.")
        return [sale_of(*one) for one in _transactions(items, verdict, self._clock.now())]

    async def term(self, receipt: str) -> Term:
        """See TermSeller.term."""
        self._check_configured()
        if not receipt:
            raise EmptyReceipt("Receipt")
        if rules.is_signed(receipt):
            transaction, body = self._transaction(receipt)
            if transaction.expires_date is None:
                raise WrongKind("Purchase")
            return term_of(transaction, body)
        verdict = await self._verdict(receipt)
        items = [item for item in (*verdict.latest_receipt_info, *verdict.receipt.in_app) if item.expires_date_ms]
        if not items:
            raise WrongKind("Purchase")
        latest = max(items, key=lambda item: item.expires_date_ms or 0)
        return term_of(*next(_transactions([latest], verdict, self._clock.now())))

    def notice(self, signed: str) -> tuple[str, Sale | Term | None, str]:
        """The type of a notification, the transaction it is about if any, and its payload. Raises BadNotification."""
        self._check_configured()
        try:
            body = self._signature.payload(signed)
            notice = rules.decoded(body, Notice)
            text = rules.kept_response(body)
            if not notice.data.signed_transaction_info:
                return notice.notification_type, None, text
            transaction, inner = self._transaction(notice.data.signed_transaction_info)
            if transaction.expires_date is None:
                return notice.notification_type, sale_of(transaction, inner), text
            return notice.notification_type, term_of(transaction, inner), text
        except (Untrue, BadReceipt) as error:
            log.warning("a notification of Apple was refused", reason=str(error))
            raise BadNotification("This is no notification of Apple's for this game.") from None

    def _check_configured(self) -> None:
        if not self._settings.bundle_ids:
            raise NotConfigured(NAME)

    def _transaction(self, signed: str) -> tuple[Transaction, bytes]:
        """A signed transaction of this game, and its payload. Raises BadReceipt."""
        try:
            body = self._signature.payload(signed)
        except Untrue as error:
            log.debug("signed data was refused", store=NAME, reason=str(error))
            raise BadReceipt("Invalid Receipt. Apple did not sign it.") from None
        transaction = rules.decoded(body, Transaction)
        self._check_bundle(transaction.bundle_id)
        return transaction, body

    def _check_bundle(self, bundle_id: str) -> None:
        if bundle_id not in self._settings.bundle_ids:
            log.debug("a receipt of another app was refused", store=NAME, bundle_id=bundle_id)
            raise BadReceipt("Invalid Receipt. It is for another app.")

    # -- before StoreKit 2

    async def _verdict(self, receipt: str) -> Verdict:
        """What the App Store says of a receipt of this game. Up to two round trips."""
        if not self._settings.shared_password:
            raise NotConfigured(NAME)
        question = {
            "receipt-data": receipt,
            "password": self._settings.shared_password,
            "exclude-old-transactions": True,
        }
        verdict = await self._ask(self._settings.production_url, question)
        if verdict.status == FOR_SANDBOX:
            verdict = await self._ask(self._settings.sandbox_url, question)
        if verdict.retryable:
            raise AppleAway
        if verdict.status != 0:
            raise BadReceipt(f"Invalid Receipt. Status: {verdict.status}")
        self._check_bundle(verdict.receipt.bundle_id)
        return verdict

    async def _ask(self, url: str, question: dict[str, Any]) -> Verdict:
        try:
            answer = await self._outgoing.post(NAME, url, _encode(question), {"Content-Type": "application/json"})
        except ProviderAway:
            raise AppleAway from None
        return rules.decoded(fine(NAME, answer), Verdict)


def sale_of(transaction: Transaction, body: bytes) -> Sale:
    """A purchase by its signed transaction. Raises BadReceipt."""
    return Sale(
        store=Store.APPLE,
        transaction_id=rules.transaction_id(transaction.transaction_id),
        product_id=rules.product_id(transaction.product_id),
        purchased_at=rules.at_milliseconds(transaction.purchase_date),
        environment=ENVIRONMENTS.get(transaction.environment, Environment.UNKNOWN),
        response=rules.kept_response(body),
        quantity=rules.quantity(transaction.quantity),
        refunded_at=rules.at_milliseconds_if_any(transaction.revocation_date),
    )


def term_of(transaction: Transaction, body: bytes) -> Term:
    """A subscription by its signed transaction. Raises BadReceipt."""
    return Term(
        store=Store.APPLE,
        original_id=rules.transaction_id(transaction.original_transaction_id or transaction.transaction_id),
        product_id=rules.product_id(transaction.product_id),
        purchased_at=rules.at_milliseconds(transaction.original_purchase_date or transaction.purchase_date),
        expires_at=rules.at_milliseconds(transaction.expires_date or 0),
        environment=ENVIRONMENTS.get(transaction.environment, Environment.UNKNOWN),
        response=rules.kept_response(body),
        stated_at=rules.at_milliseconds(transaction.signed_date),
        refunded_at=rules.at_milliseconds_if_any(transaction.revocation_date),
    )


def _transactions(items: list[Item], verdict: Verdict, now: float) -> Iterator[tuple[Transaction, bytes]]:
    """The items of a receipt as if they were signed one by one now, each with its own words."""
    for item in items:
        transaction = Transaction(
            transaction_id=item.transaction_id,
            original_transaction_id=item.original_transaction_id,
            bundle_id=verdict.receipt.bundle_id,
            product_id=item.product_id,
            purchase_date=item.purchase_date_ms,
            original_purchase_date=item.original_purchase_date_ms,
            expires_date=item.expires_date_ms,
            quantity=item.quantity,
            revocation_date=item.cancellation_date_ms,
            environment=verdict.environment,
            signed_date=now * 1000,
        )
        yield transaction, _encode(item)
