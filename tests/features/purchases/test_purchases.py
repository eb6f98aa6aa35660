"""Purchases as players notice them: what each store's receipt brings, once for ever, and how others are refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from palestra import Context, Game, GameError, Purchase, Store
from palestra.core.config import Settings
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.purchases.contract import PurchaseNotFound
from palestra.testing import Platform
from tests.features.purchases.fakes import (
    BUNDLE,
    Stores,
    apple_transaction,
    milliseconds,
    signed_request,
    status_401,
    status_503,
)
from tests.features.purchases.shops import COINS, GEMS, buy, coins, refusal, shop

KINDS = {"apple": 0, "google": 1, "huawei": 2, "facebookinstant": 3, "samsung": 4}
EPOCH = "1970-01-01T00:00:00Z"
UNCONFIGURED = {
    "purchase/apple": "Apple",
    "purchase/google": "Google",
    "purchase/huawei": "Huawei",
    "purchase/facebookinstant": "Facebook Instant",
    "subscription/apple": "Apple",
    "subscription/google": "Google",
}


def proof(stores: Stores, kind: str, name: str) -> dict[str, str]:
    """The body with which a purchase of gems is brought."""
    if kind == "apple":
        return {"receipt": apple_transaction(name)}
    if kind == "google":
        return {"purchase": stores.google_purchase(name)}
    if kind == "huawei":
        return stores.huawei_purchase(name)
    if kind == "samsung":
        return {"purchase_id": stores.samsung_purchase(name)}
    return {"signed_request": signed_request(name)}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_purchase_is_kept_and_granted_once_whoever_brings_it(
    platform: Platform, stores: Stores, kind: str
) -> None:
    ann, ben = await platform.bot(), await platform.bot()
    body = proof(stores, kind, "t1")
    (first,) = await buy(ann, kind, **body)
    assert first["user_id"] == ann.id
    assert first["product_id"] == GEMS
    assert first.get("store", 0) == KINDS[kind]
    assert first["environment"] == 2
    assert "seen_before" not in first
    assert first["create_time"] == first["update_time"]
    assert "." in first["create_time"]
    assert first["purchase_time"].endswith("Z")
    assert "." not in first["purchase_time"]
    assert isinstance(json.loads(first["provider_response"]), dict)
    assert first.get("refund_time") == (EPOCH if kind == "apple" else None)
    (again,) = await buy(ann, kind, **body)
    assert again["seen_before"] is True
    assert again["create_time"] == first["create_time"]
    assert again["update_time"] > first["update_time"]
    # Somebody else's receipt names the caller, stays the first one's and grants nothing.
    (stolen,) = await buy(ben, kind, **body)
    assert (stolen["user_id"], stolen["seen_before"]) == (ben.id, True)
    assert (await coins(ann), await coins(ben)) == (COINS, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_receipt_brought_eight_times_at_once_grants_once(platform: Platform, stores: Stores, kind: str) -> None:
    bots = [await platform.bot() for _ in range(2)]
    body = proof(stores, kind, "t1")
    found = await asyncio.gather(*[buy(bots[n % 2], kind, **body) for n in range(8)])
    assert sum("seen_before" not in one for (one,) in found) == 1
    assert sum([await coins(bot) for bot in bots]) == COINS


@pytest.mark.parametrize("kind", KINDS)
async def test_without_persist_a_receipt_is_looked_at_and_nothing_is_kept(
    platform: Platform, stores: Stores, kind: str
) -> None:
    ann = await platform.bot()
    body = proof(stores, kind, "t1")
    for _ in range(2):
        (seen,) = await buy(ann, kind, persist=False, **body)
        assert not {"create_time", "update_time", "seen_before"} & seen.keys()
        assert seen.get("user_id") == (None if kind in ("huawei", "samsung") else ann.id)
    assert await coins(ann) == 0
    assert "seen_before" not in (await buy(ann, kind, **body))[0]


async def test_stores_without_settings_are_not_configured(database_url: str) -> None:
    async with Platform.start(database_url=database_url) as platform:
        ann = await platform.bot()
        for path, name in UNCONFIGURED.items():
            wanted = (400, 9, f"{name} IAP is not configured.")
            if path == "purchase/apple":
                assert await refusal(ann.call("POST", f"/v2/iap/{path}", {})) == _empty("Receipt")
                assert await refusal(ann.call("POST", f"/v2/iap/{path}", {"receipt": "x"})) == wanted
                assert await refusal(ann.call("POST", f"/v2/iap/{path}", {"receipt": apple_transaction("1")})) == wanted
            else:
                assert await refusal(ann.call("POST", f"/v2/iap/{path}", {})) == wanted
        assert await refusal(buy(ann, "samsung")) == _empty("Purchase ID")
        assert await refusal(buy(ann, "samsung", purchase_id="1")) == (400, 9, "Samsung IAP is not configured.")
        for place in ("apple", "google"):
            status, code, _ = await refusal(ann.call("POST", f"/v2/iap/notification/{place}", {}))
            assert (status, code) == (400, 9)


def _empty(part: str) -> tuple[int, int, str]:
    return 400, 3, f"{part} cannot be empty."


async def test_empty_receipts_are_told_apart(platform: Platform) -> None:
    ann = await platform.bot()
    assert await refusal(buy(ann, "apple")) == _empty("Receipt")
    assert await refusal(buy(ann, "google")) == _empty("Purchase")
    assert await refusal(buy(ann, "huawei")) == _empty("Purchase")
    assert await refusal(buy(ann, "huawei", purchase="{}")) == _empty("Signature")
    assert await refusal(buy(ann, "facebookinstant")) == _empty("SignedRequest")
    assert await refusal(buy(ann, "samsung")) == _empty("Purchase ID")
    for store in ("apple", "google"):
        assert await refusal(ann.call("POST", f"/v2/iap/subscription/{store}", {})) == _empty("Receipt")


# -- the stores' verdicts


def apple_receipt(*items: dict[str, Any], bundle: str = BUNDLE) -> dict[str, Any]:
    """What Apple says of a receipt of before StoreKit 2."""
    in_app = [
        {"quantity": "1", "product_id": GEMS, "purchase_date_ms": str(milliseconds(-60)), **item} for item in items
    ]
    return {"status": 0, "environment": "Production", "receipt": {"bundle_id": bundle, "in_app": in_app}}


async def test_an_old_receipt_of_apple_may_hold_many_purchases(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    one, two, refunded = {"transaction_id": "1"}, {"transaction_id": "2", "quantity": "3"}, {"transaction_id": "3"}
    subscription = {"transaction_id": "4", "expires_date_ms": str(milliseconds(60))}
    known = stores.apple_verdicts["production"]
    known["first"] = apple_receipt(one)
    known["later"] = apple_receipt(one, two, {**refunded, "cancellation_date_ms": milliseconds()}, subscription)
    known["subscription"] = apple_receipt(subscription)
    known["other"] = apple_receipt(one, bundle="org.example.other")
    known["busy"] = {"status": 21009, "is-retryable": True}
    known["nothing"] = apple_receipt()
    await buy(ann, "apple", receipt="first")
    found = await buy(ann, "apple", receipt="later")
    assert [(item["transaction_id"], "seen_before" in item) for item in found] == [
        ("1", True),
        ("2", False),
        ("3", False),
    ]
    assert ["refund_time" in item for item in found] == [False, False, True]
    assert await coins(ann) == 4 * COINS
    assert await buy(ann, "apple", receipt="nothing") == []
    assert await refusal(buy(ann, "apple", receipt="unknown")) == (400, 9, "Invalid Receipt. Status: 21002")
    assert await refusal(buy(ann, "apple", receipt="other")) == (400, 9, "Invalid Receipt. It is for another app.")
    wrong = (400, 9, "Subscription Receipt. Use the appropriate function instead.")
    assert await refusal(buy(ann, "apple", receipt="subscription")) == wrong
    away = (503, 14, "Apple IAP verification is currently unavailable. Try again later.")
    assert await refusal(buy(ann, "apple", receipt="busy")) == away


async def test_apple_is_asked_again_where_it_says_that_a_receipt_is_of_the_sandbox(
    platform: Platform, stores: Stores
) -> None:
    ann = await platform.bot()
    stores.apple_verdicts["production"]["tested"] = {"status": 21007}
    stores.apple_verdicts["sandbox"]["tested"] = {**apple_receipt({"transaction_id": "1"}), "environment": "Sandbox"}
    (found,) = await buy(ann, "apple", receipt="tested")
    assert found["environment"] == 1


async def test_google_says_what_counts(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    tested = stores.google_purchase("tested", purchaseType=0, quantity=2)
    (found,) = await buy(ann, "google", purchase=json.dumps({"json": tested, "signature": "s", "skuDetails": []}))
    assert (found["environment"], found["transaction_id"], await coins(ann)) == (1, "tested", 2 * COINS)
    pending = stores.google_purchase("pending", purchaseState=2)
    assert await refusal(buy(ann, "google", purchase=pending)) == (400, 9, "Invalid Receipt. State: 2")
    other = stores.google_purchase("other", productId="something.cheaper")
    assert (await refusal(buy(ann, "google", purchase=other)))[:2] == (400, 9)
    strange = json.dumps({"packageName": "org.example.other", "productId": GEMS, "purchaseToken": "t"})
    assert await refusal(buy(ann, "google", purchase=strange)) == (400, 9, "Invalid Receipt. It is for another app.")
    renewing = json.dumps({**json.loads(tested), "autoRenewing": True})
    assert (await refusal(buy(ann, "google", purchase=renewing)))[2].startswith("Subscription Receipt.")
    forged = json.dumps({"packageName": BUNDLE, "productId": GEMS, "purchaseToken": "forged"})
    status, code, message = await refusal(buy(ann, "google", purchase=forged))
    assert (status, code) == (400, 9)
    assert message.endswith('status=404, payload={"error": "no such purchase"}')
    for garbage in ("x", "[]", "{}", '{"json": "{"}', '{"packageName": "a", "purchaseToken": "a\\u0000b"}'):
        assert (await refusal(buy(ann, "google", purchase=garbage)))[:2] == (400, 9)
    # One access token served for all, until the store takes none of it any more.
    assert stores.seen["/google/token"] == 1
    for times in (1, 2):
        stores.mood = status_401
        told = await refusal(buy(ann, "google", purchase=stores.google_purchase(f"refused-{times}")))
        assert told == (500, 2, "Google IAP refused the request, status=401, payload=who?")
    stores.mood = None
    await buy(ann, "google", purchase=stores.google_purchase("fine"))
    assert stores.seen["/google/token"] == 3


async def test_huawei_signs_and_confirms(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    tested = stores.huawei_purchase("tested", purchaseType=0, accountFlag=1)
    (found,) = await buy(ann, "huawei", **tested)
    assert (found["environment"], found["transaction_id"]) == (1, "tested")
    assert stores.seen["/huawei/touch/applications/purchases/tokens/verify"] == 1
    changed = {**tested, "purchase": tested["purchase"].replace(GEMS, "org.example.more")}
    assert await refusal(buy(ann, "huawei", **changed)) == (400, 9, "Invalid Receipt. Its signature is wrong.")
    unsigned = {**tested, "signature": "!"}
    assert await refusal(buy(ann, "huawei", **unsigned)) == (400, 9, "Invalid Receipt. Its signature is wrong.")
    unknown = stores.huawei_purchase("unknown")
    stores.huawei.clear()
    assert await refusal(buy(ann, "huawei", **unknown)) == (400, 9, "Invalid Receipt. Code: 5")
    cancelled = stores.huawei_purchase("cancelled", purchaseState=1)
    assert await refusal(buy(ann, "huawei", **cancelled)) == (400, 9, "Invalid Receipt. State: 1")
    subscription = stores.huawei_purchase("subscription", kind=2)
    assert (await refusal(buy(ann, "huawei", **subscription)))[2].startswith("Subscription Receipt.")
    swapped, stores.huawei["token-a"] = stores.huawei_purchase("a"), stores.huawei["token-cancelled"]
    assert (await refusal(buy(ann, "huawei", **swapped)))[:2] == (400, 9)


async def test_samsung_is_asked_about_this_app_only(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    tested = stores.samsung_purchase("tested", mode="TEST")
    (found,) = await buy(ann, "samsung", purchase_id=tested)
    assert (found["environment"], found["purchase_time"]) == (1, "2026-01-02T03:04:05Z")
    assert await refusal(buy(ann, "samsung", purchase_id="none")) == (400, 9, "Invalid Receipt. Status: fail")
    other = stores.samsung_purchase("other", packageName="org.example.other")
    assert await refusal(buy(ann, "samsung", purchase_id=other)) == (400, 9, "Invalid Receipt. It is for another app.")


async def test_signed_requests_of_instant_games_are_checked(platform: Platform) -> None:
    ann = await platform.bot()
    good = signed_request("1")
    failed, bad = (400, 3, "signedRequest verification failed"), (400, 3, "invalid signedRequest format")
    for text, told in {
        signed_request("1", secret="guessed"): failed,
        signed_request("1", algorithm="none"): failed,
        f"{good.partition('.')[0]}.{signed_request('2').partition('.')[2]}": failed,
        good.replace(".", ""): bad,
        f"!.{good}": bad,
        "é.e": bad,
        signed_request("1", purchase_time="soon"): bad,
    }.items():
        assert await refusal(buy(ann, "facebookinstant", signed_request=text)) == told


@pytest.mark.parametrize("kind", ["apple", "google", "huawei", "samsung"])
async def test_a_store_that_cannot_be_reached_is_a_503_and_nothing_is_lost(
    platform: Platform, stores: Stores, kind: str
) -> None:
    ann = await platform.bot()
    body = {"receipt": "old"} if kind == "apple" else proof(stores, kind, "t1")
    stores.apple_verdicts["production"]["old"] = apple_receipt({"transaction_id": "1"})
    stores.mood = status_503
    assert (await refusal(buy(ann, kind, **body)))[:2] == (503, 14)
    stores.mood = None
    assert "seen_before" not in (await buy(ann, kind, **body))[0]
    assert await coins(ann) == COINS


# -- what games say


async def test_what_the_game_raises_refuses_the_receipt_which_can_be_brought_again(
    database_url: str, stores: Stores
) -> None:
    game, closed = Game("closed"), [True]

    @game.on_purchase
    async def worth(ctx: Context, purchase: Purchase) -> dict[str, int]:
        if closed[0]:
            raise GameError("the shop is closed", "unavailable")
        return {"coins": 7}

    async with Platform.start(game, database_url=database_url, settings=Settings(iap=stores.settings())) as platform:
        ann = await platform.bot()
        receipt = apple_transaction("1")
        assert await refusal(buy(ann, "apple", receipt=receipt)) == (503, 14, "the shop is closed")
        closed[0] = False
        assert "seen_before" not in (await buy(ann, "apple", receipt=receipt))[0]
        assert await coins(ann) == 7


@pytest.mark.parametrize("worth", [{"coins": -1}, {"coins": 1.5}, {"coins": True}, ["coins"], {"euro": 1}])
async def test_a_grant_that_cannot_be_keeps_nothing(database_url: str, stores: Stores, worth: Any) -> None:
    game = Game("wrong")

    @game.on_start
    async def start(ctx: Context) -> None:
        from palestra.ledger import Asset

        await ctx.ledger.declare(Asset("euro", 2, "money"))

    @game.on_purchase
    async def grant(ctx: Context, purchase: Purchase) -> Any:
        return worth

    async with Platform.start(game, database_url=database_url, settings=Settings(iap=stores.settings())) as platform:
        ann = await platform.bot()
        assert (await refusal(buy(ann, "apple", receipt=apple_transaction("1"))))[:2] == (500, 13)
        assert platform.node.parts is not None
        with pytest.raises(PurchaseNotFound):
            await platform.node.parts.platform.purchases.get(Store.APPLE, "1")


async def test_a_purchase_whose_grant_the_ledger_refuses_is_not_kept(database_url: str, stores: Stores) -> None:
    game = Game("generous")

    @game.on_purchase
    async def worth(ctx: Context, purchase: Purchase) -> dict[str, int]:
        return {"coins": 2**63 - 1}

    async with Platform.start(game, database_url=database_url, settings=Settings(iap=stores.settings())) as platform:
        ann = await platform.bot()
        await buy(ann, "apple", receipt=apple_transaction("1"))
        for _ in range(2):
            assert (await refusal(buy(ann, "apple", receipt=apple_transaction("2"))))[:2] == (400, 9)
        assert await coins(ann) == 2**63 - 1
        assert platform.node.parts is not None
        with pytest.raises(PurchaseNotFound):
            await platform.node.parts.platform.purchases.get(Store.APPLE, "2")


async def test_grants_of_several_games_add_up_and_stand_in_the_ledger(database_url: str, stores: Stores) -> None:
    second = Game("second")

    @second.on_purchase
    async def worth(ctx: Context, purchase: Purchase) -> dict[str, int]:
        return {"coins": 1, "keys": 2, "nothing": 0}

    settings = Settings(iap=stores.settings())
    async with Platform.start(shop(), second, database_url=database_url, settings=settings) as platform:
        ann = await platform.bot()
        token = "long-token-" * 60
        await buy(ann, "google", purchase=stores.google_purchase(token))
        assert platform.node.parts is not None
        services = platform.node.parts.platform
        assert await services.wallet.get(ann.id) == {"coins": COINS + 1, "keys": 2}
        (entry,) = (await services.wallet.history(ann.id)).entries
        assert entry.changeset == {"coins": COINS + 1, "keys": 2}


async def test_game_code_validates_gets_and_lists(platform: Platform, stores: Stores) -> None:
    ann = await platform.bot()
    assert platform.node.parts is not None
    purchases = platform.node.parts.platform.purchases
    for n in range(5):
        moment = milliseconds(-100 + n)
        (found,) = await purchases.validate(ann.id, Store.APPLE, apple_transaction(f"t{n}", purchaseDate=moment))
        assert (found.player_id, found.seen_before) == (ann.id, False)
    one = await purchases.get(Store.APPLE, "t3")
    assert (one.sale.product_id, one.player_id) == (GEMS, ann.id)
    names, cursor = [], ""
    while True:
        page = await purchases.list(ann.id, 2, cursor)
        names.append([one.sale.transaction_id for one in page.purchases])
        cursor = page.cursor
        if not cursor:
            break
    assert names == [["t4", "t3"], ["t2", "t1"], ["t0"]]
    with pytest.raises(PurchaseNotFound):
        await purchases.get(Store.GOOGLE, "t3")
    with pytest.raises(PurchaseNotFound):
        await purchases.get(Store.GOOGLE, "t\0")
    with pytest.raises(AccountNotFound):
        await purchases.list("nobody")


async def test_what_a_deleted_player_bought_stays_without_the_player(platform: Platform, stores: Stores) -> None:
    ann, ben = await platform.bot(), await platform.bot()
    receipt = apple_transaction("1")
    await buy(ann, "apple", receipt=receipt)
    await ann.call("DELETE", "/v2/account")
    assert platform.node.parts is not None
    kept = await platform.node.parts.platform.purchases.get(Store.APPLE, "1")
    assert (kept.player_id, kept.sale.response) == ("00000000-0000-0000-0000-000000000000", "")
    # Whoever brings it next has it, but it grants no second time.
    (found,) = await buy(ben, "apple", receipt=receipt)
    assert found["seen_before"] is True
    assert await coins(ben) == 0
    assert (await platform.node.parts.platform.purchases.get(Store.APPLE, "1")).player_id == ben.id
