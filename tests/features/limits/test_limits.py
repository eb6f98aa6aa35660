"""Limits together with the money: on one node and on two, the record of changes, and what clients see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from palestra import Context, Game, Limit
from palestra.core.clock import ManualClock, utc
from palestra.core.config import DatabaseSettings, LimitSettings, Settings
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import (
    Asset,
    Entry,
    Hold,
    InsufficientFunds,
    LimitReached,
    Measure,
    Owner,
    OwnerKind,
    Post,
    Transfer,
    UnknownAsset,
    Void,
)
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore
from palestra.features.limits.contract import BadPage, ChangedLimit, Lock
from palestra.features.limits.guard import LimitsGuard
from palestra.features.limits.service import LimitsService
from palestra.features.limits.store import LimitStore
from palestra.testing import Bot, BotError, Platform

COOL_OFF = 86_400
EUR = Asset("EUR", 2, "money")


class Node:
    """Ledger and limits of one node."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        guard = LimitsGuard()
        self.clock = clock
        self.store = LedgerStore(database, DatabaseSettings(), clock, guard)
        self.register = Register(database, DatabaseSettings())
        self.ledger = LedgerService(self.store, self.register, database, clock)
        self.limits = LimitsService(LimitStore(database), self.ledger, guard, clock, COOL_OFF)

    async def stop(self) -> None:
        await self.store.stop()
        await self.register.stop()

    async def step(self, player: str, amount: int, measure: Measure = Measure.STAKE, *, hold: bool = False) -> None:
        own = (await self.ledger.open(Owner(OwnerKind.PLAYER, player, "EUR"))).id
        house = (await self.ledger.open(Owner(OwnerKind.SYSTEM, "house", "EUR"), may_go_negative=True, hot=True)).id
        pays = measure in (Measure.STAKE, Measure.SPEND)
        debit, credit = (own, house) if pays else (house, own)
        if hold:
            expires_at = int(self.clock.now()) + 60
            await self.ledger.submit(Entry(None, (Hold(debit, credit, amount, "test", expires_at, measure=measure),)))
        else:
            await self.ledger.submit(Entry(None, (Transfer(debit, credit, amount, "test", measure=measure),)))

    async def give(self, player: str, amount: int) -> None:
        await self.step(player, amount, Measure.NONE)


@asynccontextmanager
async def nodes(database: Database, count: int) -> AsyncIterator[list[Node]]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        made = [Node(database, clock) for _ in range(count)]
        for node in made:
            stack.push_async_callback(node.stop)
        await made[0].ledger.declare(EUR)
        yield made


@pytest.fixture
async def node(database: Database) -> AsyncIterator[Node]:
    async with nodes(database, 1) as (made,):
        yield made


@pytest.fixture
async def ann(database: Database) -> str:
    user_id = new_id()
    await database.execute("INSERT INTO users (id, username) VALUES ($1, $2)", user_id, user_id)
    return user_id


def stake(amount: int | None) -> Limit:
    return Limit("stake", "24h", amount, "EUR")


# -- with the money


async def test_a_refused_stake_moves_no_money_and_counts_nothing(node: Node, ann: str) -> None:
    await node.give(ann, 1_000)
    await node.limits.set(ann, [stake(100)], author="player")
    await node.step(ann, 60)
    with pytest.raises(LimitReached, match="leaves 40"):
        await node.step(ann, 41)
    await node.step(ann, 40, hold=True)
    with pytest.raises(LimitReached):
        await node.step(ann, 1, hold=True)
    (account,) = await node.ledger.accounts_of(ann)
    balance = await node.ledger.balance(account.id)
    assert (balance.total, balance.held) == (940, 40)
    (standing,) = (await node.limits.get(ann)).limits
    assert (standing.used, standing.remaining) == (100, 0)


