"""What others may know of purchases: stores, purchases, subscriptions, refunds, and every refusal."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from palestra.core.errors import Code, FailedPrecondition, InvalidArgument, NotFound, PalestraError, Unavailable

PAGE_MAX = 100
TRANSACTION_CHARS_MAX = 1024
PRODUCT_CHARS_MAX = 255
RESPONSE_BYTES_MAX = 65_536
"""Longer words of a store are cut off before they are kept and shown."""
FAILURE_BYTES_MAX = 1024
"""So much of a refusal is told on."""
SALES_PER_RECEIPT_MAX = 1000
ASSETS_PER_GRANT_MAX = 100


class Store(enum.IntEnum):
    """Who sold it."""

    APPLE = 0
    GOOGLE = 1
    HUAWEI = 2
    FACEBOOK_INSTANT = 3
    SAMSUNG = 4


class Environment(enum.IntEnum):
    """Whether real money was paid; in a sandbox testers buy for nothing."""

    UNKNOWN = 0
    SANDBOX = 1
    PRODUCTION = 2


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction as its store vouches for it. `response` is the store's own word as JSON text."""

    store: Store
    transaction_id: str
    product_id: str
    purchased_at: datetime
    environment: Environment
    response: str
    quantity: int = 1
    refunded_at: datetime | None = None


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as its store vouches for it at the moment `stated_at`.

    `refunded_at` is about the period that `expires_at` ends; with `reversed` the store takes a refund back.
    `supersedes` is the subscription whose place it took, if any.
    """

    store: Store
    original_id: str
    product_id: str
    purchased_at: datetime
    expires_at: datetime
    environment: Environment
    response: str
    stated_at: datetime
    refunded_at: datetime | None = None
    reversed: bool = False
    supersedes: str = ""


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase. `player_id` is who brought it first, the nil id once that player is gone.

    Without `persist` it was only looked at: there is no `created_at` and no `updated_at`.
    """

    player_id: str
    sale: Sale
    created_at: datetime | None = None
    updated_at: datetime | None = None
    seen_before: bool = False


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription. `active` at the moment it was read: neither expired nor refunded."""

    player_id: str
    term: Term
    active: bool
    notification: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class PurchasePage(NamedTuple):
    """Purchases of a player, newest first; "" where there is no further page."""

    purchases: list[Purchase]
    cursor: str


class SubscriptionPage(NamedTuple):
    """Subscriptions of a player, newest first; "" where there is no further page. `prev_cursor` leads back."""

    subscriptions: list[Subscription]
    cursor: str
    prev_cursor: str


class Refund(msgspec.Struct, frozen=True):
    """A store gave money back, or revoked what it sold. `transaction_id` is the first one of a subscription."""

    store: Store
    transaction_id: str
    player_id: str
    product_id: str
    quantity: int
    refunded_at: datetime
    environment: Environment
    subscription: bool = False


class NotConfigured(FailedPrecondition):
    """The operator has set nothing up for this store."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} IAP is not configured.")


class BadReceipt(FailedPrecondition):
    """The store does not vouch for the receipt, or it is for another app; the message says how far."""


class WrongKind(FailedPrecondition):
    """A subscription where a purchase is wanted, or the other way round."""

    def __init__(self, found: str) -> None:
        super().__init__(f"{found} Receipt. Use the appropriate function instead.")


class EmptyReceipt(InvalidArgument):
    """Part of a receipt is missing; the message says which."""

    def __init__(self, part: str) -> None:
        super().__init__(f"{part} cannot be empty.")


class BadSignedRequest(InvalidArgument):
    """A signed request of an instant game that cannot be believed."""


class StoreFailed(PalestraError):
    """The store refused to answer; its status and the beginning of its words are in the message."""

    code = Code.UNKNOWN

    def __init__(self, name: str, status: int, body: bytes) -> None:
        payload = body[:FAILURE_BYTES_MAX].decode("utf-8", "replace")
        super().__init__(f"{name} IAP refused the request, status={status}, payload={payload}")


class UnknownReceipt(StoreFailed):
    """The store refused to answer because of the receipt."""

    code = Code.FAILED_PRECONDITION


class AppleAway(Unavailable):
    """The App Store asks to try again later, or could not be asked."""

    def __init__(self) -> None:
        super().__init__("Apple IAP verification is currently unavailable. Try again later.", retry_after_seconds=5.0)


class BadNotification(PalestraError):
    """A notification that its store did not send. Why is in the log: a forger need not know."""

    code = Code.UNAUTHENTICATED


class BadGrant(PalestraError):
    """The game grants what cannot be granted; nothing was kept, so that the receipt can be brought again."""

    code = Code.INTERNAL


class BadCursor(InvalidArgument):
    """A cursor that this list did not give out."""


class BadPage(InvalidArgument):
    """A page of a size that there is none of."""


class PurchaseNotFound(NotFound):
    """No such purchase is kept."""


class SubscriptionNotFound(NotFound):
    """The player has no subscription of this product."""


class Seller(Protocol):
    """One store, as it is asked about receipts."""

    async def sales(self, receipt: str, signature: str) -> list[Sale]:
        """The purchases that a receipt holds. `signature` is "" but for Huawei.

        Raises NotConfigured, EmptyReceipt, BadReceipt, WrongKind, StoreFailed, ProviderAway, Overloaded.
        """
        ...


class TermSeller(Protocol):
    """A store that sells subscriptions."""

    async def term(self, receipt: str) -> Term:
        """The subscription that a receipt holds. Raises as `Seller.sales`."""
        ...


class PurchaseGames(Protocol):
    """What games have to say about purchases."""

    async def grants_of(self, purchase: Purchase) -> Mapping[str, int]:
        """What the buyer gets, in minor units by asset. It may be asked again for the same purchase."""
        ...

    async def handle_refund(self, refund: Refund) -> None:
        """Tell the games. Raises when one fails, so that they are told again."""
        ...


class Purchases(Protocol):
    """Purchases and subscriptions, as game modules see them."""

    async def validate(
        self, player_id: str, store: Store, receipt: str, *, signature: str = "", persist: bool = True
    ) -> list[Purchase]:
        """Have a receipt checked by its store and keep what is new, each transaction once for ever.

        What is new is granted by the games' `@game.on_purchase` in the same transaction. With `persist` off nothing is
        kept or granted. `receipt` is what the store's client library gave: the signed data or receipt of Apple, the
        purchase JSON of Google and Huawei (with its signature), the purchase id of Samsung, the signed request of
        Facebook. One or two round trips to the store, one transaction for each new purchase. Raises as `Seller.sales`.
        """
        ...

    async def validate_subscription(
        self, player_id: str, store: Store, receipt: str, *, persist: bool = True
    ) -> Subscription:
        """The same for a subscription of Apple or Google. Nothing is granted. Raises as `Seller.sales`."""
        ...

    async def get(self, store: Store, transaction_id: str) -> Purchase:
        """A purchase that is kept. One round trip. Raises PurchaseNotFound."""
        ...

    async def list(self, player_id: str, limit: int = PAGE_MAX, cursor: str = "") -> PurchasePage:
        """A player's purchases, newest first, `limit` 1–100. One round trip. Raises BadPage, BadCursor."""
        ...

    async def subscription(self, player_id: str, product_id: str) -> Subscription:
        """A player's subscription of a product, the last to expire. One round trip. Raises SubscriptionNotFound."""
        ...

    async def subscriptions(self, player_id: str, limit: int = PAGE_MAX, cursor: str = "") -> SubscriptionPage:
        """A player's subscriptions, newest first, `limit` 1–100. One round trip. Raises BadPage, BadCursor."""
        ...
