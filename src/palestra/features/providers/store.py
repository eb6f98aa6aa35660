"""Rows of third-party games beside the ledger: used launch tokens and daily reports."""

from __future__ import annotations

from datetime import date

from palestra.core.clock import utc
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.providers.contract import Report

SQL = load_queries(__file__)


class ProviderStore:
    """Reads and writes `provider_launches` and `provider_reports`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def use_launch(self, token_id: str, request_id: str, expires_at: float, now: float) -> str:
        """Use a launch token; the request that used it first, which may be this one. One round trip."""
        rows = await self._database.fetch(SQL["use_launch"], token_id, request_id, utc(expires_at), utc(now))
        return rows[0][0]

    async def keep(self, report: Report) -> None:
        """Keep the report of a day."""
        await self._database.execute(
            SQL["keep_report"],
            report.provider,
            report.day,
            report.asset,
            report.debits,
            str(report.debited),
            report.credits,
            str(report.credited),
            report.rollbacks,
            str(report.rolled_back),
        )

    async def reports(self, provider: str, day: date) -> list[Report]:
        """A provider's reports of a day, by asset."""
        rows = await self._database.fetch(SQL["reports"], provider, day)
        return [
            Report(name, asset, on, debits, int(debited), credits, int(credited), rollbacks, int(rolled_back))
            for name, asset, on, debits, debited, credits, credited, rollbacks, rolled_back in rows
        ]
