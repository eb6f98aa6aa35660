"""`palestra reconcile`: a day of a provider as the ledger has it, and every difference from the provider's own list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

from rich.console import Console

from palestra.app.build import Parts, ThrowawayKeys, build
from palestra.core.config import Settings
from palestra.core.errors import SetupError
from palestra.database.embedded import EmbeddedPostgres
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from palestra.features.providers.feed import Format, Malformed
from palestra.features.providers.reconciliation import Mismatch

FORMATS: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}

out = Console(highlight=False, soft_wrap=True, markup=False)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a1-\uffff]")


def reconcile_day(settings: Settings, provider: str, day: str, feed: Path | None) -> int:
    """Make the day's report, and compare it with a feed; the exit status is 1 when anything differs."""
    try:
        wanted = date.fromisoformat(day)
    except ValueError:
        raise SetupError(f"--day {day}: write a day as 2026-01-31") from None
    if provider not in settings.providers:
        raise SetupError(f"there is no [providers.{provider}] in the settings")
    if feed is not None and (feed.suffix.lower() not in FORMATS or not feed.is_file()):
        raise SetupError(f"{feed}: a feed is a file whose name ends in {', '.join(FORMATS)}")
    return asyncio.run(_work(settings, provider, wanted, feed))


async def _work(settings: Settings, provider: str, day: date, feed: Path | None) -> int:
    async with _opened(settings) as parts:
        for report in await parts.services.money.provider_days.report(day):
            if report.provider == provider:
                out.print(
                    f"{provider} {report.asset} {day}: {report.debits} debits {report.debited}, "
                    f"{report.credits} credits {report.credited}, {report.rollbacks} rollbacks {report.rolled_back}, "
                    f"net {report.net}"
                )
        if feed is None:
            return 0
        with feed.open("rb") as file:
            form = FORMATS[feed.suffix.lower()]
            summary = await parts.services.money.reconciliation.compare(provider, day, file, form, _tell)
    out.print(
        f"{summary.here} transactions here, {summary.feed} in {feed.name}: "
        f"{summary.mismatches} mismatches, {summary.malformed} malformed lines"
    )
    return 1 if summary.mismatches or summary.malformed else 0


def _tell(found: Mismatch | Malformed) -> None:
    text = f"malformed line {found.line}: {found.reason}" if isinstance(found, Malformed) else str(found)
    # A feed is somebody else's text: it must not steer the terminal.
    out.print(_UNPRINTABLE.sub("?", text))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Parts]:
    """The parts of a node that does not serve, on its database."""
    postgres = None if settings.database_url else EmbeddedPostgres(Path(settings.data_dir))
    database: Database | None = None
    parts: Parts | None = None
    try:
        url = settings.database.direct_url or settings.database_url or (await postgres.start() if postgres else "")
        database = Database(url)
        await database.open()
        parts = build(settings, database, Sealer(ThrowawayKeys()), lambda: False)
        yield parts
    finally:
        if parts is not None:
            for store in parts.services.stores:
                await store.stop()
            parts.services.passwords.stop()
        if database is not None:
            await database.close()
        if postgres is not None:
            await postgres.stop()
