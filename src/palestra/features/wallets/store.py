"""The rows of wallets: changes of many players in one transaction, reads in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import msgspec

from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.wallets.contract import (
    BadChange,
    ChangeConflict,
    InsufficientFunds,
    WalletChange,
    WalletEntry,
    WalletFull,
)
from palestra.features.wallets.rules import Change, Position, applied

SQL = load_queries(__file__)
READ_LANES = 2
CHANGE_BYTES = 256
"""What a change counts in a round trip beside its texts."""
READ_BYTES = 256
"""What a wallet to be read counts in a round trip."""

_encode = msgspec.json.encode
_decode_change = msgspec.json.Decoder(WalletChange).decode
_decode_amounts = msgspec.json.Decoder(dict[str, int]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode


class WalletStore:
    """Reads and writes rows of `wallets` and `wallet_changes`."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._database = database
        # One lane: with two, the rounds are half as large, and their six round trips are what a change costs.
        self._changes: Batch[Change, WalletChange] = Batch(
            "wallets.change",
            database,
            _change,
            key=lambda change: change.user_id,
            size_bytes=lambda change: CHANGE_BYTES + len(change.changeset) + len(change.metadata),
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
        )
        self._reads: Batch[Sequence[str], dict[str, dict[str, int]]] = Batch(
            "wallets.read",
            database,
            _read,
            size_bytes=lambda ids: len(ids) * READ_BYTES,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            lanes=READ_LANES,
            idempotent=True,
        )
        self.batches = [self._changes, self._reads]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    async def change(self, change: Change) -> WalletChange:
        """Make one change, in a transaction shared with changes of other players.

        Raises AccountNotFound, InsufficientFunds, WalletFull, ChangeConflict, BadChange.
        """
        try:
            return await self._changes.submit(change)
        except asyncpg.DataError:
            raise BadChange("The metadata holds text or numbers that cannot be stored.") from None

    async def read(self, ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """The wallets of players by id, in a round trip shared with others."""
        return await self._reads.submit(ids)

    async def history(self, after: Position, limit: int) -> list[WalletEntry]:
        """Up to `limit` entries behind a position. One round trip."""
        rows = await self._database.fetch(SQL["history"], after.user_id, after.created_at, after.id, limit)
        return [WalletEntry(row[0], row[1], _decode_amounts(row[2]), _decode_metadata(row[3]), row[4]) for row in rows]

    async def forget(self, tx: asyncpg.Connection, user_id: str) -> None:
        """Delete a player's history in the given transaction."""
        await tx.execute(SQL["forget"], user_id)


async def _read(connection: asyncpg.Connection, requests: list[Sequence[str]]) -> list[dict[str, dict[str, int]]]:
    wallets = await _wallets(connection, {user_id for ids in requests for user_id in ids})
    return [{user_id: dict(wallets[user_id]) for user_id in ids} for ids in requests]


async def _wallets(connection: asyncpg.Connection, ids: Iterable[str]) -> dict[str, dict[str, int]]:
    wallets: dict[str, dict[str, int]] = {user_id: {} for user_id in ids}
    for user_id, asset, amount in await connection.fetch(SQL["wallets"], list(wallets)):
        wallets[user_id][asset] = amount
    return wallets


async def _change(connection: asyncpg.Connection, changes: list[Change]) -> list[WalletChange | Exception]:
    """Make changes of different players: lock, look, decide each by itself, write what may happen. One transaction."""
    async with connection.transaction():
        users = [change.user_id for change in changes]
        locked = {row[0] for row in await connection.fetch(SQL["lock"], users)}
        wallets = await _wallets(connection, locked)
        earlier = await _earlier(connection, changes)
        outcomes: list[WalletChange | Exception] = []
        made: list[tuple[Change, WalletChange]] = []
        for change in changes:
            outcome = _decided(change, wallets.get(change.user_id), earlier.get(change.user_id))
            if isinstance(outcome, WalletChange) and change.user_id not in earlier:
                made.append((change, outcome))
            outcomes.append(outcome)
        if made:
            await _store(connection, made)
    return outcomes


def _decided(
    change: Change, balances: dict[str, int] | None, earlier: asyncpg.Record | None
) -> WalletChange | Exception:
    if balances is None:
        return AccountNotFound()
    if earlier is not None:
        if earlier["same"]:
            return _decode_change(earlier["result"])
        return ChangeConflict(f"The key {change.key!r} was used for a change of different content.")
    try:
        return WalletChange(balances, applied(balances, change.amounts))
    except (InsufficientFunds, WalletFull) as error:
        return error


async def _earlier(connection: asyncpg.Connection, changes: list[Change]) -> dict[str, asyncpg.Record]:
    # A change without a key of its own is known by its new id, under which nothing can stand.
    keyed = [change for change in changes if change.key != change.id]
    if not keyed:
        return {}
    rows = await connection.fetch(
        SQL["earlier"],
        [change.user_id for change in keyed],
        [change.key for change in keyed],
        [change.changeset for change in keyed],
        [change.metadata for change in keyed],
    )
    return {row[0]: row for row in rows}


async def _store(connection: asyncpg.Connection, made: list[tuple[Change, WalletChange]]) -> None:
    await connection.execute(
        SQL["record"],
        [change.id for change, _ in made],
        [change.user_id for change, _ in made],
        [change.key for change, _ in made],
        [change.changeset for change, _ in made],
        [change.metadata for change, _ in made],
        [_encode(outcome).decode() for _, outcome in made],
    )
    amounts = [(change.user_id, asset, outcome.updated[asset]) for change, outcome in made for asset in change.amounts]
    if amounts:
        users, assets, totals = zip(*amounts, strict=True)
        await connection.execute(SQL["set"], users, assets, totals)
