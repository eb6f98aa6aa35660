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
"""Most assets that one change names."""
KEY_CHARS_MAX = 128
METADATA_BYTES_MAX = 16_384
PAGE_ENTRIES_MAX = 100
HOLD_SECONDS = 24 * 3600.0
"""How long money is held unless it is said otherwise."""
HOLD_SECONDS_MAX = 366 * 24 * 3600.0


class WalletChange(msgspec.Struct, frozen=True):
    """A change that was made: what was available of each asset that it names, before and after it."""

    previous: dict[str, int]
    updated: dict[str, int]


class WalletEntry(msgspec.Struct, frozen=True):
    """One entry of a wallet's history, newest first: by how much it changed what was available.

    `metadata` is a JSON object. `kind` tells what it was, such as "wallet.change", "wallet.hold" or what another
    feature calls its own.
    """

    id: str
    user_id: str
    changeset: dict[str, int]
    metadata: dict[str, Any]
    created_at: datetime
    kind: str
    reference: str


class WalletPage(msgspec.Struct, frozen=True):
    """A page of history; `cursor` leads to the next one, "" at the end."""

    entries: tuple[WalletEntry, ...]
    cursor: str


class WalletHold(msgspec.Struct, frozen=True):
    """Money that is set aside: it is not available, and not gone until the hold is posted. Unix seconds."""

    id: str
    user_id: str
    asset: str
    amount: int
    expires_at: int


class InsufficientFunds(FailedPrecondition):
    """The change would make an asset negative; nothing was changed."""


class WalletFull(FailedPrecondition):
    """The change would push an asset beyond AMOUNT_MAX; nothing was changed."""


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
    """Wallets, as game modules see them (`ctx.wallet`): the player's accounts in the ledger, asset by asset.

    A player is given as id or as `ctx.player`. What is granted comes from the system account "mint" of its asset, what
    is taken goes back there, so that the books always balance. What changes something takes a `key`: with it, unique
    per player, the change happens once for ever, and repeating it returns the first answer.

    They raise InsufficientFunds, WalletFull, ChangeConflict, AccountNotFound, BadChange: nothing was changed.
    """

    async def get(self, player: str | HasId) -> Mapping[str, int]:
        """Asset → amount available, in minor units; empty for a player without any. One batched round trip."""
        ...

    async def change(
        self,
        player: str | HasId,
        changes: Mapping[str, int],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletChange:
        """Add to (or with negative amounts take from) a wallet, all or nothing. Assets are declared at first use.

        Changes of all players share their round trips and their commits.
        """
        ...

    async def change_many(
        self,
        changes: Mapping[str, Mapping[str, int]],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, WalletChange]:
        """The same for several players by their ids, all or nothing together. The key is unique among such changes."""
        ...

    async def transfer(
        self,
        source: str | HasId,
        target: str | HasId,
        amounts: Mapping[str, int],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletChange:
        """Move amounts above zero from one wallet to another, all or nothing; answers for the source.

        The key is unique per source.
        """
        ...

    async def hold(
        self,
        player: str | HasId,
        asset: str,
        amount: int,
        *,
        key: str | None = None,
        seconds: float = HOLD_SECONDS,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletHold:
        """Set an amount aside until it is posted, voided, or the time is over."""
        ...

    async def post(self, player: str | HasId, hold_id: str, amount: int | None = None) -> None:
        """Take what `hold` set aside of this player's, or a part; the rest is available again.

        Doing the same again changes nothing. Raises HoldNotOpen (of ledger) when there is no such hold of the player's,
        or it is over in another way. Holds of other features, such as stakes of rounds, are theirs to end.
        """
        ...

    async def void(self, player: str | HasId, hold_id: str) -> None:
        """Give back what `hold` set aside of this player's, likewise."""
        ...

    async def history(self, player: str | HasId, limit: int = 100, cursor: str = "") -> WalletPage:
        """What changed a wallet, newest first, `limit` 1–100. Two round trips. Raises BadCursor, BadChange."""
        ...

    async def of_many(self, user_ids: Iterable[str]) -> dict[str, Mapping[str, int]]:
        """The wallets of several players by their ids, empty ones too. One batched round trip."""
        ...
