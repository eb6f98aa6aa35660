"""What can be done with purchases; implements the contract's `Purchases`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import asyncpg
import msgspec

from palestra.core.clock import Clock, utc
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.core.log import get_logger
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import Asset, Entry, Ledger, Owner, OwnerKind, Transfer, UnknownAsset
from palestra.features.purchases import rules
from palestra.features.purchases.contract import (
    PAGE_MAX,
    BadGrant,
    NotConfigured,
    Purchase,
    PurchaseGames,
    PurchaseNotFound,
    PurchasePage,
    Refund,
    Sale,
    Seller,
    Store,
    Subscription,
    SubscriptionNotFound,
    SubscriptionPage,
    Term,
    TermSeller,
)
from palestra.features.purchases.store import PurchaseStore
from palestra.jobs.contract import Jobs

SOURCE = "purchases"
"""The system account that grants come from; the less it has, the more was sold."""
REFUND_JOB = "purchases.refund"
BAD_CURSOR = "purchases list cursor invalid"
BAD_SUBSCRIPTION_CURSOR = "subscriptions list cursor invalid"
log = get_logger(__name__)


class Sellers(msgspec.Struct, frozen=True):
    """The stores of a node."""

    purchases: Mapping[Store, Seller]
    subscriptions: Mapping[Store, TermSeller]


class PurchaseService:
    """Purchases for players, for game code and for the stores' notifications."""

    def __init__(
        self,
        sellers: Sellers,
        store: PurchaseStore,
        database: Database,
        ledger: Ledger,
        games: PurchaseGames,
        jobs: Jobs,
        clock: Clock,
    ) -> None:
        self._sellers = sellers
        self._store = store
        self._database = database
        self._ledger = ledger
        self._games = games
        self._jobs = jobs
        self._clock = clock

    def _now(self) -> datetime:
        return utc(self._clock.now())

    # -- purchases

    async def validate(
        self, player_id: str, store: Store, receipt: str, *, signature: str = "", persist: bool = True
    ) -> list[Purchase]:
        """See Purchases.validate."""
        player_id = _id_of(player_id)
        sales = await self._sellers.purchases[store].sales(receipt, signature)
        if not persist:
            return [Purchase(player_id=player_id, sale=sale) for sale in sales]
        seen = await self._seen(player_id, store, sales)
        return [seen.get(sale.transaction_id) or await self._keep(player_id, sale) for sale in sales]

    async def _seen(self, player_id: str, store: Store, sales: list[Sale]) -> dict[str, Purchase]:
        """Those of the sales that are kept already; of refunds among them the games are told."""
        found = await self._store.touch(player_id, store, [sale.transaction_id for sale in sales], self._now())
        seen = {purchase.sale.transaction_id: purchase for purchase in found}
        for sale in sales:
            known = seen.get(sale.transaction_id)
            if known is not None and sale.refunded_at is not None and known.sale.refunded_at is None:
                await self.refunded(sale, sale.refunded_at)
                seen[sale.transaction_id] = msgspec.structs.replace(known, sale=sale)
        return seen

    async def _keep(self, player_id: str, sale: Sale) -> Purchase:
        """Keep a purchase and grant what it is worth, both or neither. Of two at once one grants."""
        now = self._now()
        purchase = Purchase(player_id=player_id, sale=sale, created_at=now, updated_at=now)
        grant = None if sale.refunded_at else await self._grant(purchase)
        async with self._database.transaction() as tx:
            kept = await self._store.keep(tx, player_id, sale, now)
            if kept and grant is not None:
                await self._ledger.submit(grant, tx=tx)
        if kept:
            log.info("purchase kept", store=sale.store.name, product=sale.product_id, player=player_id)
            return purchase
        return (await self._seen(player_id, sale.store, [sale]))[sale.transaction_id]

    async def _grant(self, purchase: Purchase) -> Entry | None:
        """What the games give for a purchase, as an entry of the ledger; None for nothing."""
        grants = rules.checked_grants(await self._games.grants_of(purchase))
        name = rules.ledger_name(purchase.sale.store, purchase.sale.transaction_id)
        steps = []
        for asset, amount in grants.items():
            await self._require_virtual(asset)
            source = await self._ledger.open(Owner(OwnerKind.SYSTEM, SOURCE, asset), may_go_negative=True, hot=True)
            account = await self._ledger.open(Owner(OwnerKind.PLAYER, purchase.player_id, asset))
            steps.append(Transfer(source.id, account.id, amount, "purchase", name))
        return Entry(name, tuple(steps)) if steps else None

    async def _require_virtual(self, code: str) -> None:
        """Make an asset known at its first use. Raises BadGrant for money, which nobody may make from nothing."""
        try:
            asset = await self._ledger.asset(code)
        except UnknownAsset:
            await self._ledger.declare(asset := Asset(code))
        if asset.kind == "money":
            raise BadGrant(f"{code} is money, which nobody makes from nothing: a purchase cannot grant it.")

    async def get(self, store: Store, transaction_id: str) -> Purchase:
        """See Purchases.get."""
        found = None if "\0" in transaction_id else await self._store.get(store, transaction_id)
        if found is None:
            raise PurchaseNotFound("purchase not found")
        return found

    async def list(self, player_id: str, limit: int = PAGE_MAX, cursor: str = "") -> PurchasePage:
        """See Purchases.list."""
        rules.check_page(limit)
        start = rules.position_of(_id_of(player_id), cursor, BAD_CURSOR)
        # One more than asked for tells whether there is a next page.
        found = await self._store.list_of(start, limit + 1)
        more = len(found) > limit
        return PurchasePage(found[:limit], rules.purchase_cursor(start.player_id, found[limit - 1]) if more else "")

    # -- subscriptions

    async def validate_subscription(
        self, player_id: str, store: Store, receipt: str, *, persist: bool = True
    ) -> Subscription:
        """See Purchases.validate_subscription."""
        seller = self._sellers.subscriptions.get(store)
        if seller is None:
            raise NotConfigured(f"{store.name.replace('_', ' ').title()} subscription")
        player_id = _id_of(player_id)
        term = await seller.term(receipt)
        if persist:
            return await self.stated(term, player_id=player_id)
        active = rules.is_active(term.expires_at, term.refunded_at, self._now())
        return Subscription(player_id=player_id, term=term, active=active)

    async def subscription(self, player_id: str, product_id: str) -> Subscription:
        """See Purchases.subscription."""
        found = None
        if "\0" not in product_id:
            found = await self._store.subscription_of(_id_of(player_id), product_id, self._now())
        if found is None:
            raise SubscriptionNotFound("subscription not found")
        return found

    async def subscriptions(self, player_id: str, limit: int = PAGE_MAX, cursor: str = "") -> SubscriptionPage:
        """See Purchases.subscriptions."""
        rules.check_page(limit)
        start = rules.position_of(_id_of(player_id), cursor, BAD_SUBSCRIPTION_CURSOR)
        found = await self._store.subscriptions_of(start, limit + 1, self._now())
        return SubscriptionPage(*rules.subscription_page(start, bool(cursor), found, limit))

    # -- what stores say later

    async def stated(
        self, term: Term, *, player_id: str | None = None, notification: str | None = None
    ) -> Subscription:
        """Write what a store says of a subscription; of a refund the games are told. One transaction."""
        async with self._database.transaction() as tx:
            stated = await self._store.state(tx, term, player_id, notification, self._now())
            if stated.refunded:
                await self._tell(tx, _refund_of(stated.subscription))
        return stated.subscription

    async def refunded(self, sale: Sale, at: datetime) -> None:
        """Note that a purchase was refunded, also one that nobody brought yet: it will grant nothing."""
        now = self._now()
        unclaimed = msgspec.structs.replace(sale, refunded_at=at)
        async with self._database.transaction() as tx:
            if await self._store.keep(tx, SYSTEM_USER, unclaimed, now):
                return
            refund = await self._store.refund(tx, sale, at, now)
            if refund is not None and refund.player_id != SYSTEM_USER:
                await self._tell(tx, refund)

    async def refund_reversed(self, sale: Sale) -> None:
        """Note that a store took a refund back. One round trip."""
        await self._store.reverse_refund(sale.store, sale.transaction_id, self._now())

    async def _tell(self, tx: asyncpg.Connection, refund: Refund) -> None:
        log.info("refund", store=refund.store.name, product=refund.product_id, player=refund.player_id)
        await self._jobs.enqueue(tx, REFUND_JOB, refund)

    async def tell_refund(self, refund: Refund) -> None:
        """The job: hand a refund to the games."""
        await self._games.handle_refund(refund)

    async def forget(self, tx: asyncpg.Connection, player_id: str) -> None:
        """Keep what a player bought, but without the player, in the transaction that deletes the account."""
        await self._store.forget(tx, player_id)


def _refund_of(subscription: Subscription) -> Refund:
    term = subscription.term
    if term.refunded_at is None:
        raise RuntimeError("this subscription is not refunded")
    return Refund(
        term.store,
        term.original_id,
        subscription.player_id,
        term.product_id,
        1,
        term.refunded_at,
        term.environment,
        subscription=True,
    )


def _id_of(player_id: str) -> str:
    try:
        return parse_id(player_id)
    except ValueError:
        raise AccountNotFound from None
