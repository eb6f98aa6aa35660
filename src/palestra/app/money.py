"""The features that deal with money, built by hand like the others in build.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from palestra.core.clock import Clock
from palestra.core.config import Settings
from palestra.database.pool import Database
from palestra.database.sealed import Sealer
from palestra.features.accounts.contract import Users
from palestra.features.fair.service import FairService
from palestra.features.fair.store import FairStore
from palestra.features.ledger import feature as ledger_feature
from palestra.features.ledger.audit import LedgerAudit
from palestra.features.ledger.register import Register
from palestra.features.ledger.service import LedgerService
from palestra.features.ledger.store import LedgerStore
from palestra.features.limits.guard import LimitsGuard
from palestra.features.limits.service import LimitsService
from palestra.features.limits.store import LimitStore
from palestra.features.providers import feature as providers_feature
from palestra.features.providers.reconciliation import Reconciliation
from palestra.features.providers.refusals import Refusals
from palestra.features.providers.reports import Days
from palestra.features.providers.service import ProviderService
from palestra.features.providers.store import ProviderStore
from palestra.features.providers.tokens import PlayTokens
from palestra.features.rounds import feature as rounds_feature
from palestra.features.rounds.contract import RoundGames
from palestra.features.rounds.service import RoundService
from palestra.features.rounds.store import RoundStore
from palestra.features.sessions.contract import Sessions
from palestra.features.wallets.service import WalletService
from palestra.jobs.contract import Job


@dataclass(slots=True)
class Money:
    """The ledger and what stands on it."""

    ledger: LedgerService
    ledger_audit: LedgerAudit
    wallets: WalletService
    limits: LimitsService
    fair: FairService
    rounds: RoundService
    providers: ProviderService
    refusals: Refusals
    provider_days: Days
    reconciliation: Reconciliation
    stores: list[Any]

    def jobs(self) -> list[Job]:
        """What happens by the clock."""
        return [
            *ledger_feature.jobs(self.ledger, self.ledger_audit),
            *rounds_feature.jobs(self.rounds),
            *providers_feature.jobs(self.provider_days),
        ]


def build_money(
    settings: Settings,
    database: Database,
    sealer: Sealer,
    players: Users,
    sessions: Sessions,
    games: RoundGames,
    clock: Clock,
) -> Money:
    """Make the features of money; `games` settles rounds that nobody ended in time."""
    limits = settings.database
    register = Register(database, limits)
    guard = LimitsGuard(settings.limits.defaults)
    ledger_store = LedgerStore(database, limits, clock, guard)
    fair_store = FairStore(database, limits, sealer)
    round_store = RoundStore(database, limits)
    ledger = LedgerService(ledger_store, register, database, clock)

    play = PlayTokens(settings.session.encryption_key, clock)
    provider_store = ProviderStore(database)
    providers = ProviderService(ledger, players, sessions, provider_store, play, settings.providers, clock)
    provider_days = Days(ledger, providers, provider_store, settings.providers, clock)
    return Money(
        ledger=ledger,
        ledger_audit=LedgerAudit(database, sealer, clock),
        wallets=WalletService(ledger, clock),
        limits=LimitsService(LimitStore(database), ledger, guard, clock, settings.limits.increase_after_seconds),
        fair=FairService(fair_store, clock),
        rounds=RoundService(round_store, ledger, games, clock),
        providers=providers,
        refusals=Refusals(settings.providers, clock),
        provider_days=provider_days,
        reconciliation=Reconciliation(provider_days),
        stores=[register, ledger_store, fair_store, round_store],
    )
