"""Rounds on a fresh database with a real ledger: players with 1,000 coins, a game that can be told what to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import DatabaseSettings
from palestra.core.errors import GameError
from palestra.core.ids import new_id
from palestra.database.pool import Database
from palestra.features.ledger.contract import Asset, Balance, Entry, Owner, OwnerKind, Transfer
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore
from palestra.features.rounds.contract import Round, Settlement
from palestra.features.rounds.service import HOUSE, RoundService
from palestra.features.rounds.store import RoundStore

COINS = 1_000
NewPlayer = Callable[[], Awaitable[str]]


class Games:
    """One loaded game, "dice"; `answer` is what its settle_round does."""

    def __init__(self) -> None:
        self.version: str | None = "version-1"
        self.answer: Callable[[Round], Settlement] | None = None
        self.asked: list[str] = []

    def version_of(self, game: str) -> str | None:
        return self.version if game == "dice" else None

    def settles_rounds(self, game: str) -> bool:
        return game == "dice" and self.answer is not None

    async def settle_round(self, round: Round) -> Settlement:
        self.asked.append(round.id)
        if self.answer is None:
            raise GameError("the game has no such function any more")
        return self.answer(round)


class World:
    """The money of a test: the ledger, and what it must add up to."""

    def __init__(self, ledger: LedgerService, clock: ManualClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.players: list[str] = []

    async def account(self, player_id: str) -> int:
        return (await self.ledger.open(Owner(OwnerKind.PLAYER, player_id, "coins"))).id

    async def system(self, name: str) -> int:
        owner = Owner(OwnerKind.SYSTEM, name, "coins")
        return (await self.ledger.open(owner, may_go_negative=True, hot=True)).id

    async def balance(self, player_id: str) -> Balance:
        return await self.ledger.balance(await self.account(player_id))

    async def available(self, *player_ids: str) -> list[int]:
        return [(await self.balance(player_id)).available for player_id in player_ids]

    async def house(self) -> int:
        return (await self.ledger.balance(await self.system(HOUSE))).total

    async def check_nothing_is_held_and_all_adds_up(self) -> None:
        balances = await asyncio.gather(*map(self.balance, self.players))
        assert sum(balance.held for balance in balances) == 0
        assert sum(balance.total for balance in balances) + await self.house() == COINS * len(self.players)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def games() -> Games:
    return Games()


@pytest.fixture
async def ledger(database: Database, clock: ManualClock) -> AsyncIterator[LedgerService]:
    store = LedgerStore(database, DatabaseSettings(), clock)
    register = Register(database, DatabaseSettings())
    service = LedgerService(store, register, database, clock)
    await service.declare(Asset("coins"))
    yield service
    await store.stop()
    await register.stop()


@pytest.fixture
def world(ledger: LedgerService, clock: ManualClock) -> World:
    return World(ledger, clock)


@pytest.fixture
async def rounds(
    database: Database, ledger: LedgerService, games: Games, clock: ManualClock
) -> AsyncIterator[RoundService]:
    store = RoundStore(database, DatabaseSettings())
    yield RoundService(store, ledger, games, clock)
    await store.stop()


@pytest.fixture
async def after_a_crash(database: Database, games: Games, clock: ManualClock) -> AsyncIterator[RoundService]:
    """What another process knows: the same database and the same game, nothing in memory."""
    ledger_store, register = LedgerStore(database, DatabaseSettings(), clock), Register(database, DatabaseSettings())
    store = RoundStore(database, DatabaseSettings())
    yield RoundService(store, LedgerService(ledger_store, register, database, clock), games, clock)
    for one in (store, ledger_store, register):
        await one.stop()


@pytest.fixture
def new_player(database: Database, world: World) -> NewPlayer:
    async def make() -> str:
        user_id = new_id()
        await database.execute("INSERT INTO users (id, username) VALUES ($1, $2)", user_id, user_id)
        mint = await world.system("mint")
        grant = Transfer(mint, await world.account(user_id), COINS, "grant")
        await world.ledger.submit(Entry(f"grant:{user_id}", (grant,)))
        world.players.append(user_id)
        return user_id

    return make
