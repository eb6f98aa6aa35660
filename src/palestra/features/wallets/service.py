"""What can be done with wallets; implements the contract's `Wallets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from palestra.core.ids import new_id, parse_id
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.wallets import rules
from palestra.features.wallets.contract import PAGE_ENTRIES_MAX, BadChange, HasId, WalletChange, WalletPage
from palestra.features.wallets.store import WalletStore


class WalletService:
    """Wallets for game code and for the account's own view."""

    def __init__(self, store: WalletStore) -> None:
        self._store = store

    async def get(self, player: str | HasId) -> Mapping[str, int]:
        """See Wallets.get."""
        user_id = _id_of(player)
        return (await self._store.read((user_id,)))[user_id]

    async def of_many(self, user_ids: Iterable[str]) -> dict[str, Mapping[str, int]]:
        """See Wallets.of_many."""
        ids = [_id_of(user_id) for user_id in user_ids]
        return {**await self._store.read(ids)} if ids else {}

    async def change(
        self,
        player: str | HasId,
        changes: Mapping[str, int],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> WalletChange:
        """See Wallets.change."""
        return await self._store.change(rules.change_of(new_id(), _id_of(player), changes, key, metadata))

    async def history(self, player: str | HasId, limit: int = PAGE_ENTRIES_MAX, cursor: str = "") -> WalletPage:
        """See Wallets.history."""
        if not 1 <= limit <= PAGE_ENTRIES_MAX:
            raise BadChange(f"A page of history has 1 to {PAGE_ENTRIES_MAX} entries.")
        user_id = _id_of(player)
        # One more than asked for tells whether there is a next page.
        found = await self._store.history(rules.position_of(user_id, cursor), limit + 1)
        if len(found) <= limit:
            return WalletPage(tuple(found), "")
        last = found[limit - 1]
        return WalletPage(tuple(found[:limit]), rules.cursor_of(rules.Position(user_id, last.created_at, last.id)))

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete a player's history in the transaction that deletes the account. One round trip."""
        await self._store.forget(tx, user_id)


def _id_of(player: str | HasId) -> str:
    try:
        return parse_id(player if isinstance(player, str) else player.id)
    except ValueError:
        raise AccountNotFound from None
