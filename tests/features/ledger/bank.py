"""A game whose functions move money under keys that its clients give."""

from __future__ import annotations

from typing import Any

import msgspec

from palestra import Game
from palestra.features.ledger.contract import Entry, Post, Void

game = Game("bank")


class Order(msgspec.Struct):
    key: str
    source: str = ""
    target: str = ""
    amount: int = 0
    hold: str = ""


class Done(msgspec.Struct):
    told: Any


@game.rpc
async def change(ctx, order: Order) -> Done:
    amounts = {"coins": order.amount, "moves": 1}
    done = await ctx.wallet.change(order.source, amounts, key=order.key, metadata=_by(order))
    return Done([done.previous, done.updated])


@game.rpc
async def transfer(ctx, order: Order) -> Done:
    amounts = {"coins": order.amount}
    done = await ctx.wallet.transfer(order.source, order.target, amounts, key=order.key, metadata=_by(order))
    return Done([done.previous, done.updated])


@game.rpc
async def hold(ctx, order: Order) -> Done:
    done = await ctx.wallet.hold(order.source, "coins", order.amount, key=order.key, metadata=_by(order))
    return Done(done.id)


@game.rpc
async def end(ctx, order: Order) -> Done:
    about = msgspec.json.encode(_by(order)).decode()
    number = int(order.hold)
    step = Post(number, order.amount, metadata=about) if order.amount else Void(number, metadata=about)
    return Done(str((await ctx.ledger.submit(Entry(order.key, (step,)))).entry))


def _by(order: Order) -> dict[str, str]:
    return {"key": order.key}
