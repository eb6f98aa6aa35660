"""Table of contents of the ledger: it has no operations of its own, other features and games bring them."""

from __future__ import annotations

from palestra.features.ledger.audit import LedgerAudit
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import SQL
from palestra.jobs.contract import Job


def jobs(ledger: LedgerService, audit: LedgerAudit) -> list[Job]:
    """What happens by the clock."""
    return [
        Job("ledger.end_overdue_holds", ledger.end_overdue_holds, cron="*/5 * * * * * *"),
        Job("ledger.add_partitions", ledger.start, cron="20 1 * * *"),
        Job("ledger.take_snapshots", audit.take_snapshots, cron="12 * * * *", seconds_max=3_000.0),
        Job("ledger.audit", audit.audit, cron="*/5 * * * *", seconds_max=600.0),
        # The first of a day signs, the others make up for it.
        Job("ledger.sign_root", audit.sign_root, cron="1 * * * *"),
    ]


def export() -> dict[str, str]:
    """What is stored about a player, a statement a section; see `AccountExport`."""
    return {
        "wallet": SQL["export_wallet"],
        "wallet_history": SQL["export_wallet_history"],
        "limits_state": SQL["export_limits_state"],
    }
