"""What others may know of wallets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument

AMOUNT_MAX = 2**63 - 1
"""The most of one asset that a wallet holds, in minor units."""
ASSET_CHARS_MAX = 64
ASSETS_MAX = 1_000
"""Most assets in one wallet."""
KEY_CHARS_MAX = 128
METADATA_BYTES_MAX = 65_536
PAGE_ENTRIES_MAX = 100


class WalletChange(msgspec.Struct, frozen=True):
    """A change that was made: all assets of the wallet before and after it, zeroes included."""

    previous: dict[str, int]
    updated: dict[str, int]


class WalletEntry(msgspec.Struct, frozen=True):
    """One line of a wallet's history, newest first. `metadata` is a JSON object."""

    id: str
    user_id: str
    changeset: dict[str, int]
    metadata: dict[str, Any]
    created_at: datetime


class WalletPage(msgspec.Struct, frozen=True):
    """A page of history; `cursor` leads to the next one, "" at the end."""

    entries: tuple[WalletEntry, ...]
    cursor: str


class InsufficientFunds(FailedPrecondition):
    """The change would make an asset negative; nothing was changed."""


class WalletFull(FailedPrecondition):
    """The change would push an asset beyond AMOUNT_MAX, or the wallet beyond ASSETS_MAX; nothing was changed."""


class BadChange(InvalidArgument):
    """A change, key, metadata or page size that no wallet takes; the message says which and why."""


class BadCursor(InvalidArgument):
    """A cursor that was not given out for this wallet's history."""

    def __init__(self, message: str = "Malformed cursor was used.") -> None:
        super().__init__(message)


class ChangeConflict(AlreadyExists):
    """The key was used before, for a different change."""


class HasId(Protocol):
    """Anything that names a player by `id`."""

    @property
    def id(self) -> str: ...


class Wallets(Protocol):
    """Wallets, as game modules see them (`ctx.wallet`). A player is given as id or as `ctx.player`."""

    async def get(self, player: str | HasId) -> Mapping[str, int]:
        """Asset → amount in minor units; empty for a player without any. One batched round trip."""
        ...

    async def change(
        self,
        player: str | HasId,
        changes: Mapping[str, int],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletChange:
        """Add to (or with negative amounts take from) a wallet, all or nothing.

        With a `key`, unique per player, the change happens once for ever: repeating it returns the first answer.
        Changes of one wallet follow each other, those of different wallets share their round trips and their commit.
        Raises InsufficientFunds, WalletFull, ChangeConflict, AccountNotFound, BadChange.
        """
        ...

    async def history(self, player: str | HasId, limit: int = 100, cursor: str = "") -> WalletPage:
        """Changes of a wallet, newest first, `limit` 1–100. One round trip. Raises BadCursor, BadChange."""
        ...

    async def of_many(self, user_ids: Iterable[str]) -> dict[str, Mapping[str, int]]:
        """The wallets of several players by their ids, empty ones too. One batched round trip."""
        ...
