"""Huawei AppGallery: purchase data signed by the app's key, then confirmed by the order service."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import msgspec

from palestra.core.errors import SetupError
from palestra.core.iap_settings import HuaweiSettings
from palestra.features.purchases import rules
from palestra.features.purchases.answers import fine
from palestra.features.purchases.contract import (
    BadReceipt,
    EmptyReceipt,
    Environment,
    NotConfigured,
    Sale,
    Store,
    WrongKind,
)
from palestra.gateway.outgoing import Outgoing

NAME = "Huawei"
SUBSCRIPTION = 2
APP_TOUCH = 1
CONFIRMED = "0"
_encode = msgspec.json.Encoder().encode


class PurchaseData(msgspec.Struct, rename="camel", kw_only=True):
    """A purchase, as the client has it and as the order service confirms it."""

    order_id: str
    product_id: str
    purchase_token: str
    purchase_time: float = 0
    purchase_state: int = 0
    purchase_type: int | None = None
    kind: int = 0
    account_flag: int = 0
    quantity: int = 1


class Confirmation(msgspec.Struct, rename="camel"):
    """What the order service says."""

    response_code: str = ""
    purchase_token_data: str = ""


class AccessToken(msgspec.Struct):
    """What the order service is asked with."""

    access_token: str


class Huawei:
    """Implements `Seller`."""

    def __init__(self, settings: HuaweiSettings, outgoing: Outgoing) -> None:
        self.configured = bool(settings.public_key and settings.client_id and settings.client_secret)
        self._settings = settings
        self._outgoing = outgoing

    @cached_property
    def key(self) -> Any:
        """The app's public key. Raises SetupError."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            key = load_der_public_key(base64.b64decode(self._settings.public_key, validate=True))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, RSAPublicKey):
            raise SetupError("iap.huawei.public_key is no public RSA key in base64")
        return key

    async def sales(self, receipt: str, signature: str) -> list[Sale]:
        """See Seller.sales."""
        if not self.configured:
            raise NotConfigured(NAME)
        if not receipt:
            raise EmptyReceipt("Purchase")
        if not signature:
            raise EmptyReceipt("Signature")
        self._check_signature(receipt, signature)
        given = rules.decoded(receipt, PurchaseData)
        if given.kind == SUBSCRIPTION:
            raise WrongKind("Subscription")
        body = await self._confirmed(given)
        found = rules.decoded(body, PurchaseData)
        if found.purchase_state != 0:
            raise BadReceipt(f"Invalid Receipt. State: {found.purchase_state}")
        if (found.order_id, found.product_id) != (given.order_id, given.product_id):
            raise BadReceipt("Invalid Receipt. It is for another purchase.")
        sale = Sale(
            store=Store.HUAWEI,
            transaction_id=rules.transaction_id(found.order_id),
            product_id=rules.product_id(found.product_id),
            purchased_at=rules.at_milliseconds(found.purchase_time),
            environment=Environment.SANDBOX if found.purchase_type == 0 else Environment.PRODUCTION,
            response=rules.kept_response(body),
            quantity=rules.quantity(found.quantity),
        )
        return [sale]

    def _check_signature(self, data: str, signature: str) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            self.key.verify(base64.b64decode(signature, validate=True), data.encode(), PKCS1v15(), SHA256())
        except (ValueError, InvalidSignature):
            raise BadReceipt("Invalid Receipt. Its signature is wrong.") from None

    async def _confirmed(self, given: PurchaseData) -> str:
        """The order service's own data of a purchase. Two round trips."""
        settings = self._settings
        host = settings.app_touch_order_url if given.account_flag == APP_TOUCH else settings.order_url
        basic = base64.b64encode(f"APPAT:{await self._access()}".encode()).decode()
        answer = await self._outgoing.post(
            NAME,
            f"{host}/applications/purchases/tokens/verify",
            _encode({"purchaseToken": given.purchase_token, "productId": given.product_id}),
            {"Content-Type": "application/json; charset=UTF-8", "Authorization": f"Basic {basic}"},
        )
        found = rules.decoded(fine(NAME, answer), Confirmation)
        if found.response_code != CONFIRMED:
            raise BadReceipt(f"Invalid Receipt. Code: {found.response_code[:16]}")
        return found.purchase_token_data

    async def _access(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await self._outgoing.post(NAME, self._settings.token_url, urlencode(form).encode(), headers)
        return rules.decoded(fine(NAME, answer), AccessToken).access_token
