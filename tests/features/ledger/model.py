"""A ledger that is easy to believe: dictionaries, one entry after the other, everything copied before it is changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from palestra.features.ledger.contract import (
    AMOUNT_MAX,
    AccountClosed,
    AmountOverflow,
    AssetMismatch,
    BadEntry,
    Entry,
    Hold,
    HoldNotOpen,
    InsufficientFunds,
    KeyConflict,
    KeyRetired,
    Line,
    LineKind,
    Post,
    Step,
    Transfer,
    UnknownAccount,
    Void,
)


@dataclass
class Holder:
    """What the model knows of an account."""

    asset: str
    balance: int = 0
    held: int = 0
    may_go_negative: bool = False
    closed: bool = False
    hot: bool = False

    @property
    def shown(self) -> int | None:
        """What a line tells to be available."""
        return None if self.hot else self.balance - self.held


@dataclass
class Held:
    """What the model knows of a hold."""

    debit: int
    credit: int
    amount: int
    expires_at: int
    over: bool = False


@dataclass(frozen=True)
class Told:
    """What a line says, but for its ids."""

    step: LineKind
    debit: int
    credit: int
    amount: int
    debit_after: int | None
    credit_after: int | None
    hold: int | None

    @staticmethod
    def of(line: Line) -> Told:
        return Told(line.step, line.debit, line.credit, line.amount, line.debit_after, line.credit_after, line.hold)


@dataclass
class Model:
    """All accounts, holds and used keys."""

    accounts: dict[int, Holder] = field(default_factory=dict)
    holds: dict[int, Held] = field(default_factory=dict)
    keys: dict[str, tuple[tuple[Step, ...], list[Told]]] = field(default_factory=dict)

    def copied(self) -> Model:
        return Model(copy.deepcopy(self.accounts), copy.deepcopy(self.holds), dict(self.keys))

    def apply(self, entry: Entry, now: float, ids: list[int]) -> list[Told]:
        """What the lines of an entry say; `ids` are those that the ledger gave them. Raises what it is refused with."""
        if entry.key in self.keys:
            return self._repeated(entry)
        after = self.copied()
        for step in entry.steps:
            after.look_up(step)
        told = [after.step(step, now, ids[n] if n < len(ids) else -n - 1) for n, step in enumerate(entry.steps)]
        if entry.key is not None:
            after.keys[entry.key] = (self._content(entry), told)
        self.accounts, self.holds, self.keys = after.accounts, after.holds, after.keys
        return told

    def _repeated(self, entry: Entry) -> list[Told]:
        content, told = self.keys[entry.key or ""]
        if self._content(entry) == content:
            return told
        raise KeyConflict("other content") if content else KeyRetired("a tombstone")

    def _content(self, entry: Entry) -> tuple[Step, ...]:
        """What counts as the same content: when a hold expires does not, and to post all is to post what was held."""
        content: list[Step] = []
        for step in entry.steps:
            if isinstance(step, Hold):
                content.append(_without_end(step))
            elif isinstance(step, Post) and step.amount is None and step.hold in self.holds:
                content.append(Post(step.hold, self.holds[step.hold].amount, step.kind))
            else:
                content.append(step)
        return tuple(content)

    def look_up(self, step: Step) -> None:
        if isinstance(step, (Post, Void)):
            if step.hold not in self.holds:
                raise HoldNotOpen("unknown")
        elif not {step.debit, step.credit} <= self.accounts.keys():
            raise UnknownAccount("unknown")

    def step(self, step: Step, now: float, line_id: int) -> Told:
        if isinstance(step, (Post, Void)):
            return self._end(step, self.holds[step.hold], now)
        debit, credit = self.accounts[step.debit], self.accounts[step.credit]
        if debit.asset != credit.asset:
            raise AssetMismatch("different")
        if debit.closed or credit.closed:
            raise AccountClosed("closed")
        if isinstance(step, Hold) and step.expires_at <= now:
            raise BadEntry("over before it began")
        if debit.balance - debit.held < step.amount and not debit.may_go_negative:
            raise InsufficientFunds("not enough")
        if isinstance(step, Transfer):
            debit.balance -= step.amount
            credit.balance += step.amount
            kind = LineKind.TRANSFER
        else:
            debit.held += step.amount
            self.holds[line_id] = Held(step.debit, step.credit, step.amount, step.expires_at)
            kind = LineKind.HOLD
        self._bounded(debit, credit)
        return Told(kind, step.debit, step.credit, step.amount, debit.shown, credit.shown, None)

    def _end(self, step: Post | Void, hold: Held, now: float) -> Told:
        debit, credit = self.accounts[hold.debit], self.accounts[hold.credit]
        expired = hold.expires_at <= now
        if hold.over or (isinstance(step, Post) and expired):
            raise HoldNotOpen("over")
        if isinstance(step, Void) and step.expired and not expired:
            raise HoldNotOpen("not yet")
        amount, kind = hold.amount, LineKind.EXPIRE if isinstance(step, Void) and step.expired else LineKind.VOID
        if isinstance(step, Post):
            amount, kind = hold.amount if step.amount is None else step.amount, LineKind.POST
            if amount > hold.amount:
                raise BadEntry("more than is held")
            if credit.closed:
                raise AccountClosed("closed")
            debit.balance -= amount
            credit.balance += amount
        debit.held -= hold.amount
        hold.over = True
        self._bounded(debit, credit)
        return Told(kind, hold.debit, hold.credit, amount, debit.shown, credit.shown, step.hold)

    def _bounded(self, *holders: Holder) -> None:
        for holder in holders:
            if max(abs(holder.balance), holder.held, abs(holder.balance - holder.held)) > AMOUNT_MAX:
                raise AmountOverflow("beyond 64 bits")

    def total(self, asset: str) -> int:
        return sum(holder.balance for holder in self.accounts.values() if holder.asset == asset)


def _without_end(step: Hold) -> Hold:
    return Hold(step.debit, step.credit, step.amount, step.kind, 1, step.reference, step.metadata)
