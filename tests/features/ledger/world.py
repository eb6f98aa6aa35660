"""A node's ledger on a database, with a mint, players and what a test wants to know of the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from palestra.core.clock import Clock, SystemClock
from palestra.core.config import DatabaseSettings
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.ledger.chain import FIRST_HASH, content, link
from palestra.features.ledger.contract import (
    Account,
    Asset,
    Entry,
    Guard,
    Hold,
    LimitReached,
    Measure,
    Owner,
    OwnerKind,
    Receipt,
    Step,
    Transfer,
)
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore

COINS = "coins"
GEMS = "gems"


class World(LedgerService):
    """The ledger of one node, with shorthands."""

    def __init__(self, database: Database, clock: Clock | None = None, guard: Guard | None = None) -> None:
        self.database = database
        self.clock = clock or SystemClock()
        settings = DatabaseSettings()
        self.store = LedgerStore(database, settings, self.clock, guard)
        self.register = Register(database, settings)
        super().__init__(self.store, self.register, database, self.clock)

    async def mint(self, asset: str = COINS) -> int:
        """The hot system account that money comes from."""
        await self.declare(Asset(asset))
        return (await self.open(Owner(OwnerKind.SYSTEM, "mint", asset), hot=True)).id

    async def new_player(self) -> str:
        user_id = new_id()
        await self.database.execute("INSERT INTO users (id, username) VALUES ($1, $2)", user_id, user_id)
        return user_id

    async def player(self, amount: int = 0, asset: str = COINS) -> int:
        """The account of a new player who has something."""
        return (await self.player_account(await self.new_player(), amount, asset)).id

    async def player_account(self, player_id: str, amount: int = 0, asset: str = COINS) -> Account:
        mint = await self.mint(asset)
        account = await self.open(Owner(OwnerKind.PLAYER, player_id, asset))
        if amount:
            await self.move(mint, account.id, amount)
        return account

    async def system(self, name: str, asset: str = COINS, *, may_go_negative: bool = False, hot: bool = False) -> int:
        await self.declare(Asset(asset))
        owner = Owner(OwnerKind.SYSTEM, name, asset)
        return (await self.open(owner, may_go_negative=may_go_negative, hot=hot)).id

    async def move(self, debit: int, credit: int, amount: int, key: str | None = None, **more: Any) -> Receipt:
        return await self.submit(Entry(key, (move(debit, credit, amount, **more),)))

    async def hold(
        self, debit: int, credit: int, amount: int, key: str | None = None, seconds: float = 1_000
    ) -> Receipt:
        return await self.submit(Entry(key, (Hold(debit, credit, amount, "hold", int(self.clock.now() + seconds)),)))

    async def carry_out(self, *steps: Step, key: str | None = None) -> Receipt:
        return await self.submit(Entry(key, steps))

    async def available(self, account: int) -> int:
        return (await self.balance(account)).available

    async def traces(self) -> dict[str, Any]:
        """How many rows there are of everything that an entry leaves behind, and what everybody has."""
        counts = {
            table: await self.database.fetchval(f"SELECT count(*) FROM {table}")
            for table in ("ledger_lines", "ledger_keys", "ledger_holds")
        }
        sql = "SELECT account_id, sum(balance), sum(held) FROM ledger_balances GROUP BY 1 ORDER BY 1"
        return {**counts, "balances": [tuple(row) for row in await self.database.fetch(sql)]}


class Ceiling:
    """A guard that lets a player stake so much and no more; its state is what has been staked."""

    def __init__(self, most: int) -> None:
        self.most = most

    def check(self, state: str | None, asset: str, measure: Measure, amount: int, now: float) -> str | None:
        staked = int(state or 0) + amount
        if staked > self.most:
            raise LimitReached(f"No more than {self.most}.")
        return str(staked)


class Journal:
    """Rows of another feature, written beside entries; a row of "bad" is refused by the table."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def write(self, connection: asyncpg.Connection, rows: list[Any]) -> None:
        await connection.execute("INSERT INTO journal SELECT * FROM unnest($1::text[])", rows)
        if self.error is not None:
            raise self.error


def move(debit: int, credit: int, amount: int, **more: Any) -> Transfer:
    return Transfer(debit, credit, amount, more.pop("kind", "test"), **more)


def in_small_rounds(world: World) -> None:
    """Have few entries fill all lanes of a node, and its book forget much, as many entries and accounts would do."""
    world.store._entries._further_lane_rows_min, world.store._entries._rows_max = 1, 4
    world.store._book._rows_max = 30


@asynccontextmanager
async def world_of_a_node(
    database: Database, clock: Clock | None = None, guard: Guard | None = None
) -> AsyncIterator[World]:
    """One node's ledger; several may share a database."""
    world = World(database, clock, guard)
    try:
        yield world
    finally:
        await world.store.stop()
        await world.register.stop()


def careful(world: World) -> None:
    """Have the next rounds of a node look for keys first, as they do after a repeated key was met."""
    world.store._careful = 1_000


async def strands_are_whole(database: Database) -> None:
    """Every strand, read in the order of ids, links up to the hash that it ends with."""
    sql = """SELECT strand, hash, id, entry, step, debit, credit, amount, debit_after, credit_after, hold, expires_at,
                    kind, reference, metadata FROM ledger_lines ORDER BY strand, id"""
    heads: dict[int, tuple[int, bytes]] = {}
    for strand, forged, *fields in await database.fetch(sql):
        lines, head = heads.get(strand, (0, FIRST_HASH))
        assert link(head, content(*fields)) == forged
        heads[strand] = lines + 1, forged
    for strand, lines, forged in await database.fetch("SELECT id, lines, hash FROM ledger_strands"):
        assert heads.get(strand, (0, FIRST_HASH)) == (lines, forged)
