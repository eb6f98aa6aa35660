"""The HTTP operations of purchases: decode, call, encode."""

from __future__ import annotations

from palestra.features.purchases import wire
from palestra.features.purchases.contract import PAGE_MAX, Store
from palestra.features.purchases.notices import Notices
from palestra.features.purchases.rules import is_signed
from palestra.features.purchases.service import PurchaseService
from palestra.gateway.operation import Call


class PurchaseRoutes:
    """Handlers of the endpoints under /v2/iap."""

    def __init__(self, purchases: PurchaseService, notices: Notices) -> None:
        self._purchases = purchases
        self._notices = notices

    # -- purchases

    async def validate_apple(self, call: Call, request: wire.AppleReceipt) -> wire.ValidatedPurchases:
        """A purchase in the App Store."""
        told = is_signed(request.receipt)
        return await self._validate(call, Store.APPLE, request.receipt, request.persist, refund_time=told)

    async def validate_google(self, call: Call, request: wire.GooglePurchase) -> wire.ValidatedPurchases:
        """A purchase in Google Play."""
        return await self._validate(call, Store.GOOGLE, request.purchase, request.persist)

    async def validate_huawei(self, call: Call, request: wire.HuaweiPurchase) -> wire.ValidatedPurchases:
        """A purchase in AppGallery."""
        return await self._validate(call, Store.HUAWEI, request.purchase, request.persist, request.signature)

    async def validate_facebook_instant(self, call: Call, request: wire.InstantPurchase) -> wire.ValidatedPurchases:
        """A purchase in an instant game."""
        return await self._validate(call, Store.FACEBOOK_INSTANT, request.signed_request, request.persist)

    async def validate_samsung(self, call: Call, request: wire.SamsungPurchase) -> wire.ValidatedPurchases:
        """A purchase in the Galaxy Store."""
        return await self._validate(call, Store.SAMSUNG, request.purchase_id, request.persist)

    async def _validate(
        self,
        call: Call,
        store: Store,
        receipt: str,
        persist: bool | None,
        signature: str = "",
        *,
        refund_time: bool = False,
    ) -> wire.ValidatedPurchases:
        user_id, keep = call.player.user_id, persist is not False
        found = await self._purchases.validate(user_id, store, receipt, signature=signature, persist=keep)
        return wire.ValidatedPurchases(
            [wire.purchase_of(one, user_id, always_refund_time=refund_time) for one in found]
        )

    # -- subscriptions

    async def validate_subscription_apple(self, call: Call, request: wire.AppleReceipt) -> wire.SubscriptionAnswer:
        """A subscription of the App Store."""
        return await self._validate_subscription(call, Store.APPLE, request.receipt, request.persist)

    async def validate_subscription_google(self, call: Call, request: wire.GoogleReceipt) -> wire.SubscriptionAnswer:
        """A subscription of Google Play."""
        return await self._validate_subscription(call, Store.GOOGLE, request.receipt, request.persist)

    async def _validate_subscription(
        self, call: Call, store: Store, receipt: str, persist: bool | None
    ) -> wire.SubscriptionAnswer:
        user_id, keep = call.player.user_id, persist is not False
        found = await self._purchases.validate_subscription(user_id, store, receipt, persist=keep)
        return wire.SubscriptionAnswer(wire.subscription_of(found, user_id, wire.refund_time_of(found)))

    async def list_subscriptions(self, call: Call, request: wire.SubscriptionsRequest) -> wire.SubscriptionList:
        """The caller's subscriptions."""
        user_id = call.player.user_id
        limit = PAGE_MAX if request.limit is None else request.limit
        page = await self._purchases.subscriptions(user_id, limit, request.cursor)
        shown = [
            wire.subscription_of(one, user_id, wire.refund_time_of(one) or wire.NEVER) for one in page.subscriptions
        ]
        return wire.SubscriptionList(shown, page.cursor, page.prev_cursor)

    async def get_subscription(self, call: Call, request: wire.SubscriptionRequest) -> wire.ValidatedSubscription:
        """The caller's subscription of a product."""
        user_id = call.player.user_id
        return wire.subscription_of(await self._purchases.subscription(user_id, request.product_id), user_id, None)

    # -- the stores' servers

    async def notify_apple(self, call: Call, request: wire.AppleNotification) -> None:
        """What the App Store's servers tell."""
        await self._notices.from_apple(request.signed_payload)

    async def notify_google(self, call: Call, request: wire.GoogleNotification) -> None:
        """What Google's servers tell."""
        given = [value.decode("latin-1") for name, value in call.headers or () if name == b"authorization"]
        await self._notices.from_google(given[0] if len(given) == 1 else "", request.message.data)
