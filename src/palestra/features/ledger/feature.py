"""Table of contents of the ledger: it has no operations of its own, other features and games bring them."""

from __future__ import annotations

from palestra.features.ledger.service import LedgerService
from palestra.jobs.contract import Job


def jobs(ledger: LedgerService) -> list[Job]:
    """What happens by the clock."""
    return [
        Job("ledger.end_overdue_holds", ledger.end_overdue_holds, cron="*/5 * * * * * *"),
        Job("ledger.add_partitions", ledger.start, cron="20 1 * * *"),
    ]
