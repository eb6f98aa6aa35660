"""The register: assets and accounts, opened at first use, and what accounts have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from palestra.core.config import DatabaseSettings
from palestra.core.ids import parse_id
from palestra.core.text import storable
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import (
    ASSET_CHARS_MAX,
    NAME_CHARS_MAX,
    SCALE_MAX,
    Account,
    Asset,
    AssetConflict,
    BadAsset,
    BadEntry,
    Balance,
    MoneyLeft,
    Owner,
    OwnerKind,
    UnknownAccount,
    UnknownAsset,
)
from palestra.features.ledger.rules import fits

SQL = load_queries(__file__)
KNOWN_MAX = 100_000
"""Accounts that are remembered by their owners."""
READ_BYTES = 256
"""What the accounts of one player count in a round trip."""
READ_LANES = 2
ATTEMPTS_MAX = 3
_UNKNOWN_PLAYER = "ledger_accounts_player_id_fkey"


class _Wanted:
    """An account to be opened: its owner, and how it is opened if it is not there."""

    __slots__ = ("hot", "may_go_negative", "owner")

    def __init__(self, owner: Owner, may_go_negative: bool, hot: bool) -> None:
        self.owner = owner
        self.may_go_negative = may_go_negative or hot
        self.hot = hot


class Register:
    """Reads and writes rows of `ledger_assets` and `ledger_accounts`, which never change, and reads balances."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._database = database
        self._known: OrderedDict[Owner, Account] = OrderedDict()
        self._opening: Batch[_Wanted, Account] = Batch(
            "ledger.open",
            database,
            self._open,
            key=lambda wanted: wanted.owner,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            idempotent=True,
        )
        self._reads: Batch[Sequence[str], dict[str, dict[str, Balance]]] = Batch(
            "ledger.balances",
            database,
            _balances,
            size_bytes=lambda ids: len(ids) * READ_BYTES,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            lanes=READ_LANES,
            idempotent=True,
        )
        self.batches = [self._opening, self._reads]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    # -- assets

    async def declare(self, asset: Asset) -> None:
        """See Ledger.declare."""
        if not 1 <= len(asset.code) <= ASSET_CHARS_MAX or not storable(asset.code):
            raise BadAsset(f"An asset is named by 1 to {ASSET_CHARS_MAX} characters, not {asset.code!r:.100}.")
        if type(asset.scale) is not int or not 0 <= asset.scale <= SCALE_MAX:
            raise BadAsset(f"The scale of an asset is a whole number from 0 to {SCALE_MAX}.")
        if asset.kind not in ("virtual", "money"):
            raise BadAsset(f'The kind of an asset is "virtual" or "money", not {asset.kind!r:.100}.')
        if await self._database.execute(SQL["declare"], asset.code, asset.scale, asset.kind) == "INSERT 0 1":
            return
        known = await self.asset(asset.code)
        if known != asset:
            raise AssetConflict(f"The asset {asset.code} is declared already, as {known.kind} of scale {known.scale}.")

    async def asset(self, code: str) -> Asset:
        """One asset. One round trip. Raises UnknownAsset."""
        row = await self._database.fetchrow(SQL["asset"], code)
        if row is None:
            raise UnknownAsset(f"There is no asset {code!r:.100}: declare it first.")
        return Asset(*row)

    async def assets(self) -> list[Asset]:
        """See Ledger.assets."""
        return [Asset(*row) for row in await self._database.fetch(SQL["assets"])]

    # -- accounts

    def known(self, owner: Owner) -> Account | None:
        """The account of an owner, if this node has met it."""
        return self._known.get(owner)

    async def open(self, owner: Owner, *, may_go_negative: bool, hot: bool) -> Account:
        """See Ledger.open."""
        account = self._known.get(owner)
        if account is not None:
            return account
        if owner.kind is OwnerKind.PLAYER:
            try:
                owner = Owner(owner.kind, parse_id(owner.name), owner.asset)
            except ValueError:
                raise AccountNotFound from None
            if hot:
                raise BadEntry("A player's account is no hot one: what it has is read from one row.")
        elif not 1 <= len(owner.name) <= NAME_CHARS_MAX or not storable(owner.name):
            raise BadEntry(f"The owner of an account is named by 1 to {NAME_CHARS_MAX} characters.")
        if not storable(owner.asset):
            raise UnknownAsset(f"There is no asset {owner.asset!r:.100}: declare it first.")
        account = await self._opening.submit(_Wanted(owner, may_go_negative, hot))
        self._known[owner] = account
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return account

    async def _open(self, connection: asyncpg.Connection, wanted: list[_Wanted]) -> list[Account | Exception]:
        found: dict[Owner, Account] = {}
        for _ in range(ATTEMPTS_MAX):
            try:
                rows = await connection.fetch(SQL["open_accounts"], *_columns(wanted))
            except asyncpg.ForeignKeyViolationError as error:
                if len(wanted) > 1:
                    raise
                return [_stranger(error, wanted[0].owner)]
            found = {account.owner: account for account in map(_account, rows)}
            if len(found) == len(wanted):
                break
        missing = UnknownAccount("The account is being opened elsewhere; try again.")
        return [found.get(one.owner, missing) for one in wanted]

    async def accounts_of(self, player_id: str) -> list[Account]:
        """See Ledger.accounts_of."""
        return [_account(row) for row in await self._database.fetch(SQL["accounts_of"], player_id)]

    async def accounts(self, account_ids: Iterable[int]) -> dict[int, Account]:
        """See Ledger.accounts."""
        rows = await self._database.fetch(SQL["accounts"], list(filter(fits, account_ids)))
        return {row["id"]: _account(row) for row in rows}

    async def forget(self, tx: asyncpg.Connection, player_id: str) -> list[int]:
        """Close the accounts of a player who goes, with what is in them; their ids. Three round trips.

        Raises MoneyLeft: what is virtual may be left behind, real money may not.
        """
        money = [row["asset"] for row in await tx.fetch(SQL["money_of"], player_id)]
        if money:
            raise MoneyLeft(f"The player still has {', '.join(money)}: pay it out before the account is deleted.")
        rows = await tx.fetch(SQL["accounts_of"], player_id)
        await tx.execute(SQL["close_accounts_of"], player_id)
        for account in map(_account, rows):
            self._known.pop(account.owner, None)
        return [row["id"] for row in rows]

    # -- balances

    async def balance(self, account_id: int) -> Balance:
        """See Ledger.balance."""
        row = await self._database.fetchrow(SQL["balance"], account_id) if fits(account_id) else None
        if row is None:
            raise UnknownAccount(f"There is no account {account_id}.")
        # The rows of a hot account together may need more than 64 bits.
        return Balance(int(row[0]), int(row[1]), row[2])

    async def balances_of(self, player_ids: Sequence[str]) -> dict[str, dict[str, Balance]]:
        """Every player's accounts by asset, in a round trip shared with others."""
        return await self._reads.submit(player_ids)


