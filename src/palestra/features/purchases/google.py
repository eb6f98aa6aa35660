"""Google Play: purchases and subscriptions by their tokens, asked in the name of a service account."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from palestra.core.clock import Clock, utc
from palestra.core.errors import SetupError
from palestra.core.iap_settings import GooglePlaySettings
from palestra.features.purchases import rules
from palestra.features.purchases.answers import fine
from palestra.features.purchases.contract import (
    BadReceipt,
    EmptyReceipt,
    Environment,
    NotConfigured,
    Sale,
    Store,
    Term,
    UnknownReceipt,
    WrongKind,
)
from palestra.gateway.outgoing import Outgoing

NAME = "Google"
SCOPE = "https://www.googleapis.com/auth/androidpublisher"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_SECONDS = 3600
RENEW_SECONDS = 60.0
"""How long before its end an access token is replaced."""
UNAUTHORIZED = 401
RECEIPT_STATUSES = (400, 404, 410)
"""How Google answers about what it does not know, or knows no more."""
PENDING = "SUBSCRIPTION_STATE_PENDING"
T = TypeVar("T")


class Receipt(msgspec.Struct, rename="camel", kw_only=True):
    """What Google's client library gives the player."""

    package_name: str
    product_id: str = ""
    purchase_token: str
    auto_renewing: bool = False


class Wrapped(msgspec.Struct):
    """The same, as some engines hand it on."""

    json: str = ""


class ProductPurchase(msgspec.Struct, rename="camel"):
    """What Google says of a purchase."""

    purchase_state: int = 0
    purchase_time_millis: float = 0
    purchase_type: int | None = None
    quantity: int = 1
    product_id: str = ""


class LineItem(msgspec.Struct, rename="camel"):
    """What is subscribed to."""

    product_id: str
    expiry_time: Annotated[datetime, msgspec.Meta(tz=True)]


class SubscriptionPurchase(msgspec.Struct, rename="camel"):
    """What Google says of a subscription."""

    start_time: Annotated[datetime, msgspec.Meta(tz=True)]
    line_items: list[LineItem]
    subscription_state: str = ""
    test_purchase: dict[str, Any] | None = None
    linked_purchase_token: str = ""


class AccessToken(msgspec.Struct):
    """What the service account may call the API with."""

    access_token: str
    expires_in: float = TOKEN_SECONDS


