"""What others may know of wallets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import AlreadyExists, FailedPrecondition


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

        With a `key` the change happens once for ever: repeating it returns the first answer.
        Raises InsufficientFunds, ChangeConflict, AccountNotFound, InvalidArgument.
        """
        ...

    async def history(self, player: str | HasId, limit: int = 100, cursor: str = "") -> WalletPage:
        """Changes of a wallet, newest first, `limit` 1–100."""
        ...

    async def of_many(self, user_ids: Iterable[str]) -> dict[str, Mapping[str, int]]:
        """The wallets of several players."""
        ...
