"""What others may know of the ledger: assets, accounts, entries and their steps, receipts, and every refusal."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

import asyncpg
import msgspec

from palestra.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

AMOUNT_MAX = 2**63 - 1
"""The most that an amount, a balance or a hold can be, in minor units; a balance may be as far below zero."""
ASSET_CHARS_MAX = 64
SCALE_MAX = 18
NAME_CHARS_MAX = 128
KEY_CHARS_MAX = 256
KIND_CHARS_MAX = 64
REFERENCE_CHARS_MAX = 256
METADATA_BYTES_MAX = 16_384
STEPS_MAX = 1_000
"""Most steps of one entry."""
PAGE_LINES_MAX = 1_000

ID_TICKS_PER_MICROSECOND = 4096
"""A line's id is its time in microseconds since 2025 times this, plus a number of its node's own: enough until 2096."""
ID_EPOCH_SECONDS = 1_735_689_600
"""The beginning of 2025, UTC, in unix seconds."""


class OwnerKind(enum.IntEnum):
    """What an account belongs to. Players are named by their id, everything else by a name."""

    SYSTEM = 0
    PLAYER = 1
    PROVIDER = 2
    ROUND = 3


class Asset(msgspec.Struct, frozen=True):
    """A currency. An amount of 1 is one minor unit, of which 10 ** `scale` make a whole one.

    `virtual` assets may be granted from nothing by game code; `money` only moves between accounts.
    """

    code: str
    scale: int = 0
    kind: Literal["virtual", "money"] = "virtual"


class Owner(msgspec.Struct, frozen=True):
    """Whose an account is, for one asset: the natural name of an account."""

    kind: OwnerKind
    name: str
    asset: str


class Account(msgspec.Struct, frozen=True):
    """An account as it was opened. `owner` is "" once the player is gone.

    A `hot` account is touched by very many entries at once, such as the house: its balance lies in several rows, which
    nobody waits for. It may always go negative, since a floor would have to be checked against all of them.
    """

    id: int
    owner: Owner
    may_go_negative: bool
    hot: bool


class Balance(msgspec.Struct, frozen=True):
    """What an account has, in minor units. Of `total`, `held` is promised to open holds."""

    total: int
    held: int
    closed: bool = False

    @property
    def available(self) -> int:
        """What may be spent."""
        return self.total - self.held


class Measure(enum.IntEnum):
    """What a step means to the limits of the player whose account it touches; see the limits feature."""

    NONE = 0
    STAKE = 1
    PAYOUT = 2
    SPEND = 3
    REFUND = 4


class Transfer(msgspec.Struct, frozen=True, gc=False):
    """Move `amount` from account `debit` to account `credit`, at once.

    `kind` says what it is for, such as "wallet.change"; `reference` names the cause elsewhere; `metadata` is the text
    of a JSON object. None of them may hold personal data: they are kept for ever.
    """

    debit: int
    credit: int
    amount: int
    kind: str
    reference: str = ""
    metadata: str = ""
    measure: Measure = Measure.NONE


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Set `amount` of `debit` aside for `credit`, until it is posted, voided, or expires at a unix second."""

    debit: int
    credit: int
    amount: int
    kind: str
    expires_at: int
    reference: str = ""
    metadata: str = ""
    measure: Measure = Measure.NONE


class Post(msgspec.Struct, frozen=True, gc=False):
    """Transfer what was held, or a part of it; the rest is free again. None means all."""

    hold: int
    amount: int | None = None
    kind: str = "post"
    reference: str = ""
    metadata: str = ""


class Void(msgspec.Struct, frozen=True, gc=False):
    """Give back all that was held. `expired` is the sweep's word: it is refused before the hold's time is over."""

    hold: int
    kind: str = "void"
    reference: str = ""
    metadata: str = ""
    expired: bool = False


Step = Transfer | Hold | Post | Void