async def test_a_stake_that_the_balance_refuses_does_not_count(node: Node, ann: str) -> None:
    await node.give(ann, 50)
    await node.limits.set(ann, [stake(100)], author="player")
    with pytest.raises(InsufficientFunds):
        await node.step(ann, 51)
    (standing,) = (await node.limits.get(ann)).limits
    assert standing.used == 0


async def test_winnings_are_paid_through_every_lock_and_limit(node: Node, ann: str) -> None:
    await node.give(ann, 100)
    await node.limits.set(ann, [Limit("loss", "24h", 50, "EUR")], author="player")
    await node.step(ann, 50)
    await node.limits.lock(ann, None, author="player")
    await node.step(ann, 30, Measure.PAYOUT)
    await node.step(ann, 5, Measure.REFUND)
    for measure in (Measure.STAKE, Measure.SPEND):
        with pytest.raises(LimitReached, match="for ever"):
            await node.step(ann, 1, measure)
    overview = await node.limits.get(ann)
    assert overview.limits[0].used == 15
    assert overview.lock == Lock(None)


async def test_what_is_given_back_of_a_held_stake_is_no_loss(node: Node, ann: str) -> None:
    await node.give(ann, 1_000)
    await node.limits.set(ann, [Limit("loss", "24h", 100, "EUR")], author="player")
    own = (await node.ledger.open(Owner(OwnerKind.PLAYER, ann, "EUR"))).id
    house = (await node.ledger.open(Owner(OwnerKind.SYSTEM, "house", "EUR"))).id
    until = int(node.clock.now()) + 60

    async def held(amount: int) -> int:
        entry = Entry(None, (Hold(own, house, amount, "stake", until, measure=Measure.STAKE),))
        return (await node.ledger.submit(entry)).entry

    async def lost() -> int:
        return (await node.limits.get(ann)).limits[0].used

    first, second, third = await held(40), await held(30), await held(30)
    with pytest.raises(LimitReached):
        await held(1)
    await node.ledger.submit(Entry(None, (Void(first),)))
    assert await lost() == 60
    await node.ledger.submit(Entry(None, (Post(second, 10),)))
    assert await lost() == 40
    # The last one nobody ends: its time does, and another node would know of it as well.
    node.clock.advance(61)
    assert await node.ledger.end_overdue_holds() == 1
    assert await lost() == 10
    assert await node.ledger.hold_amounts([third]) == {third: 30}


async def test_stakes_of_two_nodes_at_once_never_exceed_the_limit(database: Database, ann: str) -> None:
    async with nodes(database, 2) as (one, two):
        await one.give(ann, 1_000_000)
        await one.limits.set(ann, [stake(1_000)], author="player")
        steps = [node.step(ann, 7, hold=number % 3 == 0) for number in range(150) for node in (one, two)]
        outcomes = await asyncio.gather(*steps, return_exceptions=True)
        done = sum(outcome is None for outcome in outcomes)
        assert all(outcome is None or isinstance(outcome, LimitReached) for outcome in outcomes)
        # 142 times 7 is 994: not one more, and not one less.
        assert done == 142
        for node in (one, two):
            assert (await node.limits.get(ann)).limits[0].used == 994


async def test_a_limit_set_on_one_node_holds_on_the_other_at_once(database: Database, ann: str) -> None:
    async with nodes(database, 2) as (one, two):
        await one.give(ann, 1_000)
        await two.step(ann, 10)
        await one.limits.set(ann, [stake(20)], author="player")
        await two.step(ann, 20)
        with pytest.raises(LimitReached):
            await two.step(ann, 1)
        await one.limits.lock(ann, 60, author="player")
        with pytest.raises(LimitReached, match="locked"):
            await two.step(ann, 1)


async def test_what_is_allowed_on_one_node_is_not_refused_on_the_other(database: Database, ann: str) -> None:
    async with nodes(database, 2) as (one, two):
        await one.give(ann, 1_000)
        await one.limits.set(ann, [stake(20)])
        await two.step(ann, 20)
        with pytest.raises(LimitReached):
            await two.step(ann, 1)
        await one.limits.set(ann, [stake(30)])
        await two.step(ann, 10)


