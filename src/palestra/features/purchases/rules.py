"""Pure decisions about purchases: what stores' words mean, what may be granted, positions in lists."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.features.ledger.contract import AMOUNT_MAX
from palestra.features.purchases.contract import (
    ASSETS_PER_GRANT_MAX,
    PAGE_MAX,
    PRODUCT_CHARS_MAX,
    RESPONSE_BYTES_MAX,
    TRANSACTION_CHARS_MAX,
    BadCursor,
    BadGrant,
    BadPage,
    BadReceipt,
    Purchase,
    Store,
    Subscription,
    Term,
)

LEDGER_NAME_CHARS_MAX = 200
QUANTITY_MAX = 1_000_000
_PLAIN = re.compile(r"[\x21-\x7e]+").fullmatch
T = TypeVar("T")


class Untrue(Exception):
    """A proof that proves nothing; the text says why, for the log."""


# -- what stores say


def decoded(raw: bytes | str, kind: type[T]) -> T:
    """A store's JSON, in which numbers may be texts. Raises BadReceipt."""
    try:
        return msgspec.json.decode(raw, type=kind, strict=False)
    except (ValueError, RecursionError):
        raise BadReceipt("Invalid Receipt. It cannot be read.") from None


def at_milliseconds(milliseconds: float) -> datetime:
    """A moment as stores write it. Raises BadReceipt."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise BadReceipt("Invalid Receipt. It has an impossible date.") from None


def at_milliseconds_if_any(milliseconds: float | None) -> datetime | None:
    """The same of a moment that may not have come."""
    return at_milliseconds(milliseconds) if milliseconds else None


def transaction_id(text: str) -> str:
    """A store's id of a transaction, as it can be kept. Raises BadReceipt."""
    return _id(text, TRANSACTION_CHARS_MAX, "transaction")


def product_id(text: str) -> str:
    """A store's id of a product, as it can be kept. Raises BadReceipt."""
    return _id(text, PRODUCT_CHARS_MAX, "product")


def _id(text: str, chars_max: int, what: str) -> str:
    if len(text) > chars_max or not _PLAIN(text):
        raise BadReceipt(f"Invalid Receipt. It has no usable {what} id.")
    return text


def quantity(number: int) -> int:
    """How many were bought at once. Raises BadReceipt."""
    if not 1 <= number <= QUANTITY_MAX:
        raise BadReceipt("Invalid Receipt. It has an impossible quantity.")
    return number


def kept_response(raw: bytes | str) -> str:
    """A store's words as they are kept: without what PostgreSQL cannot hold, and not endless."""
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
    return text.replace("\0", "").encode("utf-8", "replace")[:RESPONSE_BYTES_MAX].decode("utf-8", "ignore")


def unpadded(text: str) -> bytes:
    """The bytes of URL-safe base64 without padding. Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def is_signed(receipt: str) -> bool:
    """Whether a receipt of Apple's is signed data (three parts), as since StoreKit 2."""
    return receipt.count(".") == 2


# -- what becomes of a subscription


def refund_after(known: datetime | None, known_expiry: datetime, term: Term) -> datetime | None:
    """When a subscription was refunded, by what was known and what the store says now.

    A refund stands until a later period is paid for, or the store takes it back.
    """
    if term.refunded_at is not None or term.reversed or term.expires_at > known_expiry:
        return term.refunded_at
    return known


def is_active(expires_at: datetime, refunded_at: datetime | None, now: datetime) -> bool:
    """Whether a subscription counts."""
    return expires_at > now and refunded_at is None


# -- grants


def ledger_name(store: Store, transaction: str) -> str:
    """A transaction as the ledger knows it; of long ids it is their hash."""
    if len(transaction) > LEDGER_NAME_CHARS_MAX:
        transaction = hashlib.sha256(transaction.encode()).hexdigest()
    return f"purchase:{store.name.lower()}:{transaction}"


def checked_grants(grants: Mapping[str, Any]) -> dict[str, int]:
    """Amounts by asset in one order, without those of nothing. Raises BadGrant."""
    if len(grants) > ASSETS_PER_GRANT_MAX:
        raise BadGrant(f"A purchase grants at most {ASSETS_PER_GRANT_MAX} assets.")
    for asset, amount in grants.items():
        if type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
            raise BadGrant(
                f"A purchase grants whole amounts of 0 to {AMOUNT_MAX}, not {amount!r:.50} of {asset!r:.70}."
            )
    return {asset: amount for asset, amount in sorted(grants.items()) if amount}


# -- lists


class Position(msgspec.Struct, array_like=True, frozen=True):
    """A row in an order by time, store and id; `player_id` is whose list it is, `ahead` that it leads to older rows."""

    player_id: str
    at: datetime
    store: int
    id: str
    ahead: bool = True


def first_position(player_id: str) -> Position:
    """Before the newest."""
    return Position(player_id, datetime(9999, 1, 1, tzinfo=UTC), 0, "")


def position_of(player_id: str, cursor: str, told: str) -> Position:
    """Where a page starts. Raises BadCursor with the list's own words."""
    if not cursor:
        return first_position(player_id)
    try:
        found = open_cursor(cursor, Position)
        at = found.at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadCursor(told) from None
    if found.player_id != player_id or not 0 <= found.store <= max(Store) or "\0" in found.id:
        raise BadCursor(told)
    return Position(player_id, at, found.store, found.id, found.ahead)


def check_page(limit: int) -> None:
    """Raises BadPage."""
    if not 1 <= limit <= PAGE_MAX:
        # The number is the one that clients know.
        raise BadPage("Invalid limit - limit must be between 1 and 1000.")


def purchase_cursor(player_id: str, one: Purchase) -> str:
    """The cursor that leads on behind a purchase."""
    return seal_cursor(Position(player_id, one.sale.purchased_at, one.sale.store, one.sale.transaction_id))


def subscription_page(
    start: Position, resumed: bool, found: Sequence[Subscription], limit: int
) -> tuple[list[Subscription], str, str]:
    """The page that follows `start`, and the cursors on and back; `resumed` if that came from a cursor.

    `found` is what lies beyond, nearest first, one more than `limit` if there is more.
    """
    more = len(found) > limit
    shown = list(found[:limit])
    if not start.ahead:
        shown.reverse()
    if not shown:
        return [], "", ""

    def sealed(one: Subscription, ahead: bool) -> str:
        term = one.term
        return seal_cursor(Position(start.player_id, term.purchased_at, term.store, term.original_id, ahead))

    # A page reached by going back has the page it was reached from behind it.
    on, back = (more, resumed) if start.ahead else (True, more)
    return shown, sealed(shown[-1], True) if on else "", sealed(shown[0], False) if back else ""