class Beside(Protocol):
    """Rows of another feature that are written in the same commit as the entry they belong to."""

    async def write(self, connection: asyncpg.Connection, rows: list[Any]) -> None:
        """Insert the rows of many entries by one statement, in a transaction that is open already.

        Whatever this raises undoes the whole round, after which its entries are tried one by one.
        """
        ...


class Entry(msgspec.Struct, frozen=True, eq=False):
    """Steps that happen all together or not at all, one after the other: a later one sees what an earlier one did.

    With a `key`, 1 to KEY_CHARS_MAX characters, the entry happens once for ever: the same content again gets the first
    answer, other content is a KeyConflict. A refused entry leaves nothing behind and does not use its key up. No steps,
    with a key, make a tombstone: nothing can ever happen under that key. Without a key an entry whose answer is lost
    cannot be repeated safely. `beside` are (writer, row) pairs; they are not part of the content.
    """

    key: str | None
    steps: tuple[Step, ...]
    beside: tuple[tuple[Beside, Any], ...] = ()


class LineKind(enum.IntEnum):
    """What a line of the ledger did."""

    TRANSFER = 0
    HOLD = 1
    POST = 2
    VOID = 3
    EXPIRE = 4


class Line(msgspec.Struct, frozen=True, gc=False):
    """One step as it stands in the ledger for ever.

    `amount` is what was moved, held, posted or given back. `debit_after` and `credit_after` are what the accounts had
    available after it, None for hot accounts. `hold` is the id of the hold that a POST, VOID or EXPIRE ends.
    """

    id: int
    entry: int
    step: LineKind
    debit: int
    credit: int
    amount: int
    debit_after: int | None
    credit_after: int | None
    kind: str
    reference: str
    metadata: str
    hold: int | None
    expires_at: int | None

    @property
    def at(self) -> datetime:
        """When, to the microsecond, by the clock of the node that wrote it."""
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.id // ID_TICKS_PER_MICROSECOND)

    @staticmethod
    def id_at(unix_seconds: float) -> int:
        """The lowest id of a moment."""
        return int((unix_seconds - ID_EPOCH_SECONDS) * 1_000_000) * ID_TICKS_PER_MICROSECOND


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What an entry became: its id, which is that of its first line, and its lines. A tombstone has neither.

    `repeated` tells that this is the answer to an earlier request of the same key and content.
    """

    entry: int
    lines: tuple[Line, ...]
    repeated: bool = False


class OpenHold(msgspec.Struct, frozen=True):
    """A hold that is neither posted nor voided. `expires_at` in unix seconds."""

    id: int
    debit: int
    credit: int
    amount: int
    expires_at: int


class LinePage(msgspec.Struct, frozen=True):
    """Lines, newest first; `before` leads to the next page, None at the end."""

    lines: tuple[Line, ...]
    before: int | None


class BadEntry(InvalidArgument):
    """An entry that no ledger takes, such as an amount of nothing; the message says which part and why."""


class BadAsset(InvalidArgument):
    """An asset code, scale or kind that cannot be declared."""


class AssetMismatch(InvalidArgument):
    """A transfer between accounts of different assets."""


class UnknownAsset(NotFound):
    """An asset that nobody declared."""


class UnknownAccount(NotFound):
    """An account number, or an owner, without an account."""


class AssetConflict(AlreadyExists):
    """An asset of this code exists with another scale or kind."""


class KeyConflict(AlreadyExists):
    """The key was used before, for an entry of different content."""


class KeyRetired(AlreadyExists):
    """A tombstone lies under the key: nothing can happen under it."""


class InsufficientFunds(FailedPrecondition):
    """The account does not have that much available; nothing was done."""


class AmountOverflow(FailedPrecondition):
    """A balance would leave 64 bits; nothing was done."""


class AccountClosed(FailedPrecondition):
    """The account is closed; nothing was done."""


class MoneyLeft(FailedPrecondition):
    """The player has real money, so the account cannot be deleted yet; nothing was done."""


class HoldNotOpen(FailedPrecondition):
    """There is no such hold, or it is over: posted, voided or expired. Nothing was done."""


class LimitReached(FailedPrecondition):
    """A limit of the player's forbids it; the message says which, and until when. Nothing was done."""