async def test_a_lock_takes_hold_amid_a_stream_of_stakes(database: Database, ann: str) -> None:
    async with nodes(database, 2) as (one, two):
        await one.give(ann, 1_000_000)
        await one.limits.set(ann, [stake(900_000)], author="player")
        refused = asyncio.Event()

        async def play() -> None:
            while not refused.is_set():
                try:
                    await two.step(ann, 1)
                except LimitReached:
                    refused.set()

        async with asyncio.timeout(20):
            await asyncio.gather(play(), play(), one.limits.lock(ann, None, author="player"))


async def test_an_increase_comes_into_force_by_time_alone(node: Node, ann: str) -> None:
    await node.give(ann, 1_000)
    await node.limits.set(ann, [stake(100)], author="player")
    overview = await node.limits.set(ann, [stake(300)], author="player")
    pending = overview.limits[0].pending
    assert pending is not None and (pending.amount, pending.at) == (300, utc(node.clock.now() + COOL_OFF))
    with pytest.raises(LimitReached):
        await node.step(ann, 101)
    node.clock.advance(COOL_OFF)
    await node.step(ann, 300)
    assert (await node.limits.get(ann)).limits[0].amount == 300


# -- the record


async def test_every_change_is_recorded_newest_first(node: Node, ann: str) -> None:
    start = int(node.clock.now())
    await node.limits.set(ann, [stake(100)], author="player")
    node.clock.advance(10)
    await node.limits.set(ann, [stake(200)], author="player")
    node.clock.advance(10)
    await node.limits.set(ann, [stake(50)])
    node.clock.advance(10)
    await node.limits.lock(ann, 60, author="player")
    page = await node.limits.history(ann, limit=3)
    assert [(one.author, one.limits, one.lock, one.at) for one in page.changes] == [
        ("player", (), Lock(utc(start + 90)), utc(start + 30)),
        ("operator", (ChangedLimit("stake", "24h", "EUR", None, 50, start + 20),), None, utc(start + 20)),
        ("player", (ChangedLimit("stake", "24h", "EUR", 100, 200, start + 10 + COOL_OFF),), None, utc(start + 10)),
    ]
    last = await node.limits.history(ann, limit=3, cursor=page.cursor)
    assert [one.limits[0].amount for one in last.changes] == [100]
    assert last.cursor == ""


async def test_pages_of_the_record_are_refused_when_they_are_none(node: Node, ann: str) -> None:
    for _ in range(2):
        await node.limits.lock(ann, 60)
    cursor = (await node.limits.history(ann, limit=1)).cursor
    for limit in (0, -1, 101):
        with pytest.raises(BadPage):
            await node.limits.history(ann, limit=limit)
    for wrong in ("x", cursor[:-4], "A" * 5_000):
        with pytest.raises(BadPage):
            await node.limits.history(ann, cursor=wrong)
    with pytest.raises(BadPage):
        await node.limits.history(new_id(), cursor=cursor)


async def test_limits_of_nobody_and_of_unknown_assets_are_refused(node: Node, ann: str) -> None:
    for player in (new_id(), "nobody"):
        with pytest.raises(AccountNotFound):
            await node.limits.set(player, [stake(1)])
        with pytest.raises(AccountNotFound):
            await node.limits.lock(player, 60)
    with pytest.raises(UnknownAsset, match="USD"):
        await node.limits.set(ann, [Limit("stake", "24h", 1, "USD")])
    assert (await node.limits.get(ann)).limits == ()


async def test_with_the_account_its_limits_and_their_record_go(node: Node, database: Database, ann: str) -> None:
    await node.limits.set(ann, [stake(100)], author="player")
    await database.execute("DELETE FROM users WHERE id = $1", ann)
    assert await node.ledger.guard(ann) is None
    assert (await node.limits.history(ann)).changes == ()


# -- what clients see

game = Game("casino")