def _columns(wanted: Sequence[_Wanted]) -> list[list[Any]]:
    owners = [one.owner for one in wanted]
    return [
        [owner.kind for owner in owners],
        [owner.name if owner.kind is OwnerKind.PLAYER else None for owner in owners],
        ["" if owner.kind is OwnerKind.PLAYER else owner.name for owner in owners],
        [owner.asset for owner in owners],
        [one.may_go_negative for one in wanted],
        [one.hot for one in wanted],
    ]


def _account(row: Any) -> Account:
    account_id, kind, player_id, name, asset, may_go_negative = row
    return Account(account_id, Owner(OwnerKind(kind), player_id or name, asset), may_go_negative, account_id < 0)


def _stranger(error: asyncpg.ForeignKeyViolationError, owner: Owner) -> Exception:
    if getattr(error, "constraint_name", "") == _UNKNOWN_PLAYER:
        return AccountNotFound()
    return UnknownAsset(f"There is no asset {owner.asset!r:.100}: declare it first.")


async def _balances(
    connection: asyncpg.Connection, requests: list[Sequence[str]]
) -> list[dict[str, dict[str, Balance]]]:
    wanted = {player_id for ids in requests for player_id in ids}
    found: dict[str, dict[str, Balance]] = {player_id: {} for player_id in wanted}
    for player_id, asset, total, held, closed in await connection.fetch(SQL["balances_of"], list(wanted)):
        found[player_id][asset] = Balance(total, held, closed)
    return [{player_id: dict(found[player_id]) for player_id in ids} for ids in requests]
