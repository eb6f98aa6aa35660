"""Ledgers with a past to audit: nodes on one database, random entries of every kind, and a hand that tampers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import asyncpg

from palestra.core.clock import Clock, ManualClock
from palestra.core.config import DatabaseSettings
from palestra.core.errors import PalestraError
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from palestra.features.ledger.audit import LedgerAudit
from palestra.features.ledger.contract import (
    Account,
    Asset,
    Entry,
    Hold,
    Owner,
    OwnerKind,
    Post,
    Receipt,
    Transfer,
    Void,
)
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore
from palestra.features.ledger.verify import Trust, Verdict, verify

DAY_SECONDS = 86_400
HOLD_SECONDS = 600


class Keys:
    """A key source with one key."""

    index_key = bytes(32)

    def __init__(self, byte: int = 1) -> None:
        self.active = f"{byte:08x}"
        self._key = bytes([byte]) * 32

    def key(self, key_id: str) -> bytes:
        if key_id != self.active:
            raise KeyError(key_id)
        return self._key


class World:
    """Two nodes on one database, an auditor, and accounts: a hot mint, and five wallets in each of two assets."""

    def __init__(self, database: Database, nodes: list[LedgerService], clock: ManualClock) -> None:
        self.database = database
        self.nodes = nodes
        self.clock = clock
        self.ledger = nodes[0]
        self.audit = LedgerAudit(database, Sealer(Keys()), clock)
        self.mints: list[Account] = []
        self.wallets: list[list[Account]] = []
        self.holds: list[int] = []

    async def open(self) -> None:
        for code in ("coins", "gems"):
            await self.ledger.declare(Asset(code))
            self.mints.append(
                await self.ledger.open(Owner(OwnerKind.SYSTEM, "mint", code), may_go_negative=True, hot=True)
            )
            names = [Owner(OwnerKind.SYSTEM, f"wallet {n}", code) for n in range(5)]
            self.wallets.append([await self.ledger.open(owner) for owner in names])

    def granting(self, amount: int, wallet: int = 0) -> Entry:
        """Coins from the mint to a wallet."""
        return Entry(None, (Transfer(self.mints[0].id, self.wallets[0][wallet].id, amount, "grant"),))

    async def grant(self, amount: int, wallet: int = 0) -> Receipt:
        """Do so."""
        return await self.ledger.submit(self.granting(amount, wallet))

    async def move(self, amount: int, debit: int = 0, credit: int = 1) -> Receipt:
        """Coins from a wallet to another."""
        step = Transfer(self.wallets[0][debit].id, self.wallets[0][credit].id, amount, "move", "a reference | é")
        return await self.ledger.submit(Entry(None, (step,)))

    async def hold(self, amount: int) -> int:
        """Coins of the first wallet set aside for the second; the hold's id."""
        expires = int(self.clock.now()) + HOLD_SECONDS
        step = Hold(self.wallets[0][0].id, self.wallets[0][1].id, amount, "hold", expires)
        return (await self.ledger.submit(Entry(None, (step,)))).entry

    async def end(self, hold: int) -> None:
        """Give back what was set aside."""
        await self.ledger.submit(Entry(None, (Void(hold),)))

    async def live(self, seed: int, entries: int = 60) -> None:
        """Random entries of every kind, many at a time, on both nodes, some of them in explicit transactions."""
        chance = random.Random(seed)
        for _ in range(entries // 10):
            await asyncio.gather(*[self._entry(chance) for _ in range(10)])
            self.clock.advance(chance.choice((0, 1, HOLD_SECONDS + 1)))
            if chance.random() < 0.3:
                await chance.choice(self.nodes).end_overdue_holds()

    async def _entry(self, chance: random.Random) -> None:
        node = chance.choice(self.nodes)
        entry = Entry(None, tuple(self._step(chance) for _ in range(chance.choice((1, 1, 1, 2, 4)))))
        try:
            if chance.random() < 0.2:
                async with self.database.transaction() as tx:
                    receipt = await node.submit(entry, tx)
            else:
                receipt = await node.submit(entry)
        except PalestraError:
            return
        self.holds += [line.id for line in receipt.lines if line.expires_at is not None]

    def _step(self, chance: random.Random) -> Any:
        asset = chance.randrange(2)
        mint, wallets = self.mints[asset].id, [wallet.id for wallet in self.wallets[asset]]
        payer, payee = chance.sample(wallets, 2)
        amount = chance.randint(1, 30)
        if self.holds and chance.random() < 0.4:
            hold = chance.choice(self.holds)
            part = chance.choice((None, chance.randint(1, amount)))
            return chance.choice((Post(hold, part), Void(hold)))
        return chance.choice(
            (
                Transfer(mint, payee, amount * 3, "grant"),
                Transfer(payer, payee, amount, "move", "r" * chance.randrange(3), '{"é": "|"}'),
                Transfer(payer, mint, amount, "spend"),
                Hold(payer, chance.choice((payee, mint)), amount, "hold", int(self.clock.now()) + HOLD_SECONDS),
            )
        )

    async def verdict(self, trust: Trust | None = None, since: date | None = None) -> Verdict:
        """What `palestra ledger verify` finds."""
        connection = await self.database.connect()
        try:
            return await verify(connection, trust or Trust(), lambda done, total: None, since)
        finally:
            await connection.close()

    async def tamper(self, statement: str, *arguments: Any) -> None:
        """Do something to the rows as the owner of the database can, triggers and checks put away."""
        connection = await asyncpg.connect(self.database.url)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    async def lines(self) -> list[asyncpg.Record]:
        """All lines, the oldest first."""
        return await self.database.fetch("SELECT * FROM ledger_lines ORDER BY id")


@asynccontextmanager
async def world(database: Database, clock: ManualClock | None = None) -> AsyncIterator[World]:
    """A world on a fresh database; its nodes are stopped afterwards."""
    clock = clock or ManualClock()
    settings = DatabaseSettings()
    stores = [LedgerStore(database, settings, clock) for _ in range(2)]
    for number, store in enumerate(stores):
        # By chance both would write to the same rows of hot accounts now and then, and follow each other's ids.
        store._next_stripe = 4 * number
    registers = [Register(database, settings) for _ in range(2)]
    nodes = [_node(store, register, database, clock) for store, register in zip(stores, registers, strict=True)]
    try:
        made = World(database, nodes, clock)
        await made.open()
        yield made
    finally:
        for part in (*stores, *registers):
            await part.stop()


def _node(store: LedgerStore, register: Register, database: Database, clock: Clock) -> LedgerService:
    return LedgerService(store, register, database, clock)