class GooglePlay:
    """Implements `Seller` and `TermSeller`."""

    def __init__(self, settings: GooglePlaySettings, outgoing: Outgoing, clock: Clock) -> None:
        self.configured = bool(settings.client_email and settings.private_key)
        self._settings = settings
        self._outgoing = outgoing
        self._clock = clock
        self._token = ""
        self._token_until = 0.0
        self._renewing: asyncio.Future[str] | None = None

    @cached_property
    def key(self) -> Any:
        """The key of the service account. Raises SetupError."""
        from joserfc.errors import JoseError
        from joserfc.jwk import RSAKey

        try:
            # In an environment variable the line ends of a key file stand as two characters each.
            key = RSAKey.import_key(self._settings.private_key.replace("\\n", "\n"))
        except (JoseError, ValueError, TypeError):
            raise SetupError("iap.google.private_key is no private RSA key in PEM") from None
        if not key.is_private:
            raise SetupError("iap.google.private_key is a public key; the private one is needed")
        return key

    async def sales(self, receipt: str, signature: str) -> list[Sale]:
        """See Seller.sales."""
        given = self._receipt(receipt, "Purchase")
        if given.auto_renewing:
            raise WrongKind("Subscription")
        product_id = rules.product_id(given.product_id)
        path = f"products/{quote(product_id, safe='')}/tokens/{quote(given.purchase_token, safe='')}"
        found, body = await self._ask(given.package_name, path, ProductPurchase)
        if found.purchase_state != 0:
            raise BadReceipt(f"Invalid Receipt. State: {found.purchase_state}")
        if found.product_id and found.product_id != product_id:
            raise BadReceipt("Invalid Receipt. It is for another product.")
        sale = Sale(
            store=Store.GOOGLE,
            transaction_id=given.purchase_token,
            product_id=product_id,
            purchased_at=rules.at_milliseconds(found.purchase_time_millis),
            environment=Environment.SANDBOX if found.purchase_type == 0 else Environment.PRODUCTION,
            response=rules.kept_response(body),
            quantity=rules.quantity(found.quantity),
        )
        return [sale]

    async def term(self, receipt: str) -> Term:
        """See TermSeller.term."""
        given = self._receipt(receipt, "Receipt")
        return await self.term_of(given.package_name, given.purchase_token)

    async def term_of(self, package_name: str, token: str) -> Term:
        """What Google says of a subscription now. Raises as `Seller.sales`."""
        self._check_package(package_name)
        rules.transaction_id(token)
        stated_at = utc(self._clock.now())
        path = f"subscriptionsv2/tokens/{quote(token, safe='')}"
        found, body = await self._ask(package_name, path, SubscriptionPurchase)
        if found.subscription_state == PENDING or not found.line_items:
            raise BadReceipt("Invalid Receipt. State: pending")
        item = max(found.line_items, key=lambda item: item.expiry_time)
        return Term(
            store=Store.GOOGLE,
            original_id=token,
            product_id=rules.product_id(item.product_id),
            purchased_at=found.start_time,
            expires_at=item.expiry_time,
            environment=Environment.PRODUCTION if found.test_purchase is None else Environment.SANDBOX,
            response=rules.kept_response(body),
            stated_at=stated_at,
            supersedes=rules.kept_response(found.linked_purchase_token),
        )

    def _receipt(self, text: str, part: str) -> Receipt:
        if not self.configured:
            raise NotConfigured(NAME)
        if not text:
            raise EmptyReceipt(part)
        receipt = rules.decoded(rules.decoded(text, Wrapped).json or text, Receipt)
        rules.transaction_id(receipt.purchase_token)
        self._check_package(receipt.package_name)
        return receipt

    def _check_package(self, name: str) -> None:
        if self._settings.package_names and name not in self._settings.package_names:
            raise BadReceipt("Invalid Receipt. It is for another app.")

    # -- the API

    async def _ask(self, package_name: str, path: str, kind: type[T]) -> tuple[T, bytes]:
        package = quote(package_name, safe="")
        url = f"{self._settings.api_url}/androidpublisher/v3/applications/{package}/purchases/{path}"
        headers = {"Authorization": f"Bearer {await self._access()}"}
        answer = await self._outgoing.get(NAME, url, headers=headers)
        if answer.status == UNAUTHORIZED:
            self._token_until = 0.0
        if answer.status in RECEIPT_STATUSES:
            raise UnknownReceipt(NAME, answer.status, answer.body)
        body = fine(NAME, answer)
        return rules.decoded(body, kind), body

    async def _access(self) -> str:
        """An access token. One request is made for all who need a new one, and all hear of its failure."""
        if self._clock.monotonic() < self._token_until:
            return self._token
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.ensure_future(self._renew())
        return await asyncio.shield(self._renewing)

    async def _renew(self) -> str:
        found = await self._new_token()
        self._token = found.access_token
        self._token_until = self._clock.monotonic() + found.expires_in - RENEW_SECONDS
        return self._token

    async def _new_token(self) -> AccessToken:
        from joserfc import jwt

        now = int(self._clock.now())
        claims = {
            "iss": self._settings.client_email,
            "scope": SCOPE,
            "aud": self._settings.token_url,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        assertion = jwt.encode({"alg": "RS256"}, claims, self.key)
        form = urlencode({"grant_type": GRANT_TYPE, "assertion": assertion}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await self._outgoing.post(NAME, self._settings.token_url, form, headers)
        return rules.decoded(fine(NAME, answer), AccessToken)
