"""Pure decisions about wallets: what a change makes of the balances, and where a page of history starts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.wallets.contract import (
    AMOUNT_MAX,
    ASSET_CHARS_MAX,
    ASSETS_MAX,
    KEY_CHARS_MAX,
    METADATA_BYTES_MAX,
    BadChange,
    BadCursor,
    InsufficientFunds,
    WalletFull,
)

CURSOR_CHARS_MAX = 512
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Change(msgspec.Struct, frozen=True):
    """A well-formed change. `key` is never empty; `changeset` and `metadata` are JSON texts."""

    id: str
    user_id: str
    key: str
    amounts: Mapping[str, int]
    changeset: str
    metadata: str


def change_of(
    entry_id: str, user_id: str, amounts: Mapping[str, int], key: str | None, metadata: Mapping[str, Any] | None
) -> Change:
    """Check a change. Raises BadChange, saying what is wrong."""
    for asset, amount in amounts.items():
        if not isinstance(asset, str) or not 1 <= len(asset) <= ASSET_CHARS_MAX or not _storable(asset):
            raise BadChange(f"An asset is named by 1 to {ASSET_CHARS_MAX} characters, not {asset!r:.100}.")
        if type(amount) is not int:
            raise BadChange(f"The amount of {asset!r} must be a whole number, not {amount!r:.100}.")
        if not -AMOUNT_MAX <= amount <= AMOUNT_MAX:
            raise BadChange(f"The amount of {asset!r} is beyond 64 bits.")
    if len(amounts) > ASSETS_MAX:
        raise BadChange(f"A change names at most {ASSETS_MAX} assets.")
    if key is not None and (not 1 <= len(key) <= KEY_CHARS_MAX or not _storable(key)):
        raise BadChange(f"A key has 1 to {KEY_CHARS_MAX} characters.")
    # Without a key of its own a change is known by its entry's id, which nothing else is called.
    return Change(entry_id, user_id, key or entry_id, dict(amounts), _encode(amounts).decode(), _metadata(metadata))


def _metadata(metadata: Mapping[str, Any] | None) -> str:
    if not metadata:
        return "{}"
    try:
        encoded = _encode(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadChange(f"The metadata cannot be written as JSON: {error}"[:200]) from None
    if encoded[:1] != b"{":
        raise BadChange("The metadata must be a mapping.")
    if len(encoded) > METADATA_BYTES_MAX:
        raise BadChange(f"The metadata may take {METADATA_BYTES_MAX} bytes as JSON.")
    return encoded.decode()


def _storable(text: str) -> bool:
    """Whether a text column can hold it: no NUL, no lone half of a surrogate pair."""
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)


def applied(balances: Mapping[str, int], amounts: Mapping[str, int]) -> dict[str, int]:
    """The balances after a change. Raises InsufficientFunds or WalletFull when the change may not happen."""
    updated = dict(balances)
    for asset, amount in amounts.items():
        current = updated.get(asset, 0)
        after = current + amount
        if after < 0:
            raise InsufficientFunds(f"The wallet holds {current} {asset}, so {-amount} cannot be taken from it.")
        if after > AMOUNT_MAX:
            raise WalletFull(f"The wallet holds {current} {asset}, and {amount} more would be beyond 64 bits.")
        updated[asset] = after
    if len(updated) > ASSETS_MAX:
        raise WalletFull(f"A wallet holds at most {ASSETS_MAX} assets.")
    return updated


class Position(msgspec.Struct, array_like=True, frozen=True):
    """After which entry a history goes on, and whose it is."""

    user_id: str
    created_at: datetime
    id: str


def position_of(user_id: str, cursor: str) -> Position:
    """Where a page of history starts. Raises BadCursor when `cursor` is not of this player's history."""
    if not cursor:
        return Position(user_id, END_OF_TIME, SYSTEM_USER)
    try:
        if len(cursor) > CURSOR_CHARS_MAX:
            raise BadCursor
        found = open_cursor(cursor, Position)
        parse_id(found.id)
    except ValueError:
        raise BadCursor from None
    if found.user_id != user_id or found.created_at.tzinfo is None:
        raise BadCursor
    return found


def cursor_of(position: Position) -> str:
    """The text form of a position."""
    return seal_cursor(position)
