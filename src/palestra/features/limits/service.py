"""What can be done with limits; implements the contract's `Limits`."""

from __future__ import annotations

from collections.abc import Iterable

from palestra.core.clock import Clock, utc
from palestra.core.ids import new_id, parse_id
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger.contract import Ledger, UnknownAsset
from palestra.features.limits import rules
from palestra.features.limits.contract import (
    PAGE_CHANGES_MAX,
    Author,
    BadPage,
    ChangedLimit,
    ChangePage,
    HasId,
    Limit,
    LimitChange,
    Lock,
    Overview,
)
from palestra.features.limits.guard import LimitsGuard
from palestra.features.limits.store import LimitStore


class LimitsService:
    """Limits for clients and game code. `guard` is the one that the ledger asks."""

    def __init__(
        self, store: LimitStore, ledger: Ledger, guard: LimitsGuard, clock: Clock, increase_after_seconds: int
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._guard = guard
        self._clock = clock
        self._increase_after_seconds = increase_after_seconds

    def declare(self, limits: Iterable[Limit]) -> None:
        """See Limits.declare."""
        self._guard.declare(limits)

    async def get(self, player: str | HasId) -> Overview:
        """See Limits.get."""
        return self._guard.overview(await self._ledger.guard(_id_of(player)), self._clock.now())

    async def set(self, player: str | HasId, limits: Iterable[Limit], *, author: Author = "operator") -> Overview:
        """See Limits.set."""
        player_id, wanted = _id_of(player), rules.checked(limits)
        await self._require_assets({limit.asset for limit in wanted if limit.asset and limit.amount is not None})
        changes: tuple[ChangedLimit, ...] = ()

        def change(state: str | None) -> str:
            nonlocal changes
            now = self._clock.now()
            text, changes = self._guard.with_limits(state, wanted, author, now, self._increase_after_seconds)
            return text

        state = await self._ledger.change_guard(player_id, change)
        await self._record(player_id, author, changes, None)
        return self._guard.overview(state, self._clock.now())

    async def lock(self, player: str | HasId, seconds: int | None, *, author: Author = "operator") -> Overview:
        """See Limits.lock."""
        player_id, until = _id_of(player), rules.lock_end(seconds, self._clock.now())
        lock = Lock(None)

        def change(state: str | None) -> str:
            nonlocal lock
            text, lock = self._guard.with_lock(state, until)
            return text

        state = await self._ledger.change_guard(player_id, change)
        await self._record(player_id, author, (), lock)
        return self._guard.overview(state, self._clock.now())

    async def history(self, player: str | HasId, limit: int = PAGE_CHANGES_MAX, cursor: str = "") -> ChangePage:
        """See Limits.history."""
        if not 1 <= limit <= PAGE_CHANGES_MAX:
            raise BadPage(f"A page has 1 to {PAGE_CHANGES_MAX} changes.")
        player_id = _id_of(player)
        # One more than asked for tells whether there is a next page.
        found = await self._store.history(rules.position_of(player_id, cursor), limit + 1)
        return rules.page_of(found, limit)

    async def _require_assets(self, codes: Iterable[str]) -> None:
        # Wallets declare an asset when somebody first has it; a limit for everybody may name it before.
        known = self._guard.assets() | {asset.code for asset in await self._ledger.assets()}
        if missing := sorted(set(codes) - known):
            raise UnknownAsset(
                f"There is no asset {missing[0]!r} yet: declare it in the ledger, or limit it for everybody."
            )

    async def _record(
        self, player_id: str, author: Author, limits: tuple[ChangedLimit, ...], lock: Lock | None
    ) -> None:
        # In force already. A caller who is told of a failure here asks again, which changes nothing and is recorded.
        at = utc(self._clock.now())
        await self._store.record(LimitChange(new_id(), player_id, author, limits, lock, at))


def _id_of(player: str | HasId) -> str:
    try:
        return parse_id(player if isinstance(player, str) else player.id)
    except ValueError:
        raise AccountNotFound from None
