"""Money survives: whatever is killed at whatever moment, what was acknowledged happened once, and the books balance.

PALESTRA_LONG=1 kills 240 times instead of 20, about four minutes; PALESTRA_SEED repeats the choices of an earlier run.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict

import pytest

from palestra.database.pool import Database
from palestra.features.ledger.contract import LineKind
from palestra.features.ledger.rules import digest_of
from tests.features.ledger.crash import Answered, Bank
from tests.features.ledger.world import strands_are_whole

LONG = os.environ.get("PALESTRA_LONG") == "1"
KILLS = 240 if LONG else 20
CLIENTS = 16
MOVED = (LineKind.TRANSFER, LineKind.POST)
ENDED = (LineKind.POST, LineKind.VOID, LineKind.EXPIRE)


async def test_killed_nodes_and_servers_lose_and_repeat_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    seed = int(os.environ.get("PALESTRA_SEED", random.SystemRandom().randrange(10**6)))
    bank = Bank(tmp_path_factory.mktemp("crash"), seed)
    print(f"PALESTRA_SEED={seed}")
    try:
        database = await bank.crash(KILLS, CLIENTS)
        try:
            assert len(bank.kills) == KILLS
            assert bank.refused, "some orders must have met too little money"
            assert "Traceback" not in "".join(node.log() for node in bank.nodes)
            await every_acknowledged_order_happened_once(database, bank)
            await the_books_balance(database)
            await strands_are_whole(database)
        finally:
            await database.close()
        starts = [node.starts for node in bank.nodes]
        print(f"{len(bank.acknowledged)} done, {len(bank.refused)} refused, {bank.retries} retries, starts {starts}")
    finally:
        await bank.stop()


async def every_acknowledged_order_happened_once(database: Database, bank: Bank) -> None:
    keys = {
        row[0].replace("-", ""): row[1]
        for row in await database.fetch("SELECT digest::text, entry FROM ledger_keys WHERE entry IS NOT NULL")
    }
    sql = """SELECT metadata::jsonb ->> 'key', entry, count(*), sum(amount) FROM ledger_lines
             WHERE metadata <> '' GROUP BY 1, 2"""
    found = await database.fetch(sql)
    assert max(Counter(row[0] for row in found).values()) == 1
    lines = {row[0]: row for row in found}
    assert lines.keys() == bank.acknowledged.keys()
    assert not bank.refused & lines.keys()
    assert {keys.pop(digest_of(ledger_key(answered))) for answered in bank.acknowledged.values()} == {
        row[1] for row in found
    }
    assert keys == {}, "keys of orders that nobody was told of"
    amounts = {row["id"]: row["amount"] for row in await database.fetch("SELECT id, amount FROM ledger_holds")}
    for key, answered in bank.acknowledged.items():
        _, _, count, amount = lines[key]
        wanted = answered.order["amount"] or amounts[int(answered.order["hold"])]
        assert (count, amount) == (1, abs(wanted)), answered


def ledger_key(answered: Answered) -> str:
    """The key that wallets use in the ledger."""
    scopes = {"change": "wallet:{source}:{key}", "transfer": "transfer:{source}:{key}", "hold": "hold:{source}:{key}"}
    return scopes.get(answered.function, "{key}").format(**answered.order)


async def the_books_balance(database: Database) -> None:
    """Balances and holds are what the lines say one after the other, none is below zero, and assets add up to zero."""
    balances, held, open_holds = Counter[int](), Counter[int](), dict[int, int]()
    endings: dict[int, list[int]] = defaultdict(list)
    sql = "SELECT id, step, debit, credit, amount, debit_after, credit_after, hold FROM ledger_lines ORDER BY id"
    amounts = {row["id"]: row["amount"] for row in await database.fetch("SELECT id, amount FROM ledger_holds")}
    for number, step, debit, credit, amount, debit_after, credit_after, hold in await database.fetch(sql):
        if step in MOVED:
            balances[debit] -= amount
            balances[credit] += amount
        if step == LineKind.HOLD:
            held[debit] += amount
            open_holds[number] = amount
            assert amounts[number] == amount
        if step in ENDED:
            held[debit] -= open_holds.pop(hold)
            endings[hold].append(step)
        for account, after in ((debit, debit_after), (credit, credit_after)):
            assert after == (balances[account] - held[account] if account > 0 else None), number
    kept = await database.fetch(
        "SELECT account_id, sum(balance)::bigint, sum(held)::bigint, bool_or(may_go_negative) "
        "FROM ledger_balances GROUP BY 1"
    )
    for account, balance, held_now, may_go_negative in kept:
        assert (balance, held_now) == (balances[account], held[account])
        assert may_go_negative or balance >= held_now >= 0
    sums = "SELECT asset, sum(balance) FROM ledger_balances JOIN ledger_accounts ON id = account_id GROUP BY asset"
    assert {row[0]: int(row[1]) for row in await database.fetch(sums)} == {"coins": 0, "moves": 0}
    for number, status in await database.fetch("SELECT id, status FROM ledger_holds"):
        assert endings.get(number, []) == ([status] if status else [])
        assert (number in open_holds) == (status == 0)