@game.on_start
async def start(ctx: Context) -> None:
    await ctx.ledger.declare(EUR)
    await ctx.ledger.declare(Asset("gems"))
    ctx.limits.declare([Limit("loss", "7d", 500, "EUR")])


@game.rpc
async def play(ctx: Context, payload: str) -> str:
    own = await ctx.ledger.open(Owner(OwnerKind.PLAYER, ctx.player.id, "EUR"))
    house = await ctx.ledger.open(Owner(OwnerKind.SYSTEM, "house", "EUR"), may_go_negative=True, hot=True)
    given = Transfer(house.id, own.id, int(payload), "gift")
    staked = Transfer(own.id, house.id, int(payload), "stake", measure=Measure.STAKE)
    await ctx.ledger.submit(Entry(None, (given, staked)))
    return ""


@game.rpc
async def restrict(ctx: Context, payload: str) -> str:
    await ctx.limits.set(ctx.player, [Limit("loss", "7d", int(payload), "EUR")])
    return ""


LIMITS = "/v2/palestra/limits"


@asynccontextmanager
async def casino(database_url: str) -> AsyncIterator[tuple[Platform, Bot, ManualClock]]:
    clock = ManualClock()
    chosen = Settings(limits=LimitSettings(defaults=("play_seconds/24h=3600",), increase_after_seconds=7200))
    async with Platform.start(game, settings=chosen, database_url=database_url, clock=clock) as platform:
        yield platform, await platform.bot("ann"), clock


async def test_clients_see_what_is_in_force_used_and_pending(database_url: str) -> None:
    async with casino(database_url) as (_, ann, _clock):
        assert await ann.call("GET", LIMITS) == {
            "limits": [
                {
                    "kind": "play_seconds",
                    "window": "24h",
                    "amount": "3600",
                    "used": "0",
                    "remaining": "3600",
                    "default": "3600",
                },
                {
                    "kind": "loss",
                    "window": "7d",
                    "asset": "EUR",
                    "amount": "500",
                    "used": "0",
                    "remaining": "500",
                    "default": "500",
                },
            ]
        }
        await ann.rpc_text("play", "100")
        wanted = {"kind": "loss", "window": "7d", "asset": "EUR", "amount": "300"}
        await ann.call("PUT", LIMITS, {"limits": [wanted]})
        await ann.rpc_text("restrict", "250")
        answer = await ann.call("PUT", LIMITS, {"limits": [{**wanted, "amount": None, "remove": True}]})
        shown = {"kind": "loss", "window": "7d", "asset": "EUR", "amount": "250", "used": "100", "remaining": "150"}
        pending = {"removed": True, "effective_time": "2025-06-15T17:06:40Z"}
        sources = {"own": "300", "operator": "250", "default": "500", "pending": pending}
        assert shown | sources in answer["limits"]
        with pytest.raises(BotError, match="leaves 150") as caught:
            await ann.rpc_text("play", "151")
        assert (caught.value.status, caught.value.code) == (400, 9)


async def test_a_player_limits_assets_that_nobody_has_had_yet(database_url: str) -> None:
    limits = LimitSettings(defaults=("stake/24h/coins=1000",))
    async with Platform.start(game, settings=Settings(limits=limits), database_url=database_url) as platform:
        ann = await platform.bot("ann")
        # Gems are declared in the ledger; coins are known only by the limit for everybody.
        for asset in ("gems", "coins"):
            wanted = {"kind": "stake", "window": "24h", "asset": asset, "amount": "300"}
            answer = await ann.call("PUT", LIMITS, {"limits": [wanted]})
            assert ("300", "300") in [(one["amount"], one["own"]) for one in answer["limits"] if one["asset"] == asset]
        with pytest.raises(BotError, match="no asset 'pearls' yet") as caught:
            await ann.call("PUT", LIMITS, {"limits": [{**wanted, "asset": "pearls"}]})
        assert caught.value.status == 404


