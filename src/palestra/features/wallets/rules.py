"""Pure decisions about wallets: what a change asks of the ledger, and what lines of the ledger tell of a wallet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.text import storable
from palestra.features.ledger.contract import Line, LineKind
from palestra.features.wallets.contract import (
    AMOUNT_MAX,
    ASSET_CHARS_MAX,
    ASSETS_MAX,
    KEY_CHARS_MAX,
    METADATA_BYTES_MAX,
    BadChange,
    BadCursor,
    WalletChange,
    WalletEntry,
)

CURSOR_CHARS_MAX = 512
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def check_amounts(amounts: Mapping[str, int], amount_min: int = -AMOUNT_MAX) -> None:
    """Raises BadChange, saying which asset or amount is wrong."""
    for asset, amount in amounts.items():
        if not isinstance(asset, str) or not 1 <= len(asset) <= ASSET_CHARS_MAX or not storable(asset):
            raise BadChange(f"An asset is named by 1 to {ASSET_CHARS_MAX} characters, not {asset!r:.100}.")
        if type(amount) is not int:
            raise BadChange(f"The amount of {asset!r} must be a whole number, not {amount!r:.100}.")
        if not -AMOUNT_MAX <= amount <= AMOUNT_MAX:
            raise BadChange(f"The amount of {asset!r} is beyond 64 bits.")
        if amount < amount_min:
            raise BadChange(f"The amount of {asset!r} must be at least {amount_min}.")
    if len(amounts) > ASSETS_MAX:
        raise BadChange(f"A change names at most {ASSETS_MAX} assets.")


def ledger_key(scope: str, owner: str, key: str | None) -> str | None:
    """The ledger's key for a key of game code, which is unique per scope and owner. Raises BadChange."""
    if key is None:
        return None
    if type(key) is not str or not 1 <= len(key) <= KEY_CHARS_MAX or not storable(key):
        raise BadChange(f"A key has 1 to {KEY_CHARS_MAX} characters.")
    return f"{scope}:{owner}:{key}"


def metadata_text(metadata: Mapping[str, Any] | None) -> str:
    """Metadata as the ledger keeps it: JSON with its members in order, nothing for none. Raises BadChange."""
    if not metadata and (metadata is None or isinstance(metadata, Mapping)):
        return ""
    try:
        encoded = _encode(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadChange(f"The metadata cannot be written as JSON: {error}"[:200]) from None
    if encoded[:1] != b"{":
        raise BadChange("The metadata must be a mapping.")
    if len(encoded) > METADATA_BYTES_MAX:
        raise BadChange(f"The metadata may take {METADATA_BYTES_MAX} bytes as JSON.")
    return encoded.decode()


def change_of(lines: Iterable[Line], assets: Mapping[int, str]) -> WalletChange:
    """What lines changed of the accounts of a wallet, whose assets are given by account id."""
    previous: dict[str, int] = {}
    updated: dict[str, int] = {}
    for line in lines:
        for account, after, amount in (
            (line.debit, line.debit_after, -line.amount),
            (line.credit, line.credit_after, line.amount),
        ):
            asset = assets.get(account)
            if asset is not None and after is not None:
                previous.setdefault(asset, after - amount)
                updated[asset] = after
    return WalletChange(previous, updated)


def deltas_of(line: Line, held: Mapping[int, int]) -> dict[int, int]:
    """By how much a line changed what its accounts have available. `held` are the amounts of holds by their ids."""
    if line.step is LineKind.TRANSFER:
        return {line.debit: -line.amount, line.credit: line.amount}
    if line.step is LineKind.HOLD:
        return {line.debit: -line.amount}
    if line.step is LineKind.POST:
        return {line.debit: held.get(line.hold or 0, line.amount) - line.amount, line.credit: line.amount}
    return {line.debit: line.amount}


def entries_of(
    lines: Iterable[Line], user_id: str, assets: Mapping[int, str], held: Mapping[int, int]
) -> list[WalletEntry]:
    """The entries of a wallet's history, in the order of the lines."""
    by_entry: dict[int, list[Line]] = {}
    for line in lines:
        by_entry.setdefault(line.entry, []).append(line)
    entries = []
    for entry, own in by_entry.items():
        own.sort(key=lambda line: line.id)
        changeset: dict[str, int] = {}
        for line in own:
            for account, delta in deltas_of(line, held).items():
                if (asset := assets.get(account)) is not None:
                    changeset[asset] = changeset.get(asset, 0) + delta
        told = next((line.metadata for line in own if line.metadata), "{}")
        first = own[0]
        entries.append(
            WalletEntry(str(entry), user_id, changeset, _decode(told), first.at, first.kind, first.reference)
        )
    return entries


class Position(msgspec.Struct, array_like=True, frozen=True):
    """Before which entry a history goes on, and whose it is."""

    user_id: str
    before: int


def position_of(user_id: str, cursor: str) -> int | None:
    """Before which entry a page of history starts. Raises BadCursor when `cursor` is not of this player's history."""
    if not cursor:
        return None
    try:
        if len(cursor) > CURSOR_CHARS_MAX:
            raise BadCursor
        found = open_cursor(cursor, Position)
    except ValueError:
        raise BadCursor from None
    if found.user_id != user_id or not 0 < found.before <= AMOUNT_MAX:
        raise BadCursor
    return found.before


def cursor_of(user_id: str, before: int) -> str:
    """The text form of a position."""
    return seal_cursor(Position(user_id, before))
