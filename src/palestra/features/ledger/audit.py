"""The auditor: snapshots of balances, the comparison of balances with lines, and the signed root of each day."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from palestra.core.clock import Clock, utc
from palestra.core.log import get_logger
from palestra.core.metrics import Metrics
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.sealed import Sealer
from palestra.features.ledger.contract import AMOUNT_MAX, Line
from palestra.features.ledger.roots import PURPOSE, Head, Root, root_of, sign

SQL = load_queries(__file__)
SETTLED_SECONDS = 600
"""Lines older than this are all there.

A line gets its id from the clock of its node, right before the statement that writes it, and explicit transactions may
idle for half a minute: nothing takes minutes, so ten of them leave nine and a half for clocks that differ. A line that
comes later still is a finding of the next audit, not a wrong snapshot that nobody notices.
"""
STEP_LINES_MAX = 100_000
"""Lines of one step of the snapshots, which is one transaction of about a second."""
CYCLE_ACCOUNTS = 5_000
"""Accounts that an audit looks at though nothing happened to them: its share of all."""
FINDINGS_MAX = 1_000
"""Findings of one kind that one audit takes down."""
_BEFORE_ALL = -AMOUNT_MAX - 1

log = get_logger("ledger.audit")


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it must be. `subject` is an account, an asset, or "all".

    Kinds: "balance" and "held" are not those that the lines of the account make; "holds": what is held is not the sum
    of the open holds; "short": less there than held, or than nothing, where that is forbidden; "asset": the balances
    of all its accounts do not add up to nothing; "lines": there are not as many as the strands count.
    """

    kind: str
    subject: str
    expected: int
    found: int


class LedgerAudit:
    """Watches the ledger. Each method does one share of the work and is to be called again and again, by any node."""

    def __init__(self, database: Database, sealer: Sealer, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self.findings = 0
        """New findings of this node's audits."""

    def measure(self, metrics: Metrics) -> None:
        """Register the figure that an alarm watches."""
        text = "Things that audits of the ledger found wrong"
        metrics.counter("palestra_ledger_findings", text, (), lambda: [((), self.findings)])

    # -- snapshots

    async def take_snapshots(self) -> int:
        """Bring the snapshots up to all lines that are settled; how many accounts got one, by steps of a second each.

        Audits and `verify --since` read the lines since the latest: once an hour is often enough for most.
        """
        settled = Line.id_at(self._clock.now() - SETTLED_SECONDS)
        accounts = 0
        while True:
            state = await self._database.fetchrow(SQL["snapshot_state"])
            after, lines = state or (0, 0)
            through = await self._database.fetchval(SQL["snapshot_end"], after, settled, STEP_LINES_MAX)
            if through is None:
                return accounts
            try:
                async with self._database.transaction() as tx:
                    # A scan of a small table looks cheap, and is not when this very statement makes it grow.
                    await tx.execute("SET LOCAL enable_seqscan = off")
                    done = await tx.execute(SQL["take_snapshots"], after, through, lines, utc(self._clock.now()))
            except asyncpg.UniqueViolationError:
                # Another node takes them just now.
                return accounts
            accounts += int(done.rpartition(" ")[2])

    # -- auditing

    async def audit(self) -> list[Finding]:
        """Compare balances, holds and lines in one snapshot of the database, and take down what does not agree.

        Looked at are the accounts that something happened to since the audit before, and a share of the others in
        turn; whenever their turn begins anew, the sums of all assets too. Costs a read of the lines since the latest
        snapshots. Memory is bounded by FINDINGS_MAX. Nothing is stopped or mended.
        """
        connection = await self._database.connect_directly()
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                findings, done = await _look(connection)
        finally:
            await connection.close()
        await self._take_down(findings, done)
        return findings

    async def _take_down(self, findings: list[Finding], done: tuple[int, int | None, int]) -> None:
        now = utc(self._clock.now())
        columns = [list(column) for column in zip(*map(msgspec.structs.astuple, findings), strict=True)]
        async with self._database.transaction() as tx:
            new = await tx.fetch(SQL["add_findings"], now, *columns) if findings else []
            await tx.execute(SQL["add_audit"], now, *done, len(findings))
        self.findings += len(new)
        fresh = {(row["kind"], row["subject"]) for row in new}
        for one in findings:
            if (one.kind, one.subject) in fresh:
                log.error("the ledger does not agree", **msgspec.structs.asdict(one))
        if len(findings) > len(new):
            log.error("the ledger still does not agree", findings=len(findings) - len(new))

    # -- roots

    async def sign_root(self) -> Root | None:
        """Sign this UTC day's root; None when there is one already, by whichever node."""
        signed_at = utc(self._clock.now())
        previous = await latest_root(self._database)
        if previous is not None and previous.day >= signed_at.date():
            return None
        # Some time back from the root before, so that no line is missed whose node has a slow clock.
        since = 0 if previous is None else Line.id_at(previous.signed_at.timestamp() - SETTLED_SECONDS)
        heads = [Head(*row) for row in await self._database.fetch(SQL["moved_heads"], since)]
        root = sign(previous, signed_at, heads, *self._sealer.signing_key(PURPOSE))
        done = await self._database.execute(SQL["add_root"], *msgspec.structs.astuple(root))
        if done != "INSERT 0 1":
            return None
        log.info("ledger root signed", day=str(root.day), root=root.root.hex(), public_key=root.public_key.hex())
        return root


async def latest_root(database: Database) -> Root | None:
    """The root that was signed last. One round trip."""
    row = await database.fetchrow(SQL["latest_root"])
    return None if row is None else root_of(row)


async def _look(connection: asyncpg.Connection) -> tuple[list[Finding], tuple[int, int | None, int]]:
    """What is wrong, and what is to be remembered of this audit: the step, the end of its share, lines read."""
    state: Any = await connection.fetchrow(SQL["audit_state"])
    through, counted, audited, cycled = state
    share = _BEFORE_ALL if cycled is None else cycled
    found: list[Finding] = []
    rows = await connection.fetch(SQL["audit_accounts"], through, audited, share, CYCLE_ACCOUNTS, FINDINGS_MAX)
    for account, balance_due, balance, held_due, held, holds, short in rows:
        subject = str(account)
        if balance != balance_due:
            found.append(Finding("balance", subject, int(balance_due), int(balance)))
        if held != held_due:
            found.append(Finding("held", subject, int(held_due), int(held)))
        if holds != held:
            found.append(Finding("holds", subject, int(holds), int(held)))
        if short:
            found.append(Finding("short", subject, max(int(held), 0), int(balance)))
    if cycled is None:
        await connection.execute("SET LOCAL enable_seqscan = on")
        for asset, balance in await connection.fetch(SQL["audit_assets"], FINDINGS_MAX):
            found.append(Finding("asset", asset, 0, int(balance)))
    lines: Any = await connection.fetchrow(SQL["audit_lines"], through)
    if counted + lines["since"] != lines["ever"]:
        found.append(Finding("lines", "all", lines["ever"], counted + lines["since"]))
    end = await connection.fetchval(SQL["audit_cycle_end"], share, CYCLE_ACCOUNTS)
    return found, (through, end, lines["since"])