async def test_clients_lock_themselves_and_cannot_unlock(database_url: str) -> None:
    async with casino(database_url) as (_, ann, clock):
        answer = await ann.call("POST", f"{LIMITS}/lock", {"seconds": 3600})
        assert (answer["locked"], answer["locked_until"]) == (True, "2025-06-15T16:06:40Z")
        answer = await ann.call("POST", f"{LIMITS}/lock", {"seconds": "60"})
        assert answer["locked_until"] == "2025-06-15T16:06:40Z"
        with pytest.raises(BotError, match="locked until"):
            await ann.rpc_text("play", "1")
        clock.advance(3_599.5)
        await ann.log_in()
        with pytest.raises(BotError, match="locked until"):
            await ann.rpc_text("play", "1")
        clock.advance(0.5)
        await ann.rpc_text("play", "1")
        assert "locked" not in await ann.call("GET", LIMITS)
        answer = await ann.call("POST", f"{LIMITS}/lock", {"for_ever": True})
        assert answer["locked"] and "locked_until" not in answer


@pytest.fixture
async def platform(database_url: str) -> AsyncIterator[Platform]:
    async with Platform.start(game, database_url=database_url) as platform:
        yield platform


LOSS = {"kind": "loss", "window": "24h", "asset": "EUR"}
BAD_LIMITS: list[list[dict[str, object]]] = [
    [{}],
    [LOSS],
    [{**LOSS, "amount": 1, "remove": True}],
    [{**LOSS, "amount": -1}],
    [{**LOSS, "amount": 1.5}],
    [{**LOSS, "amount": str(2**63)}],
    [{**LOSS, "amount": 1, "window": "1h"}],
    [{**LOSS, "amount": 1, "kind": "win"}],
    [{**LOSS, "amount": 1, "asset": ""}],
    [{**LOSS, "amount": 1, "kind": "play_seconds"}],
    [{**LOSS, "amount": 1}, {**LOSS, "amount": 2}],
    [{**LOSS, "amount": 1, "asset": f"asset{number}"} for number in range(13)],
]
BAD_LOCKS: list[dict[str, object]] = [
    {},
    {"seconds": 0},
    {"seconds": -5},
    {"seconds": 10**12},
    {"seconds": 1.5},
    {"seconds": 5, "for_ever": True},
]


async def test_limits_and_locks_that_cannot_be_are_refused_and_change_nothing(platform: Platform) -> None:
    ann = await platform.bot()
    before = await ann.call("GET", LIMITS)
    wrong = [("PUT", LIMITS, {"limits": limits}) for limits in BAD_LIMITS]
    wrong += [("POST", f"{LIMITS}/lock", lock) for lock in BAD_LOCKS]
    for method, path, body in wrong:
        with pytest.raises(BotError) as caught:
            await ann.call(method, path, body)
        assert (caught.value.status, caught.value.code) == (400, 3), body
    with pytest.raises(BotError) as caught:
        await ann.call("PUT", LIMITS, {"limits": [{**LOSS, "asset": "nothing", "amount": 1}]})
    assert (caught.value.status, caught.value.code) == (404, 5)
    assert await ann.call("GET", LIMITS) == before


async def test_limits_need_a_session(platform: Platform) -> None:
    ann = await platform.bot()
    for method, path in (("GET", LIMITS), ("PUT", LIMITS), ("POST", f"{LIMITS}/lock")):
        with pytest.raises(BotError) as caught:
            await ann.call(method, path, authorization="Bearer no-token")
        assert caught.value.status == 401


async def test_deleting_the_account_deletes_limits_and_lock(platform: Platform) -> None:
    ann = await platform.bot()
    parts = platform.node.parts
    assert parts is not None
    await ann.call("POST", f"{LIMITS}/lock", {"seconds": 60})
    await ann.call("DELETE", "/v2/account")
    assert await parts.services.money.ledger.guard(ann.id) is None
    assert (await parts.services.money.limits.history(ann.id)).changes == ()
    with pytest.raises(AccountNotFound):
        await parts.services.money.limits.lock(ann.id, 60)
