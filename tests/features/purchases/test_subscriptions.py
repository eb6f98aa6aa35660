"""Subscriptions as players notice them, and what the stores' servers tell of them and of refunds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from palestra import Context, Game, Refund
from palestra.core.config import JobSettings, Settings
from palestra.testing import Bot, Platform
from tests.features.purchases.fakes import (
    BUNDLE,
    DAY,
    Stores,
    apple_notice,
    apple_subscription,
    apple_transaction,
    chain,
    google_notice,
    issued,
    milliseconds,
    status_503,
)
from tests.features.purchases.shops import COINS, PASS, buy, coins, refusal, shop, subscribe, watching

EPOCH = "1970-01-01T00:00:00Z"
WAIT_SECONDS_MAX = 20


def receipt_of(stores: Stores, store: str, name: str, seconds: float = DAY) -> str:
    """A subscription's receipt that ends in so many seconds."""
    return apple_subscription(name, seconds) if store == "apple" else stores.google_subscription(name, seconds)


async def listed(bot: Bot, **body: Any) -> dict[str, Any]:
    return await bot.call("POST", "/v2/iap/subscription", body)


async def only(bot: Bot) -> dict[str, Any]:
    """The caller's one subscription as the list shows it."""
    (found,) = (await listed(bot))["validated_subscriptions"]
    return found


async def tell_apple(bot: Bot, kind: str, transaction: str) -> None:
    assert (
        await bot.call("POST", "/v2/iap/notification/apple", apple_notice(kind, transaction), authorization="-") == {}
    )


async def tell_google(bot: Bot, stores: Stores, **about: Any) -> None:
    body = google_notice(**about)
    assert await bot.call("POST", "/v2/iap/notification/google", body, authorization=stores.push()) == {}


@pytest.mark.parametrize("store", ["apple", "google"])
async def test_a_subscription_is_kept_once_and_stays_its_first_owners(
    platform: Platform, stores: Stores, store: str
) -> None:
    ann, ben = await platform.bot(), await platform.bot()
    receipt = receipt_of(stores, store, "s1")
    looked = await subscribe(ann, store, receipt, persist=False)
    assert (looked["user_id"], looked["active"]) == (ann.id, True)
    assert not {"create_time", "update_time"} & looked.keys()
    assert await listed(ann) == {}
    first = await subscribe(ann, store, receipt)
    assert (first["product_id"], first["original_transaction_id"], first["active"]) == (PASS, "s1", True)
    assert (first.get("store", 0), first["environment"]) == (0 if store == "apple" else 1, 2)
    assert "refund_time" not in first
    assert isinstance(json.loads(first["provider_response"]), dict)
    stolen = await subscribe(ben, store, receipt)
    assert (stolen["user_id"], stolen["create_time"]) == (ben.id, first["create_time"])
    assert await listed(ben) == {}
    assert await only(ann) == {**first, "update_time": stolen["update_time"], "refund_time": EPOCH}
    got = await ann.call("GET", f"/v2/iap/subscription/{PASS}")
    assert got == {**first, "update_time": stolen["update_time"]}
    missing = (404, 5, "subscription not found")
    assert await refusal(ben.call("GET", f"/v2/iap/subscription/{PASS}")) == missing
    assert await refusal(ann.call("GET", "/v2/iap/subscription/other")) == missing
    assert (await refusal(ann.call("GET", "/v2/iap/subscription")))[:2] == (501, 12)


