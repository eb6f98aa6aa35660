"""Games that sell something, and what tests ask of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from palestra import Context, Game, Purchase, Refund
from palestra.testing import Bot, BotError

GEMS, PASS = "org.example.gems", "org.example.pass"
COINS = 100


def shop() -> Game:
    """Grants coins for gem packs, sandbox or not, and nothing for the rest."""
    game = Game("shop")

    @game.on_purchase
    async def worth(ctx: Context, purchase: Purchase) -> dict[str, int] | None:
        sale = purchase.sale
        return {"coins": COINS * sale.quantity} if sale.product_id == GEMS else None

    return game


def watching(heard: asyncio.Queue[Refund]) -> Game:
    """The same, and tells of refunds."""
    game = shop()

    @game.on_refund
    async def taken_back(ctx: Context, refund: Refund) -> None:
        await heard.put(refund)

    return game


async def buy(bot: Bot, store: str, **body: Any) -> list[dict[str, Any]]:
    """Bring a receipt; the purchases."""
    answer = await bot.call("POST", f"/v2/iap/purchase/{store}", body)
    return answer.get("validated_purchases", [])


async def subscribe(bot: Bot, store: str, receipt: str, **body: Any) -> dict[str, Any]:
    """Bring a receipt; the subscription."""
    answer = await bot.call("POST", f"/v2/iap/subscription/{store}", {"receipt": receipt, **body})
    return answer["validated_subscription"]


async def coins(bot: Bot) -> int:
    """What a player has."""
    wallet = (await bot.call("GET", "/v2/account")).get("wallet", "{}")
    return 0 if wallet == "{}" else int(wallet.split(":")[1].strip(" }"))


async def refusal(waiting: Any) -> tuple[int, int, str]:
    """How a call is refused."""
    with pytest.raises(BotError) as refused:
        await waiting
    error = refused.value
    return error.status, error.code, str(error).split(" ", 1)[1]
