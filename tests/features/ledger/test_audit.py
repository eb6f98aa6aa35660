"""The auditor: snapshots that are the sum of lines, what it finds at once and what in turn, and where it says so."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
import structlog

from palestra.core.metrics import Metrics
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from palestra.features.ledger import audit as auditing
from palestra.features.ledger.audit import Finding, LedgerAudit
from tests.features.ledger.audited import DAY_SECONDS, Keys, World, world

SETTLED = 601


async def snapshots(w: World) -> dict[int, tuple[int, int]]:
    """The latest snapshot of each account that has something."""
    rows = await w.database.fetch(
        "SELECT DISTINCT ON (account_id) * FROM ledger_snapshots ORDER BY account_id, through_id DESC"
    )
    return {row["account_id"]: (row["balance"], row["held"]) for row in rows if row["balance"] or row["held"]}


async def balances(w: World) -> dict[int, tuple[int, int]]:
    """What each account has that has something."""
    rows = await w.database.fetch("SELECT account_id, sum(balance), sum(held) FROM ledger_balances GROUP BY account_id")
    return {account: (balance, held) for account, balance, held in rows if balance or held}


def kinds(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(one.kind, one.subject) for one in findings}


# -- snapshots


@pytest.mark.parametrize("step_lines", [7, 100_000])
async def test_snapshots_are_what_balances_were_and_leave_out_what_is_not_settled(
    database: Database, monkeypatch: pytest.MonkeyPatch, step_lines: int
) -> None:
    monkeypatch.setattr(auditing, "STEP_LINES_MAX", step_lines)
    async with world(database) as w:
        await w.live(1)
        w.clock.advance(SETTLED)
        settled = await balances(w)
        lines = len(await w.lines())
        await w.grant(5)
        assert await w.audit.take_snapshots() >= len(settled)
        assert await snapshots(w) == settled
        assert await database.fetchval("SELECT max(lines) FROM ledger_snapshot_steps") == lines
        assert await w.audit.take_snapshots() == 0
        w.clock.advance(SETTLED)
        await w.audit.take_snapshots()
        assert await snapshots(w) == await balances(w)


async def test_a_step_that_two_nodes_take_at_once_is_taken_once(database: Database) -> None:
    async with world(database) as w:
        await w.live(3)
        w.clock.advance(SETTLED)
        other = LedgerAudit(database, Sealer(Keys()), w.clock)
        await asyncio.gather(*[one.take_snapshots() for one in (w.audit, other) * 3])
        assert await snapshots(w) == await balances(w)
        assert await database.fetchval("SELECT count(*) FROM ledger_snapshot_steps") == 1


async def test_accounts_without_new_lines_get_no_new_snapshot(database: Database) -> None:
    async with world(database) as w:
        await w.grant(10, wallet=0)
        w.clock.advance(SETTLED)
        assert await w.audit.take_snapshots() == 2
        await w.grant(10, wallet=1)
        w.clock.advance(SETTLED)
        assert await w.audit.take_snapshots() == 2
        assert len(await snapshots(w)) == 3


# -- audits


@pytest.mark.parametrize("seed", range(3))
async def test_a_ledger_that_is_used_all_the_while_agrees(database: Database, seed: int) -> None:
    async with world(database) as w:
        for round_ in range(3):
            audits = [asyncio.create_task(w.audit.audit()) for _ in range(3)]
            await w.live(seed * 10 + round_, entries=40)
            await w.audit.take_snapshots()
            for found in await asyncio.gather(*audits):
                assert found == []
            assert await w.audit.audit() == []
        assert await database.fetchval("SELECT count(*) FROM ledger_findings") == 0
        assert await database.fetchval("SELECT count(*) FROM ledger_audits") == 12


async def used(w: World) -> None:
    """Snapshots of some lines, some lines since, and a hold in each part."""
    await w.grant(100)
    await w.hold(5)
    w.clock.advance(SETTLED)
    await w.audit.take_snapshots()
    await w.move(10)
    await w.hold(7)
    assert await w.audit.audit() == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE ledger_balances SET balance = balance + 1 WHERE account_id = {wallet}", {"balance", "asset"}),
        ("UPDATE ledger_balances SET held = held + 1 WHERE account_id = {wallet}", {"held", "holds"}),
        ("UPDATE ledger_holds SET amount = amount + 1 WHERE id = (SELECT min(id) FROM ledger_holds)", {"holds"}),
        ("UPDATE ledger_holds SET status = 3 WHERE id = (SELECT max(id) FROM ledger_holds)", {"holds"}),
        ("DELETE FROM ledger_holds WHERE id = (SELECT max(id) FROM ledger_holds)", {"holds"}),
        ("UPDATE ledger_lines SET amount = amount + 1 WHERE kind = 'move'", {"balance"}),
        ("DELETE FROM ledger_lines WHERE kind = 'move'", {"balance", "lines"}),
        ("UPDATE ledger_lines SET credit = {other} WHERE kind = 'move'", {"balance"}),
        ("UPDATE ledger_snapshots SET balance = balance - 1 WHERE account_id = {wallet}", {"balance"}),
        ("UPDATE ledger_strands SET lines = lines + 1", {"lines"}),
    ],
)
async def test_what_was_changed_behind_its_back_is_found(database: Database, statement: str, found: set[str]) -> None:
    async with world(database) as w:
        await used(w)
        await w.tamper(statement.format(wallet=w.wallets[0][0].id, other=w.wallets[0][3].id))
        assert {one.kind for one in await w.audit.audit()} == found


async def test_a_finding_says_what_was_expected_and_what_was_found(database: Database) -> None:
    async with world(database) as w:
        await used(w)
        wallet = w.wallets[0][0].id
        await w.tamper("UPDATE ledger_balances SET balance = 1000 WHERE account_id = $1", wallet)
        found = await w.audit.audit()
        assert Finding("balance", str(wallet), 90, 1000) in found
        assert Finding("asset", "coins", 0, 910) in found


async def test_less_than_nothing_and_less_than_is_held_are_found_where_they_are_forbidden(database: Database) -> None:
    async with world(database) as w:
        await used(w)
        wallet = w.wallets[0][0].id
        await w.tamper("ALTER TABLE ledger_balances DROP CONSTRAINT ledger_balances_check")
        for balance in (11, -1):
            await w.tamper("UPDATE ledger_balances SET balance = $2 WHERE account_id = $1", wallet, balance)
            assert Finding("short", str(wallet), 12, balance) in await w.audit.audit()


async def test_a_hot_account_is_audited_as_a_whole(database: Database) -> None:
    async with world(database) as w:
        await used(w)
        mint = w.mints[0].id
        await w.tamper("UPDATE ledger_balances SET balance = balance + stripe WHERE account_id = $1", mint)
        assert Finding("balance", str(mint), -100, 20) in await w.audit.audit()


async def test_a_finding_is_kept_once_told_once_in_full_and_counted(database: Database) -> None:
    async with world(database) as w:
        await used(w)
        metrics = Metrics()
        w.audit.measure(metrics)
        await w.tamper("INSERT INTO ledger_strands (lines) VALUES (2)")
        with structlog.testing.capture_logs() as first:
            await w.audit.audit()
        await w.grant(1)
        with structlog.testing.capture_logs() as again:
            await w.audit.audit()
        assert [(line["log_level"], line["event"]) for line in first] == [("error", "the ledger does not agree")]
        assert first[0]["kind"] == "lines" and first[0]["expected"] - first[0]["found"] == 2
        assert [line["event"] for line in again] == ["the ledger still does not agree"]
        rows = await database.fetch("SELECT kind, subject, expected, found FROM ledger_findings")
        assert [tuple(row)[:2] for row in rows] == [("lines", "all")]
        assert b"palestra_ledger_findings_total 1.0" in metrics.render()
        assert await database.fetchval("SELECT sum(findings) FROM ledger_audits") == 2


async def test_findings_and_roots_are_never_changed_or_deleted(database: Database) -> None:
    async with world(database) as w:
        await used(w)
        await w.audit.sign_root()
        await w.tamper("UPDATE ledger_strands SET lines = lines + 1")
        await w.audit.audit()
        for table in ("ledger_findings", "ledger_roots"):
            for statement in (
                f"DELETE FROM {table}",
                f"UPDATE {table} SET {'found = 1' if 'f' in table else 'key_id = 1'}",
            ):
                with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changed"):
                    await database.execute(statement)


async def test_what_happened_is_audited_at_once_and_all_others_in_turn(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "CYCLE_ACCOUNTS", 5)
    async with world(database) as w:
        for wallet in range(5):
            await w.grant(100, wallet)
        w.clock.advance(SETTLED)
        await w.audit.take_snapshots()
        accounts = sorted([mint.id for mint in w.mints] + [wallet.id for some in w.wallets for wallet in some])
        assert len(accounts) == 12
        quiet = w.wallets[0][4].id
        turn = accounts.index(quiet) // 5
        assert turn > 0
        await w.tamper("UPDATE ledger_balances SET balance = balance + 1 WHERE account_id = $1", quiet)
        found: list[set[tuple[str, str]]] = [kinds(await w.audit.audit()) for _ in range(6)]
        expected: list[set[tuple[str, str]]] = [set() for _ in range(6)]
        for cycle in (0, 3):
            expected[cycle].add(("asset", "coins"))
            expected[cycle + turn].add(("balance", str(quiet)))
        assert found == expected
        await w.move(1, debit=4, credit=0)
        await w.tamper("UPDATE ledger_balances SET balance = balance + 1 WHERE account_id = $1", quiet)
        for _ in range(3):
            assert ("balance", str(quiet)) in kinds(await w.audit.audit())


async def test_what_got_a_snapshot_between_two_audits_is_audited_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "CYCLE_ACCOUNTS", 1)
    async with world(database) as w:
        await w.grant(1)
        w.clock.advance(SETTLED)
        await w.audit.take_snapshots()
        await w.audit.audit()
        await w.grant(5, wallet=3)
        w.clock.advance(SETTLED)
        await w.audit.take_snapshots()
        wallet = w.wallets[0][3].id
        await w.tamper("UPDATE ledger_balances SET balance = balance + 1 WHERE account_id = $1", wallet)
        assert ("balance", str(wallet)) in kinds(await w.audit.audit())


async def test_a_line_that_comes_after_its_time_was_settled_is_a_finding(database: Database) -> None:
    async with world(database) as w:
        await w.grant(10)
        w.clock.advance(DAY_SECONDS)
        await w.grant(10)
        w.clock.advance(SETTLED)
        await w.audit.take_snapshots()
        w.clock.advance(-DAY_SECONDS)
        late: Any = w.nodes[1]
        await late.submit(w.granting(3, wallet=4))
        w.clock.advance(DAY_SECONDS)
        assert {kind for kind, _ in kinds(await w.audit.audit())} == {"balance", "lines"}
        assert (await w.verdict()).faults == []
