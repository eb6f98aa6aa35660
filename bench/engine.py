"""The ledger engine without a node around it: many callers in one process, each with one transfer in flight.

Run as `python -m bench.engine DATABASE_URL CALLERS SECONDS [hot]`; prints what it saw as one line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time

import msgspec
import uvloop

from palestra.core.clock import SystemClock
from palestra.core.config import DatabaseSettings
from palestra.core.ids import new_id
from palestra.database.migrate import migrate
from palestra.database.pool import Database
from palestra.features.ledger.contract import Asset, Entry, Owner, OwnerKind, Transfer
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore

ACCOUNTS = 10_000
"""As many as the floor's transfers choose from."""
ASSET = "bench"
WARM_UP_SECONDS = 0.5
GC_THRESHOLD = 20_000
"""As a node sets it."""


class Seen(msgspec.Struct):
    """What a load of transfers saw. `cpu_us` is this process's, callers included, per transfer."""

    transfers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


async def _load(ledger: LedgerService, accounts: list[int], house: int | None, callers: int, seconds: float) -> Seen:
    """`callers` at once, each transferring between two random accounts, or to the house, for some seconds."""
    run, delays = new_id(), []
    until = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        choose = random.Random(number)
        count = 0
        while (started := time.perf_counter()) < until:
            source = accounts[int(choose.random() * ACCOUNTS)]
            target = house or accounts[int(choose.random() * ACCOUNTS)]
            if source == target:
                continue
            count += 1
            await ledger.submit(Entry(f"{run}:{number}:{count}", (Transfer(source, target, 1, "bench"),)))
            delays.append(time.perf_counter() - started)

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    delays.sort()
    count = len(delays)
    p50, p99 = (1e3 * delays[int(count * part)] for part in (0.5, 0.99))
    return Seen(count, count / elapsed, p50, p99, 1e6 * cpu / count)


async def _run(url: str, callers: int, seconds: float, hot: bool) -> Seen:
    database, settings, clock = Database(url), DatabaseSettings(), SystemClock()
    await database.open()
    await migrate(database)
    store, register = LedgerStore(database, settings, clock), Register(database, settings)
    ledger = LedgerService(store, register, database, clock)
    try:
        await ledger.start()
        await ledger.declare(Asset(ASSET))
        owners = [Owner(OwnerKind.SYSTEM, f"bench {number}", ASSET) for number in range(ACCOUNTS)]
        opened = await asyncio.gather(*(ledger.open(owner, may_go_negative=True) for owner in owners))
        house = await ledger.open(Owner(OwnerKind.SYSTEM, "bench house", ASSET), hot=True)
        arguments = ledger, [account.id for account in opened], house.id if hot else None, callers
        await _load(*arguments, WARM_UP_SECONDS)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        return await _load(*arguments, seconds)
    finally:
        await store.stop()
        await register.stop()
        await database.close()


if __name__ == "__main__":
    seen = uvloop.run(_run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), "hot" in sys.argv[4:]))
    print(msgspec.json.encode(seen).decode())
