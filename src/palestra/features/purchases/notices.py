"""Notifications of the stores' servers: of renewals, ends, refunds and revocations."""

from __future__ import annotations

import base64

import msgspec

from palestra.core.iap_settings import GooglePlaySettings
from palestra.core.log import get_logger
from palestra.features.identity.contract import BadProof, TokenCheck
from palestra.features.purchases import rules
from palestra.features.purchases.apple import AppleStore
from palestra.features.purchases.contract import (
    BadNotification,
    BadReceipt,
    Environment,
    NotConfigured,
    Sale,
    Store,
    Term,
    UnknownReceipt,
)
from palestra.features.purchases.google import GooglePlay
from palestra.features.purchases.service import PurchaseService

REFUND_REVERSED = "REFUND_REVERSED"
REVOKED = 12
"""Google's type for a subscription that was taken away before its end."""
VOIDED_SUBSCRIPTION = 1
SCHEME = "Bearer "
log = get_logger(__name__)


class SubscriptionNotice(msgspec.Struct, rename="camel"):
    """Something happened to a subscription."""

    purchase_token: str
    notification_type: int = 0


class VoidedNotice(msgspec.Struct, rename="camel"):
    """A purchase or subscription was refunded, charged back or revoked."""

    purchase_token: str
    product_type: int = 0


class GoogleNotice(msgspec.Struct, rename="camel"):
    """A real-time developer notification; the time in milliseconds."""

    package_name: str = ""
    event_time_millis: float = 0
    subscription_notification: SubscriptionNotice | None = None
    voided_purchase_notification: VoidedNotice | None = None


class Notices:
    """Believes notifications by their signatures alone; who knows the addresses proves nothing."""

    def __init__(
        self,
        apple: AppleStore,
        google: GooglePlay,
        push_tokens: TokenCheck,
        settings: GooglePlaySettings,
        purchases: PurchaseService,
    ) -> None:
        self._apple = apple
        self._google = google
        self._push_tokens = push_tokens
        self._settings = settings
        self._purchases = purchases

    async def from_apple(self, signed: str) -> None:
        """Take in an App Store Server Notification, version 2. Raises NotConfigured, BadNotification."""
        kind, about, text = self._apple.notice(signed)
        log.debug("notification of Apple", type=kind)
        if isinstance(about, Term):
            term = msgspec.structs.replace(about, reversed=kind == REFUND_REVERSED)
            await self._purchases.stated(term, notification=text)
        elif about is not None and kind == REFUND_REVERSED:
            await self._purchases.refund_reversed(about)
        elif about is not None and about.refunded_at is not None:
            await self._purchases.refunded(about, about.refunded_at)

    async def from_google(self, authorization: str, data: str) -> None:
        """Take in a real-time developer notification that Pub/Sub pushes.

        One or two round trips to Google where it is about a subscription. Raises NotConfigured, BadNotification,
        StoreFailed, ProviderAway, Overloaded: Google sends it again.
        """
        await self._check_sender(authorization)
        try:
            raw = base64.b64decode(data, validate=True)
            notice = rules.decoded(raw, GoogleNotice)
            await self._apply(notice, rules.kept_response(raw))
        except (ValueError, BadReceipt) as error:
            # It would be no better the next time.
            log.warning("a notification of Google is of no use", reason=str(error))
        except UnknownReceipt as error:
            log.warning("Google does not know what its notification is about", reason=error.message)

    async def _check_sender(self, authorization: str) -> None:
        settings = self._settings
        if not (self._google.configured and settings.push_audience and settings.push_email):
            raise NotConfigured("Google notification")
        try:
            claims = await self._push_tokens.verify(authorization.removeprefix(SCHEME), "")
        except BadProof:
            claims = None
        if claims is None or claims.verified_email != settings.push_email:
            raise BadNotification("This is no notification of Google's for this game.")

    async def _apply(self, notice: GoogleNotice, text: str) -> None:
        at = rules.at_milliseconds(notice.event_time_millis)
        voided, changed = notice.voided_purchase_notification, notice.subscription_notification
        if voided is not None and voided.product_type != VOIDED_SUBSCRIPTION:
            sale = Sale(
                store=Store.GOOGLE,
                transaction_id=rules.transaction_id(voided.purchase_token),
                product_id="",
                purchased_at=at,
                environment=Environment.UNKNOWN,
                response=text,
            )
            await self._purchases.refunded(sale, at)
            return
        about = voided or changed
        if about is None:
            return
        term = await self._google.term_of(notice.package_name, about.purchase_token)
        if voided is not None or (changed is not None and changed.notification_type == REVOKED):
            term = msgspec.structs.replace(term, refunded_at=at)
        await self._purchases.stated(term, notification=text)
