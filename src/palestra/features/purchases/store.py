"""The rows of purchases and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from palestra.core.config import DatabaseSettings
from palestra.core.ids import SYSTEM_USER
from palestra.database.lookup import Lookups, by_limit
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.purchases import rules
from palestra.features.purchases.contract import Environment, Purchase, Refund, Sale, Store, Subscription, Term
from palestra.features.purchases.rules import Position

SQL = load_queries(__file__)
SUBSCRIPTION = (
    "store",
    "original_id",
    "player_id",
    "product_id",
    "environment",
    "response",
    "notification",
    "purchase_time",
    "create_time",
    "update_time",
    "expiry_time",
    "refund_time",
    "stated_at",
)
"""The columns of a subscription in lists."""


class Stated(NamedTuple):
    """A subscription after its store's word was written, and whether that word was of a new refund of somebody's."""

    subscription: Subscription
    refunded: bool


class PurchaseStore:
    """Reads and writes the tables of purchases and subscriptions."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._database = database
        lookups = Lookups("purchases.lookup", database, settings)
        self._older = lookups.of(SQL["older_subscriptions"], by_limit)
        self._newer = lookups.of(SQL["newer_subscriptions"], by_limit)
        self.batches = [*lookups.batches]

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    # -- purchases

    async def touch(self, player_id: str, store: Store, transactions: list[str], now: datetime) -> list[Purchase]:
        """Purchases that are kept already, seen again. One round trip."""
        rows = await self._database.fetch(SQL["touch"], store, transactions, player_id, now)
        return [_purchase(row, seen_before=True) for row in rows]

    async def keep(self, tx: asyncpg.Connection, player_id: str, sale: Sale, now: datetime) -> bool:
        """Keep a purchase in the given transaction; False if there is one of its transaction already."""
        created = await tx.fetchval(
            SQL["keep"],
            sale.store,
            sale.transaction_id,
            player_id,
            sale.product_id,
            sale.quantity,
            sale.environment,
            sale.response,
            sale.purchased_at,
            now,
            sale.refunded_at,
        )
        return created is not None

    async def refund(self, tx: asyncpg.Connection, sale: Sale, at: datetime, now: datetime) -> Refund | None:
        """Note that a kept purchase was refunded; what that was if it is news."""
        row = await tx.fetchrow(SQL["refund"], sale.store, sale.transaction_id, at, now)
        if row is None:
            return None
        return Refund(
            sale.store,
            sale.transaction_id,
            row["player_id"],
            row["product_id"],
            row["quantity"],
            at,
            Environment(row["environment"]),
        )

    async def reverse_refund(self, store: Store, transaction_id: str, now: datetime) -> None:
        """Take a refund back. One round trip."""
        await self._database.execute(SQL["reverse_refund"], store, transaction_id, now)

    async def get(self, store: Store, transaction_id: str) -> Purchase | None:
        """One purchase. One round trip."""
        row = await self._database.fetchrow(SQL["get"], store, transaction_id)
        return None if row is None else _purchase(row)

    async def list_of(self, at: Position, limit: int) -> list[Purchase]:
        """Up to `limit` purchases behind a position, newest first. One round trip."""
        return [
            _purchase(row)
            for row in await self._database.fetch(SQL["list"], at.player_id, at.at, at.store, at.id, limit)
        ]

    # -- subscriptions

    async def state(
        self, tx: asyncpg.Connection, term: Term, player_id: str | None, notification: str | None, now: datetime
    ) -> Stated:
        """Write what a store says, unless it said something newer before, in the given transaction.

        `player_id` is who brought it, None for the store itself. Up to six round trips.
        """
        key = (term.store, term.original_id)
        owner, refunded = player_id, False
        while (known := await tx.fetchrow(SQL["lock_subscription"], *key)) is None:
            await tx.execute(
                SQL["keep_subscription"],
                *key,
                player_id or SYSTEM_USER,
                term.product_id,
                term.environment,
                term.response,
                notification or "",
                term.purchased_at,
                now,
                term.expires_at,
                term.refunded_at,
                term.stated_at,
            )
        if known["player_id"] != SYSTEM_USER:
            owner = None
        if known["stated_at"] <= term.stated_at:
            refund_time = rules.refund_after(known["refund_time"], known["expiry_time"], term)
            refunded = refund_time is not None and known["refund_time"] is None and known["player_id"] != SYSTEM_USER
            await tx.execute(
                SQL["renew"],
                *key,
                term.product_id,
                term.environment,
                term.response,
                term.purchased_at,
                term.expires_at,
                refund_time,
                term.stated_at,
            )
        if term.supersedes:
            await tx.execute(SQL["supersede"], term.store, term.supersedes, term.stated_at)
        row = await tx.fetchrow(SQL["claim"], *key, owner, notification, now)
        assert row is not None, "it is locked"
        return Stated(_subscription(row, now), refunded)

    async def subscription_of(self, player_id: str, product_id: str, now: datetime) -> Subscription | None:
        """A player's subscription of a product. One round trip."""
        row = await self._database.fetchrow(SQL["subscription_of"], player_id, product_id)
        return None if row is None else _subscription(row, now)

    async def subscriptions_of(self, at: Position, limit: int, now: datetime) -> list[Subscription]:
        """Up to `limit` subscriptions beyond a position, nearest first. One round trip."""
        read = self._older if at.ahead else self._newer
        rows = await read(at.player_id, at.at, at.store, at.id, limit)
        return [_subscription(dict(zip(SUBSCRIPTION, row, strict=True)), now) for row in rows]

    async def forget(self, tx: asyncpg.Connection, player_id: str) -> None:
        """Give what a player has to nobody, in the given transaction."""
        await tx.execute(SQL["forget_purchases"], player_id)
        await tx.execute(SQL["forget_subscriptions"], player_id)


def _purchase(row: asyncpg.Record, *, seen_before: bool = False) -> Purchase:
    sale = Sale(
        store=Store(row["store"]),
        transaction_id=row["transaction_id"],
        product_id=row["product_id"],
        purchased_at=row["purchase_time"],
        environment=Environment(row["environment"]),
        response=row["response"],
        quantity=row["quantity"],
        refunded_at=row["refund_time"],
    )
    return Purchase(
        player_id=row["player_id"],
        sale=sale,
        created_at=row["create_time"],
        updated_at=row["update_time"],
        seen_before=seen_before,
    )


def _subscription(row: Mapping[str, Any] | asyncpg.Record, now: datetime) -> Subscription:
    term = Term(
        store=Store(row["store"]),
        original_id=row["original_id"],
        product_id=row["product_id"],
        purchased_at=row["purchase_time"],
        expires_at=row["expiry_time"],
        environment=Environment(row["environment"]),
        response=row["response"],
        stated_at=row["stated_at"],
        refunded_at=row["refund_time"],
    )
    return Subscription(
        player_id=row["player_id"],
        term=term,
        active=rules.is_active(term.expires_at, term.refunded_at, now),
        notification=row["notification"],
        created_at=row["create_time"],
        updated_at=row["update_time"],
    )