async def test_receipts_of_the_wrong_kind_are_sent_elsewhere(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    purchase = (400, 9, "Purchase Receipt. Use the appropriate function instead.")
    subscription = (400, 9, "Subscription Receipt. Use the appropriate function instead.")
    assert await refusal(subscribe(ann, "apple", apple_transaction("1"))) == purchase
    assert await refusal(buy(ann, "apple", receipt=apple_subscription("1"))) == subscription
    stores.apple_verdicts["production"]["old"] = {"status": 0, "receipt": {"bundle_id": BUNDLE, "in_app": []}}
    assert await refusal(subscribe(ann, "apple", "old")) == purchase


async def test_an_old_receipt_of_apple_tells_the_latest_period(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()

    def period(transaction: str, seconds: float) -> dict[str, Any]:
        return {
            "transaction_id": transaction,
            "original_transaction_id": "first",
            "product_id": PASS,
            "purchase_date_ms": str(milliseconds(-60)),
            "expires_date_ms": str(milliseconds(seconds)),
        }

    stores.apple_verdicts["production"]["old"] = {
        "status": 0,
        "environment": "Sandbox",
        "receipt": {"bundle_id": BUNDLE, "in_app": [period("1", -DAY)]},
        "latest_receipt_info": [period("2", DAY), period("1", -DAY)],
    }
    found = await subscribe(ann, "apple", "old")
    assert (found["original_transaction_id"], found["active"], found["environment"]) == ("first", True, 1)


async def test_google_keeps_pending_and_test_subscriptions_apart(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    pending = stores.google_subscription("p", subscriptionState="SUBSCRIPTION_STATE_PENDING")
    assert (await refusal(subscribe(ann, "google", pending)))[:2] == (400, 9)
    tested = await subscribe(ann, "google", stores.google_subscription("t", -60, testPurchase={}))
    assert tested["environment"] == 1
    assert "active" not in tested
    assert tested["purchase_time"] == "2026-01-02T03:04:05Z"


async def test_a_subscription_that_took_anothers_place_ends_it(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    await subscribe(ann, "google", stores.google_subscription("small"))
    await subscribe(ann, "google", stores.google_subscription("large", linkedPurchaseToken="small"))
    found = (await listed(ann))["validated_subscriptions"]
    assert {one["original_transaction_id"]: one.get("active", False) for one in found} == {
        "small": False,
        "large": True,
    }


async def test_the_list_goes_by_pages_both_ways(platform: Platform) -> None:
    ann, ben = await platform.bot(), await platform.bot()
    for n in range(5):
        await subscribe(ann, "apple", apple_subscription(f"s{n}", originalPurchaseDate=milliseconds(-100 + n)))

    def names(page: dict[str, Any]) -> list[str]:
        return [one["original_transaction_id"] for one in page["validated_subscriptions"]]

    first = await listed(ann, limit=2)
    second = await listed(ann, limit=2, cursor=first["cursor"])
    third = await listed(ann, limit=2, cursor=second["cursor"])
    assert [names(page) for page in (first, second, third)] == [["s4", "s3"], ["s2", "s1"], ["s0"]]
    assert [set(page) & {"cursor", "prev_cursor"} for page in (first, second, third)] == [
        {"cursor"},
        {"cursor", "prev_cursor"},
        {"prev_cursor"},
    ]
    back = await listed(ann, limit=2, cursor=third["prev_cursor"])
    assert names(back) == ["s2", "s1"]
    start = await listed(ann, limit=2, cursor=back["prev_cursor"])
    assert names(start) == ["s4", "s3"]
    assert "prev_cursor" not in start
    assert names(await listed(ann, limit=2, cursor=start["cursor"])) == ["s2", "s1"]
    for limit in (0, -1, 101):
        wrong = (400, 3, "Invalid limit - limit must be between 1 and 1000.")
        assert await refusal(listed(ann, limit=limit)) == wrong
    bad = (400, 3, "subscriptions list cursor invalid")
    for cursor in ("x", "!", first["cursor"][:-3]):
        assert await refusal(listed(ann, cursor=cursor)) == bad
    assert await refusal(listed(ben, cursor=first["cursor"])) == bad


# -- notifications


async def test_apple_tells_of_renewals_and_the_newest_word_stands(platform: Platform) -> None:
    ann = await platform.bot()
    old = apple_subscription("s1", -60, signedDate=milliseconds(-100))
    assert "active" not in await subscribe(ann, "apple", old)
    await tell_apple(ann, "DID_RENEW", apple_subscription("s1", DAY))
    renewed = await only(ann)
    assert renewed["active"] is True
    assert json.loads(renewed["provider_notification"])["notificationType"] == "DID_RENEW"
    # What was signed earlier, brought later, changes nothing.
    await subscribe(ann, "apple", old)
    assert (await only(ann))["active"] is True


async def test_a_subscription_told_of_first_becomes_that_of_who_brings_it(platform: Platform) -> None:
    ann = await platform.bot()
    await tell_apple(ann, "SUBSCRIBED", apple_subscription("s1"))
    assert await listed(ann) == {}
    found = await subscribe(ann, "apple", apple_subscription("s1"))
    assert json.loads(found["provider_notification"])["notificationType"] == "SUBSCRIBED"
    assert (await only(ann))["original_transaction_id"] == "s1"


async def test_a_notification_that_apple_did_not_sign_changes_nothing(platform: Platform) -> None:
    ann = await platform.bot()
    refused = (401, 16, "This is no notification of Apple's for this game.")
    forger = chain(issued("root"))
    true = apple_subscription("s1")
    for body in (
        apple_notice("DID_RENEW", true, forger),
        apple_notice("DID_RENEW", apple_subscription("s1", by=forger)),
        apple_notice("DID_RENEW", apple_subscription("s1", bundleId="org.example.other")),
        {"signedPayload": true},
        {},
    ):
        assert await refusal(ann.call("POST", "/v2/iap/notification/apple", body)) == refused
    assert await ann.call("POST", "/v2/iap/notification/apple", apple_notice("TEST", "")) == {}


async def test_google_tells_that_something_changed_and_is_asked_what(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    await subscribe(ann, "google", stores.google_subscription("s1", -60))
    stores.google_subscription("s1", DAY)
    renewed = {"notificationType": 2, "purchaseToken": "s1", "subscriptionId": PASS}
    await tell_google(ann, stores, subscriptionNotification=renewed)
    assert (await only(ann))["active"] is True
    stores.mood = status_503
    body = google_notice(subscriptionNotification=renewed)
    again = ann.call("POST", "/v2/iap/notification/google", body, authorization=stores.push())
    assert (await refusal(again))[:2] == (503, 14)
    stores.mood = None
    # What is of no use now would be of none later: it is not asked for again.
    await tell_google(ann, stores, subscriptionNotification={**renewed, "purchaseToken": "gone"})
    await tell_google(ann, stores, subscriptionNotification={**renewed, "purchaseToken": "a b"})
    await tell_google(ann, stores, testNotification={"version": "1.0"})
    await tell_google(ann, stores, eventTimeMillis="soon")


async def test_a_notification_that_google_did_not_push_changes_nothing(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    refused = (401, 16, "This is no notification of Google's for this game.")
    body = google_notice(testNotification={})
    for header in (
        stores.push(key="forger"),
        stores.push(aud="https://elsewhere.example"),
        stores.push(email="somebody@game.example"),
        stores.push(email_verified=False),
        stores.push(exp=1),
        stores.push(iss="https://issuer.example"),
        "Bearer x",
        "x",
    ):
        body = google_notice(testNotification={})
        assert (
            await refusal(ann.call("POST", "/v2/iap/notification/google", body, authorization=header or "-")) == refused
        )


# -- refunds


@asynccontextmanager
async def watched(database_url: str, stores: Stores, game: Game) -> AsyncIterator[Platform]:
    settings = Settings(iap=stores.settings(), jobs=JobSettings(poll_seconds=0.1))
    async with Platform.start(game, database_url=database_url, settings=settings) as platform:
        yield platform


async def test_a_refund_of_apples_reaches_the_game_once_for_each(database_url: str, stores: Stores) -> None:
    heard = asyncio.Queue[Refund]()
    async with watched(database_url, stores, watching(heard)) as platform, asyncio.timeout(WAIT_SECONDS_MAX):
        ann = await platform.bot()
        await buy(ann, "apple", receipt=apple_transaction("1", quantity=2))
        await subscribe(ann, "apple", apple_subscription("s1"))
        revoked = milliseconds()
        for _ in range(2):
            await tell_apple(ann, "REFUND", apple_transaction("1", revocationDate=revoked))
            await tell_apple(ann, "REFUND", apple_subscription("s1", revocationDate=revoked))
        told = sorted([await heard.get(), await heard.get()], key=lambda refund: refund.subscription)
        assert [(one.transaction_id, one.player_id, one.quantity) for one in told] == [
            ("1", ann.id, 2),
            ("s1", ann.id, 1),
        ]
        assert heard.empty()
        await buy(ann, "apple", receipt=apple_transaction("1"))
        assert await coins(ann) == 2 * COINS
        ended = await only(ann)
        assert "active" not in ended
        assert ended["refund_time"] > EPOCH
        assert "active" not in await ann.call("GET", f"/v2/iap/subscription/{PASS}")
        # A later period that is paid for counts again.
        await tell_apple(ann, "DID_RENEW", apple_subscription("s1", 2 * DAY))
        assert (await only(ann))["refund_time"] == EPOCH


async def test_a_refund_that_apple_takes_back_is_none(platform: Platform) -> None:
    ann = await platform.bot()
    await buy(ann, "apple", receipt=apple_transaction("1"))
    await subscribe(ann, "apple", apple_subscription("s1"))
    revoked = milliseconds()
    for kind, changes in (("REFUND", {"revocationDate": revoked}), ("REFUND_REVERSED", {})):
        await tell_apple(ann, kind, apple_transaction("1", **changes))
        await tell_apple(ann, kind, apple_subscription("s1", **changes))
        assert ("active" in await only(ann)) is (kind == "REFUND_REVERSED")


async def test_a_purchase_refunded_before_it_is_brought_grants_nothing(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    earlier = apple_transaction("1")
    await tell_apple(ann, "REFUND", apple_transaction("1", revocationDate=milliseconds()))
    assert (await buy(ann, "apple", receipt=earlier))[0]["seen_before"] is True
    revoked = apple_transaction("2", revocationDate=milliseconds())
    (found,) = await buy(ann, "apple", receipt=revoked)
    assert found["refund_time"] > EPOCH
    assert "seen_before" not in found
    receipt = stores.google_purchase("3")
    await tell_google(ann, stores, voidedPurchaseNotification={"purchaseToken": "3", "productType": 2})
    assert (await buy(ann, "google", purchase=receipt))[0]["seen_before"] is True
    assert await coins(ann) == 0


async def test_a_refund_shows_too_when_the_player_brings_the_receipt_again(database_url: str, stores: Stores) -> None:
    heard = asyncio.Queue[Refund]()
    async with watched(database_url, stores, watching(heard)) as platform, asyncio.timeout(WAIT_SECONDS_MAX):
        ann = await platform.bot()
        await buy(ann, "apple", receipt=apple_transaction("1"))
        (found,) = await buy(ann, "apple", receipt=apple_transaction("1", revocationDate=milliseconds()))
        assert (found["seen_before"], found["refund_time"] > EPOCH) == (True, True)
        assert (await heard.get()).transaction_id == "1"


async def test_google_tells_of_what_it_voids_and_revokes(database_url: str, stores: Stores) -> None:
    heard = asyncio.Queue[Refund]()
    async with watched(database_url, stores, watching(heard)) as platform, asyncio.timeout(WAIT_SECONDS_MAX):
        ann = await platform.bot()
        await buy(ann, "google", purchase=stores.google_purchase("p"))
        await subscribe(ann, "google", stores.google_subscription("voided"))
        await subscribe(ann, "google", stores.google_subscription("revoked"))
        for about in (
            {"voidedPurchaseNotification": {"purchaseToken": "p", "productType": 2}},
            {"voidedPurchaseNotification": {"purchaseToken": "voided", "productType": 1}},
            {"subscriptionNotification": {"purchaseToken": "revoked", "notificationType": 12}},
        ):
            await tell_google(ann, stores, **about)
        told = {(await heard.get()).transaction_id for _ in range(3)}
        assert told == {"p", "voided", "revoked"}


async def test_a_game_that_fails_is_told_of_a_refund_again(database_url: str, stores: Stores) -> None:
    game, tries, heard = shop(), list[str](), asyncio.Event()

    @game.on_refund
    async def taken_back(ctx: Context, refund: Refund) -> None:
        tries.append(refund.transaction_id)
        if len(tries) == 1:
            raise OSError("not now")
        await ctx.wallet.change(refund.player_id, {"coins": -COINS}, key=f"refund:{refund.transaction_id}")
        heard.set()

    async with watched(database_url, stores, game) as platform, asyncio.timeout(WAIT_SECONDS_MAX):
        ann = await platform.bot()
        await buy(ann, "apple", receipt=apple_transaction("1"))
        await tell_apple(ann, "REFUND", apple_transaction("1", revocationDate=milliseconds()))
        await heard.wait()
        assert tries == ["1", "1"]
        assert await coins(ann) == 0


async def test_a_subscription_of_a_deleted_player_can_be_brought_again(platform: Platform) -> None:
    ann, ben = await platform.bot(), await platform.bot()
    receipt = apple_subscription("s1")
    await subscribe(ann, "apple", receipt)
    await ann.call("DELETE", "/v2/account")
    await subscribe(ben, "apple", receipt)
    assert (await only(ben))["original_transaction_id"] == "s1"
