"""Days of a provider as the ledger has them: its transactions one by one, and their sums as a report that is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta

from palestra.core.clock import Clock, utc
from palestra.core.provider_settings import ProviderSettings
from palestra.features.ledger.contract import PAGE_LINES_MAX, Ledger, Line, OwnerKind, UnknownAsset
from palestra.features.providers import rules, wire
from palestra.features.providers.contract import Report, UnknownProvider
from palestra.features.providers.service import ProviderService
from palestra.features.providers.store import ProviderStore


class Days:
    """Reads a stretch of time page by page, however long it is."""

    def __init__(
        self,
        ledger: Ledger,
        providers: ProviderService,
        store: ProviderStore,
        settings: Mapping[str, ProviderSettings],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._providers = providers
        self._store = store
        self._settings = settings
        self._clock = clock

    async def assets(self, provider: str) -> list[str]:
        """What a provider plays for, and then what it once did: its accounts stay. Raises UnknownProvider."""
        if provider not in self._settings:
            raise UnknownProvider(f"There is no provider {provider[:60]!r} in the settings.")
        once = await self._ledger.assets_named(OwnerKind.PROVIDER, provider)
        return list(dict.fromkeys([*self._settings[provider].assets, *once]))

    async def report(self, day: date) -> list[Report]:
        """Add up and keep what every provider's requests did to each of its assets on a UTC day.

        May be done again, while the day lasts too. Two round trips for each thousand lines of the ledger.
        """
        return [
            report
            for provider in self._settings
            for asset in await self.assets(provider)
            if (report := await self._report(provider, asset, day)) is not None
        ]

    async def report_yesterday(self) -> None:
        """Keep the reports of the UTC day that is over."""
        await self.report((utc(self._clock.now()) - timedelta(days=1)).date())

    async def kept(self, provider: str, day: date) -> list[Report]:
        """The reports of a provider's day that were kept, by asset."""
        return await self._store.reports(provider, day)

    async def _report(self, provider: str, asset: str, day: date) -> Report | None:
        counts: Counter[str] = Counter()
        sums: Counter[str] = Counter()
        try:
            async for page in self._pages(provider, asset, *rules.day_bounds(day)):
                for line in page:
                    counts[line.kind] += 1
                    sums[line.kind] += line.amount
        except UnknownAsset:
            # Nothing was ever played for it.
            return None
        debit, credit, rollback = rules.DEBIT, rules.CREDIT, rules.ROLLBACK
        report = Report(
            provider,
            asset,
            day,
            counts[debit],
            sums[debit],
            counts[credit],
            sums[credit],
            counts[rollback],
            sums[rollback],
        )
        await self._store.keep(report)
        return report

    async def transactions(
        self, provider: str, asset: str, since: float, until: float
    ) -> AsyncIterator[wire.Transaction]:
        """A provider's transactions of an asset, oldest first. Raises UnknownAsset."""
        async for page in self._pages(provider, asset, since, until):
            house = await self._providers.house(provider, asset)
            for one in await self._providers.transactions(house, page):
                yield one

    async def _pages(self, provider: str, asset: str, since: float, until: float) -> AsyncIterator[tuple[Line, ...]]:
        house = await self._providers.house(provider, asset)
        first, end = Line.id_at(since), Line.id_at(until)
        while True:
            page = await self._ledger.history_between(house.id, first, end, PAGE_LINES_MAX)
            yield page
            if len(page) < PAGE_LINES_MAX:
                return
            first = page[-1].id + 1