class Guard(Protocol):
    """Decides about measured steps by a state that is kept per player and changes in the same commit as the money."""

    def check(self, state: str | None, asset: str, measure: Measure, amount: int, now: float) -> str | None:
        """The state after the step; None where no limits are kept. Raises LimitReached. Pure."""
        ...


class Ledger(Protocol):
    """Money, as other features and game modules see it."""

    async def declare(self, asset: Asset) -> None:
        """Make an asset known. Doing it again is fine. Raises AssetConflict, BadAsset."""
        ...

    async def assets(self) -> list[Asset]:
        """All declared assets by code."""
        ...

    async def asset(self, code: str) -> Asset:
        """One asset. One round trip. Raises UnknownAsset."""
        ...

    async def open(self, owner: Owner, *, may_go_negative: bool = False, hot: bool = False) -> Account:
        """The account of an owner, opened at first use; how it is opened is decided then.

        Known accounts cost nothing, others one batched round trip.
        Raises UnknownAsset, BadEntry; AccountNotFound (of accounts) for a player who does not exist.
        """
        ...

    async def submit(self, entry: Entry, tx: asyncpg.Connection | None = None) -> Receipt:
        """Carry an entry out. Its outcome is that of some serial order of all entries of all nodes.

        Many callers share a round trip and a commit. With `tx` it happens in that transaction instead, by six round
        trips, and locks its accounts until the transaction ends.

        Raises BadEntry, AssetMismatch, UnknownAccount, InsufficientFunds, AmountOverflow, AccountClosed, HoldNotOpen,
        KeyConflict, KeyRetired, LimitReached: nothing was done. Overloaded, Unavailable: nothing was done, try again.
        OutcomeUnknown: only without a key, or when the database stays away.
        """
        ...

    async def find(self, key: str) -> Receipt | None:
        """What happened under a key, None if nothing did. One round trip."""
        ...

    async def line(self, line_id: int) -> Line | None:
        """One line by its id. One round trip."""
        ...

    async def balance(self, account_id: int) -> Balance:
        """What an account has now. One round trip, whatever its history. Raises UnknownAccount."""
        ...

    async def balances_of(self, player_ids: Iterable[str]) -> dict[str, dict[str, Balance]]:
        """Every player's accounts by asset. One batched round trip."""
        ...

    async def accounts_of(self, player_id: str) -> list[Account]:
        """A player's accounts, one per asset."""
        ...

    async def history(self, account_ids: Sequence[int], before: int | None = None, limit: int = 100) -> LinePage:
        """Lines that touch any of the accounts, newest first, `limit` 1–1000. By index."""
        ...

    async def history_between(self, account_id: int, first_id: int, end_id: int, limit: int = 100) -> tuple[Line, ...]:
        """Lines that touch the account with ids from `first_id` on and before `end_id`, oldest first, `limit` 1–1000.

        Reads every line of that time: meant for hot accounts, which stand in many of them, and for jobs.
        """
        ...

    async def accounts(self, account_ids: Iterable[int]) -> dict[int, Account]:
        """Accounts by id; unknown ones are absent. One round trip."""
        ...

    async def open_holds(self, account_id: int, limit: int = 100) -> list[OpenHold]:
        """Open holds on an account, the next to expire first."""
        ...

    async def hold_amounts(self, hold_ids: Sequence[int]) -> dict[int, int]:
        """What was held by holds, over or not, by their ids. One round trip."""
        ...

    async def close(self, account_id: int) -> None:
        """Refuse every later step on an account. Raises FailedPrecondition while it has money or open holds.

        Holds in its favour can no longer be posted, only voided.
        """
        ...

    async def guard(self, player_id: str) -> str | None:
        """The guard's state for a player, None if there is none."""
        ...

    async def change_guard(self, player_id: str, change: Callable[[str | None], str]) -> str:
        """Replace the guard's state for a player; every entry from then on is measured by it, on every node.

        `change` may be called again when the state changed meanwhile.
        """
        ...
