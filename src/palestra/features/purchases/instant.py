"""Facebook Instant Games: purchases signed with the app's secret; nobody is asked."""

from __future__ import annotations

import hmac

import msgspec

from palestra.features.purchases import rules
from palestra.features.purchases.contract import (
    BadSignedRequest,
    EmptyReceipt,
    Environment,
    NotConfigured,
    Sale,
    Store,
)

BAD_FORMAT = "invalid signedRequest format"
REQUEST_CHARS_MAX = 65_536


class SignedPurchase(msgspec.Struct):
    """What is signed; the time in unix seconds."""

    product_id: str
    purchase_token: str
    purchase_time: float
    algorithm: str = ""


class InstantStore:
    """Implements `Seller`."""

    def __init__(self, app_secret: str) -> None:
        self._secret = app_secret.encode()

    async def sales(self, receipt: str, signature: str) -> list[Sale]:
        """See Seller.sales; raises BadSignedRequest as well."""
        if not self._secret:
            raise NotConfigured("Facebook Instant")
        if not receipt:
            raise EmptyReceipt("SignedRequest")
        proof, dot, payload = receipt.partition(".")
        if not dot or not receipt.isascii() or len(receipt) > REQUEST_CHARS_MAX:
            raise BadSignedRequest(BAD_FORMAT)
        try:
            given, body = rules.unpadded(proof), rules.unpadded(payload)
        except ValueError:
            raise BadSignedRequest(BAD_FORMAT) from None
        if not hmac.compare_digest(given, hmac.digest(self._secret, payload.encode(), "sha256")):
            raise BadSignedRequest("signedRequest verification failed")
        try:
            found = msgspec.json.decode(body, type=SignedPurchase, strict=False)
        except (ValueError, RecursionError):
            raise BadSignedRequest(BAD_FORMAT) from None
        if found.algorithm.upper() != "HMAC-SHA256":
            raise BadSignedRequest("signedRequest verification failed")
        sale = Sale(
            store=Store.FACEBOOK_INSTANT,
            transaction_id=rules.transaction_id(found.purchase_token),
            product_id=rules.product_id(found.product_id),
            purchased_at=rules.at_milliseconds(found.purchase_time * 1000),
            environment=Environment.PRODUCTION,
            response=rules.kept_response(body),
        )
        return [sale]
