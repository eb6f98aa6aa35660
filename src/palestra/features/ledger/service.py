"""What can be done with money; implements the contract's `Ledger`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import asyncpg

from palestra.core.clock import Clock
from palestra.core.errors import FailedPrecondition, OutcomeUnknown, Overloaded, Unavailable
from palestra.core.ids import parse_id
from palestra.core.text import storable
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.accounts.contract import AccountNotFound
from palestra.features.ledger import rules
from palestra.features.ledger.contract import (
    AMOUNT_MAX,
    PAGE_LINES_MAX,
    Account,
    Asset,
    BadEntry,
    Balance,
    Entry,
    HoldNotOpen,
    Line,
    LinePage,
    OpenHold,
    Owner,
    Receipt,
    Void,
)
from palestra.features.ledger.register import Register
from palestra.features.ledger.store import LedgerStore, Submitted, line_of, read_entry

SQL = load_queries(__file__)
ATTEMPTS_MAX = 5
"""How often an entry with a key is sent again when its answer was lost."""
SWEEP_MAX = 1_000
"""Most overdue holds that one sweep ends at a time."""
MONTHS_AHEAD = 2


class LedgerService:
    """The ledger for other features and for game code."""

    def __init__(self, store: LedgerStore, register: Register, database: Database, clock: Clock) -> None:
        self._store = store
        self._register = register
        self._database = database
        self._clock = clock
        self.declare = register.declare
        self.assets = register.assets
        self.accounts = register.accounts
        self.accounts_of = register.accounts_of
        self.balance = register.balance

    async def start(self) -> None:
        """Make sure that there is room for the lines of the months to come."""
        await self._database.execute(SQL["add_partitions"], MONTHS_AHEAD)

    @property
    def conflicts(self) -> int:
        """Rounds that were decided again, since others had written to the same accounts: a metric."""
        return self._store.conflicts

    async def asset(self, code: str) -> Asset:
        """One asset. One round trip. Raises UnknownAsset."""
        return await self._register.asset(code)

    async def open(self, owner: Owner, *, may_go_negative: bool = False, hot: bool = False) -> Account:
        """See Ledger.open."""
        return await self._register.open(owner, may_go_negative=may_go_negative, hot=hot)

    async def submit(self, entry: Entry, tx: asyncpg.Connection | None = None) -> Receipt:
        """See Ledger.submit."""
        item = Submitted(entry, rules.check_entry(entry))
        if tx is not None:
            return await self._store.submit_in(tx, item)
        lost: OutcomeUnknown | None = None
        for _ in range(ATTEMPTS_MAX if item.digest is not None else 1):
            try:
                return await self._store.submit(item)
            except OutcomeUnknown as error:
                # Under its key it happens once, so asking again tells what became of it, or does it.
                lost = error
            except (Overloaded, Unavailable):
                if lost is None:
                    raise
                # This attempt did nothing, but an earlier one may have.
                break
        assert lost is not None
        raise lost

    # -- looking

    async def find(self, key: str) -> Receipt | None:
        """See Ledger.find."""
        if not storable(key):
            return None
        row = await self._database.fetchrow(SQL["read_keys"], [rules.digest_of(key)])
        if row is None:
            return None
        if row["entry"] is None:
            return Receipt(0, (), repeated=True)
        return Receipt(row["entry"], await read_entry(self._database, row["entry"]), repeated=True)

    async def line(self, line_id: int) -> Line | None:
        """See Ledger.line."""
        row = await self._database.fetchrow(SQL["line"], line_id) if rules.fits(line_id) else None
        return None if row is None else line_of(row)

    async def balances_of(self, player_ids: Iterable[str]) -> dict[str, dict[str, Balance]]:
        """See Ledger.balances_of."""
        try:
            ids = [parse_id(player_id) for player_id in player_ids]
        except ValueError:
            raise AccountNotFound from None
        return await self._register.balances_of(ids) if ids else {}

    async def history(self, account_ids: Sequence[int], before: int | None = None, limit: int = 100) -> LinePage:
        """See Ledger.history."""
        if not 1 <= limit <= PAGE_LINES_MAX:
            raise BadEntry(f"A page of history has 1 to {PAGE_LINES_MAX} lines.")
        upper = AMOUNT_MAX if before is None else min(max(before, 0), AMOUNT_MAX)
        accounts = list(filter(rules.fits, account_ids))
        hot = any(account < 0 for account in accounts)
        # One more than asked for tells whether there is a next page.
        rows = await self._database.fetch(SQL["hot_history" if hot else "history"], accounts, upper, limit + 1)
        lines = tuple(line_of(row) for row in rows[:limit])
        return LinePage(lines, lines[-1].id if len(rows) > limit else None)

    async def history_between(self, account_id: int, first_id: int, end_id: int, limit: int = 100) -> tuple[Line, ...]:
        """See Ledger.history_between."""
        if not 1 <= limit <= PAGE_LINES_MAX:
            raise BadEntry(f"A page of history has 1 to {PAGE_LINES_MAX} lines.")
        rows = await self._database.fetch(SQL["history_between"], account_id, first_id, end_id, limit)
        return tuple(line_of(row) for row in rows)

    async def open_holds(self, account_id: int, limit: int = 100) -> list[OpenHold]:
        """See Ledger.open_holds."""
        if not 1 <= limit <= PAGE_LINES_MAX:
            raise BadEntry(f"A page of holds has 1 to {PAGE_LINES_MAX} of them.")
        return [OpenHold(*row) for row in await self._database.fetch(SQL["open_holds"], account_id, limit)]

    async def hold_amounts(self, hold_ids: Sequence[int]) -> dict[int, int]:
        """See Ledger.hold_amounts."""
        if not hold_ids:
            return {}
        return {row["id"]: row["amount"] for row in await self._database.fetch(SQL["read_holds"], hold_ids)}

    # -- the rest

    async def close(self, account_id: int) -> None:
        """See Ledger.close."""
        await self._register.balance(account_id)
        done = await self._database.execute(SQL["close"], account_id)
        self._store.forget_accounts([account_id])
        if done == "UPDATE 0":
            raise FailedPrecondition("An account is closed when nothing is in it and nothing of it is held.")

    async def forget(self, tx: asyncpg.Connection, player_id: str) -> None:
        """Close the accounts of a player whose account is being deleted. Their lines stay, and name nobody any more."""
        self._store.forget_accounts(await self._register.forget(tx, player_id))

    async def end_overdue_holds(self) -> int:
        """Give back what is held beyond its time; how many holds that were. To be called again and again."""
        rows = await self._database.fetch(SQL["overdue_holds"], int(self._clock.now()), SWEEP_MAX)
        entries = [Entry(None, (Void(row["id"], kind="expire", expired=True),)) for row in rows]
        outcomes = await asyncio.gather(*map(self.submit, entries), return_exceptions=True)
        for outcome in outcomes:
            # One that is not open any more was ended by somebody who was faster.
            if isinstance(outcome, BaseException) and not isinstance(outcome, HoldNotOpen):
                raise outcome
        return sum(isinstance(outcome, Receipt) for outcome in outcomes)

    async def guard(self, player_id: str) -> str | None:
        """See Ledger.guard."""
        rows = await self._database.fetch(SQL["read_guards"], [player_id])
        return rows[0]["state"] if rows else None

    async def change_guard(self, player_id: str, change: Callable[[str | None], str]) -> str:
        """See Ledger.change_guard."""
        while True:
            try:
                await self._database.execute(SQL["make_guard"], player_id)
            except asyncpg.ForeignKeyViolationError:
                raise AccountNotFound from None
            row = (await self._database.fetch(SQL["read_guards"], [player_id]))[0]
            state = change(row["state"])
            if await self._database.execute(SQL["set_guard"], player_id, row["version"], state) == "UPDATE 1":
                return state
