"""Pure decisions about money: which entries are well formed, and what each of a round makes of the balances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from palestra.core.errors import PalestraError
from palestra.core.text import storable
from palestra.features.ledger.book import Book, GuardRow, HoldRow, LineIds, Missing, Row, row_key
from palestra.features.ledger.chain import content, link
from palestra.features.ledger.contract import (
    AMOUNT_MAX,
    KEY_CHARS_MAX,
    KIND_CHARS_MAX,
    METADATA_BYTES_MAX,
    REFERENCE_CHARS_MAX,
    STEPS_MAX,
    AccountClosed,
    AmountOverflow,
    AssetMismatch,
    BadEntry,
    Entry,
    Guard,
    Hold,
    HoldNotOpen,
    InsufficientFunds,
    Line,
    LineKind,
    Measure,
    Post,
    Receipt,
    Step,
    Transfer,
    UnknownAccount,
    Void,
)

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_ENDED = {LineKind.POST: "posted", LineKind.VOID: "voided", LineKind.EXPIRE: "expired"}


def digest_of(key: str) -> str:
    """What a key is remembered as: half of its SHA-256, in hex. Keys themselves may name people."""
    return sha256(key.encode()).hexdigest()[:32]


def fits(number: int) -> bool:
    """Whether an account or a line can have this id."""
    return -AMOUNT_MAX <= number <= AMOUNT_MAX


def check_entry(entry: Entry) -> int:
    """The bytes that an entry takes, about. Raises BadEntry when no ledger could take it, whatever the balances are."""
    key, steps = entry.key, entry.steps
    if key is not None and (type(key) is not str or not 1 <= len(key) <= KEY_CHARS_MAX or not storable(key)):
        raise BadEntry(f"A key has 1 to {KEY_CHARS_MAX} characters.")
    if not steps and (key is None or entry.beside):
        raise BadEntry("An entry without steps is a tombstone: it needs a key, and nothing stands beside it.")
    if len(steps) > STEPS_MAX:
        raise BadEntry(f"An entry has at most {STEPS_MAX} steps.")
    size = 0
    for step in steps:
        size += _check_step(step)
    return size


def _check_step(step: Step) -> int:
    kind, reference, metadata = step.kind, step.reference, step.metadata
    if isinstance(step, (Transfer, Hold)):
        _check_amount(step.amount)
        debit, credit = step.debit, step.credit
        if type(debit) is not int or type(credit) is not int or not (fits(debit) and fits(credit)):
            raise BadEntry("An account is named by its id, a whole number of 64 bits.")
        if debit == credit:
            raise BadEntry("Money cannot be moved from an account to itself.")
        if isinstance(step, Hold):
            if type(step.expires_at) is not int or not 0 < step.expires_at <= AMOUNT_MAX:
                raise BadEntry("A hold expires at a unix second above zero.")
            if step.debit < 0:
                raise BadEntry("A hot account cannot have holds: its balance lies in several rows.")
    else:
        if type(step.hold) is not int or not fits(step.hold):
            raise BadEntry("A hold is named by the id of its line, a whole number of 64 bits.")
        if isinstance(step, Post) and step.amount is not None:
            _check_amount(step.amount)
    if not type(kind) is type(reference) is type(metadata) is str:
        raise BadEntry(
            "The kind, the reference and the metadata of a step are texts; metadata is that of a JSON object."
        )
    if not 1 <= len(kind) <= KIND_CHARS_MAX or not storable(kind):
        raise BadEntry(f"The kind of a step has 1 to {KIND_CHARS_MAX} characters.")
    if reference and (len(reference) > REFERENCE_CHARS_MAX or not storable(reference)):
        raise BadEntry(f"The reference of a step has at most {REFERENCE_CHARS_MAX} characters.")
    if metadata:
        _check_metadata(metadata)
    return 200 + len(kind) + len(reference) + len(metadata)


def _check_metadata(metadata: str) -> None:
    if not storable(metadata) or len(metadata.encode()) > METADATA_BYTES_MAX:
        raise BadEntry(f"The metadata of a step may take {METADATA_BYTES_MAX} bytes as JSON.")
    try:
        _decode_object(metadata)
    except (msgspec.DecodeError, RecursionError) as error:
        # It is kept for ever, and whoever reads it later must be able to.
        raise BadEntry(f"The metadata of a step is the text of a JSON object: {error}"[:200]) from None


def _check_amount(amount: int) -> None:
    if type(amount) is not int:
        raise BadEntry(f"An amount is a whole number of minor units, not {amount!r:.100}.")
    if not 0 < amount <= AMOUNT_MAX:
        raise BadEntry("An amount is at least 1 and at most 2 ** 63 - 1." if amount > 0 else
                       "An amount is at least 1; to move money the other way, exchange debit and credit.")  # fmt: skip


def missing(entries: Sequence[Entry], book: Book, stripe: int, guarded: bool) -> Missing:
    """What must be read before a round of these entries can be decided. Ask again after each reading."""
    rows, holds, guards = book.rows, book.holds, book.guards
    wanted = Missing(set(), set(), set())
    for entry in entries:
        for step in entry.steps:
            if isinstance(step, (Transfer, Hold)):
                debit = step.debit if step.debit > 0 else row_key(step.debit, stripe)
                credit = step.credit if step.credit > 0 else row_key(step.credit, stripe)
                if debit not in rows:
                    wanted.rows.add(debit)
                if credit not in rows:
                    wanted.rows.add(credit)
                if guarded and step.measure:
                    _want_guard(rows.get(debit if _counts_for_debit(step.measure) else credit), guards, wanted)
            else:
                hold = holds.get(step.hold)
                if hold is None:
                    wanted.holds.add(step.hold)
                else:
                    wanted.rows.update({hold.debit, row_key(hold.credit, stripe)} - rows.keys())
                    if guarded and hold.measure:
                        _want_guard(rows.get(hold.debit), guards, wanted)
    return wanted


def _want_guard(row: Row | None, guards: Mapping[str, GuardRow], wanted: Missing) -> None:
    if row is not None and row.player_id is not None and row.player_id not in guards:
        wanted.guards.add(row.player_id)


def _counts_for_debit(measure: Measure) -> bool:
    """Whether a step counts for the player who pays rather than for the one who gets."""
    return measure in (Measure.STAKE, Measure.SPEND)


class Draft:
    """One round in the making: entries are applied one after the other, and what is to be written is gathered.

    It changes the rows of the book as it goes. Refused entries leave them as they were, but their rows count as touched
    all the same, so that the state upon which they were refused is checked with the rest.
    """

    def __init__(
        self,
        book: Book,
        ids: LineIds,
        guard: Guard | None,
        *,
        stripe: int,
        now: float,
        head: bytes,
        version: int,
    ) -> None:
        self.rows: list[Row] = []
        self.versions: list[int] = []
        """Of each touched row, the version that the database must have."""
        self.guards: list[tuple[GuardRow, int]] = []
        """Touched states of the guard, likewise."""
        self.lines: list[Line] = []
        self.hashes: list[bytes] = []
        self.keys: list[tuple[str, int | None]] = []
        self.holds_made: list[HoldRow] = []
        self.holds_ended: list[HoldRow] = []
        self.head = head
        """The hash of the latest line on the writer's strand."""
        self._book = book
        self._ids = ids
        self._guard = guard
        self._stripe = stripe
        self._now = now
        self.version = version
        """A random number that the touched rows are known by from now on."""
        self._undo: list[Callable[[], None]] = []
        self._entry = 0
        ids.round_at(now)

    def apply(self, entry: Entry, digest: str | None) -> Receipt | Exception:
        """What becomes of an entry, after all that were applied before it."""
        steps = entry.steps
        first_line = len(self.lines)
        try:
            if len(steps) == 1 and isinstance(steps[0], Transfer) and not steps[0].measure:
                self._transfer(steps[0], self._row(steps[0].debit), self._row(steps[0].credit), 0)
            elif steps:
                self._together(steps)
        except PalestraError as error:
            return error
        lines = tuple(self.lines[first_line:])
        entry_id = lines[0].id if lines else 0
        if digest is not None:
            self.keys.append((digest, entry_id or None))
        return Receipt(entry_id, lines)

    # -- steps

    def _together(self, steps: tuple[Step, ...]) -> None:
        """Several steps, or one that is not plain: all are undone when one is refused."""
        undo, kept = self._undo, (len(self.lines), len(self.holds_made), len(self.holds_ended), self.head)
        undo.clear()
        self._entry = 0
        rows = self._rows_of(steps)
        floor = max(1, *(row.last for row in rows))
        try:
            for step in steps:
                self._step(step, floor)
        except PalestraError:
            for restore in reversed(undo):
                restore()
            lines, made, ended, self.head = kept
            del self.lines[lines:], self.hashes[lines:], self.holds_made[made:], self.holds_ended[ended:]
            raise
        # Entries that share an account have ranges of ids that do not overlap: the next begins after this one's end.
        last = self.lines[-1].id
        for row in rows:
            row.last = last

    def _rows_of(self, steps: tuple[Step, ...]) -> list[Row]:
        rows = []
        for step in steps:
            if isinstance(step, (Transfer, Hold)):
                rows += (self._row(step.debit), self._row(step.credit))
            else:
                hold = self._hold(step.hold)
                rows += (self._row(hold.debit), self._row(hold.credit))
        return rows

    def _step(self, step: Step, floor: int) -> None:
        if isinstance(step, (Transfer, Hold)):
            debit, credit = self._row(step.debit), self._row(step.credit)
            self._keep(debit, credit)
            if step.measure:
                self._measure(debit if _counts_for_debit(step.measure) else credit, step.measure, step.amount)
            if isinstance(step, Transfer):
                self._transfer(step, debit, credit, floor)
            else:
                self._set_aside(step, debit, credit, floor)
        else:
            hold = self._hold(step.hold)
            debit, credit = self._row(hold.debit), self._row(hold.credit)
            self._keep(debit, credit)
            self._end(step, hold, debit, credit, floor)

    def _transfer(self, step: Transfer, debit: Row, credit: Row, floor: int) -> None:
        amount = step.amount
        self._check(debit, credit)
        left = debit.balance - amount
        if left < debit.held and not debit.may_go_negative:
            raise _short(debit, amount)
        if left - debit.held < -AMOUNT_MAX or credit.balance > AMOUNT_MAX - amount:
            raise AmountOverflow(f"A balance of {amount} {debit.asset} more would be beyond 64 bits.")
        debit.balance = left
        credit.balance += amount
        self._line(LineKind.TRANSFER, debit, credit, amount, step, None, None, floor)

    def _set_aside(self, step: Hold, debit: Row, credit: Row, floor: int) -> None:
        self._check(debit, credit)
        if step.expires_at <= self._now:
            raise BadEntry("The hold would be over before it began.")
        if debit.balance - debit.held < step.amount and not debit.may_go_negative:
            raise _short(debit, step.amount)
        if debit.held > AMOUNT_MAX - step.amount or debit.balance - debit.held - step.amount < -AMOUNT_MAX:
            raise AmountOverflow(f"Holds of {step.amount} {debit.asset} more would be beyond 64 bits.")
        debit.held += step.amount
        line = self._line(LineKind.HOLD, debit, credit, step.amount, step, None, step.expires_at, floor)
        self.holds_made.append(HoldRow(line.id, step.debit, step.credit, step.amount, step.expires_at, step.measure, 0))

    def _end(self, step: Post | Void, hold: HoldRow, debit: Row, credit: Row, floor: int) -> None:
        self._touch(debit)
        self._touch(credit)
        over = hold.expires_at <= self._now
        if hold.status:
            raise HoldNotOpen(f"The hold {hold.id} is {_ENDED[LineKind(hold.status)]} already.")
        if isinstance(step, Post):
            ending, amount = LineKind.POST, hold.amount if step.amount is None else step.amount
            if over:
                raise HoldNotOpen(f"The hold {hold.id} is expired.")
            if amount > hold.amount:
                raise BadEntry(f"The hold {hold.id} is over {hold.amount}, so {amount} cannot be posted.")
            if credit.closed:
                raise AccountClosed(f"The account {credit.account} is closed.")
            if debit.balance - amount < -AMOUNT_MAX or credit.balance > AMOUNT_MAX - amount:
                raise AmountOverflow(f"A balance of {amount} {debit.asset} more would be beyond 64 bits.")
            debit.balance -= amount
            credit.balance += amount
        else:
            ending, amount = LineKind.VOID, hold.amount
            if step.expired:
                ending = LineKind.EXPIRE
                if not over:
                    raise HoldNotOpen(f"The hold {hold.id} has not expired yet.")
        debit.held -= hold.amount
        given_back = hold.amount - amount if isinstance(step, Post) else hold.amount
        if hold.measure and given_back:
            self._measure(debit, Measure.REFUND, given_back)
        status = hold.status
        hold.status = int(ending)
        self._undo.append(lambda: setattr(hold, "status", status))
        self.holds_ended.append(hold)
        self._line(ending, debit, credit, amount, step, hold.id, None, floor)

    # -- their parts

    def _row(self, account: int) -> Row:
        row = self._book.rows.get(account if account > 0 else row_key(account, self._stripe))
        if row is None:
            raise UnknownAccount(f"There is no account {account}.")
        return row

    def _hold(self, hold_id: int) -> HoldRow:
        hold = self._book.holds.get(hold_id)
        if hold is None:
            raise HoldNotOpen(f"There is no hold {hold_id}.")
        return hold

    def _check(self, debit: Row, credit: Row) -> None:
        """Touch both rows, and see whether money may move between them at all."""
        if debit.version != self.version:
            self._touch(debit)
        if credit.version != self.version:
            self._touch(credit)
        if debit.asset != credit.asset:
            raise AssetMismatch(f"The accounts are of different assets, {debit.asset} and {credit.asset}.")
        if debit.closed or credit.closed:
            raise AccountClosed(f"The account {debit.account if debit.closed else credit.account} is closed.")

    def _touch(self, row: Row) -> None:
        if row.version == self.version:
            return
        self.rows.append(row)
        self.versions.append(row.version)
        row.version = self.version

    def _keep(self, *rows: Row) -> None:
        """Remember how rows are, for the case that a later step is refused."""
        for row in rows:
            self._undo.append(lambda row=row, was=(row.balance, row.held): _restore(row, *was))

    def _measure(self, row: Row, measure: Measure, amount: int) -> None:
        """Count a step for the player of an account, if the guard keeps limits of players. Raises LimitReached."""
        guarded = self._book.guards.get(row.player_id) if row.player_id is not None else None
        if self._guard is None or guarded is None:
            return
        if guarded.version != self.version:
            self.guards.append((guarded, guarded.version))
            guarded.version = self.version
        state = guarded.state
        guarded.state = self._guard.check(state, row.asset, measure, amount, self._now)
        self._undo.append(lambda: setattr(guarded, "state", state))

    def _line(
        self,
        kind: LineKind,
        debit: Row,
        credit: Row,
        amount: int,
        step: Step,
        hold: int | None,
        expires_at: int | None,
        floor: int,
    ) -> Line:
        """Write one line and link it to the strand."""
        if not floor:
            floor = debit.last if debit.last > credit.last else credit.last
            self._entry = 0
        line_id = self._ids.after(floor)
        debit.last = credit.last = line_id
        entry = self._entry or line_id
        self._entry = entry
        debit_after = debit.balance - debit.held if debit.account > 0 else None
        credit_after = credit.balance - credit.held if credit.account > 0 else None
        about, reference, metadata = step.kind, step.reference, step.metadata
        self.head = link(
            self.head,
            content(
                line_id, entry, int(kind), debit.account, credit.account, amount, debit_after, credit_after,
                hold, expires_at, about, reference, metadata,
            ),
        )  # fmt: skip
        line = Line(
            line_id, entry, kind, debit.account, credit.account, amount, debit_after, credit_after,
            about, reference, metadata, hold, expires_at,
        )  # fmt: skip
        self.lines.append(line)
        self.hashes.append(self.head)
        return line


def _restore(row: Row, balance: int, held: int) -> None:
    row.balance, row.held = balance, held


def _short(row: Row, amount: int) -> InsufficientFunds:
    return InsufficientFunds(
        f"The account has {row.balance - row.held} {row.asset} available, so {amount} cannot be taken from it."
    )


def same_content(entry: Entry, lines: Sequence[Line], held: Mapping[int, int]) -> bool:
    """Whether an entry is the one that became these lines, which tells a repeated request from a conflicting one.

    `held` are the amounts of the holds that the lines end, by id.
    """
    if len(entry.steps) != len(lines):
        return False
    return all(_same(step, line, held) for step, line in zip(entry.steps, lines, strict=True))


def _same(step: Step, line: Line, held: Mapping[int, int]) -> bool:
    if (step.kind, step.reference, step.metadata) != (line.kind, line.reference, line.metadata):
        return False
    if isinstance(step, Transfer):
        return line.step == LineKind.TRANSFER and (step.debit, step.credit, step.amount) == _moved(line)
    if isinstance(step, Hold):
        # When a hold expires is not part of what was asked: a repeated request counts from its own time.
        return line.step == LineKind.HOLD and (step.debit, step.credit, step.amount) == _moved(line)
    if step.hold != line.hold:
        return False
    if isinstance(step, Post):
        wanted = held.get(step.hold) if step.amount is None else step.amount
        return line.step == LineKind.POST and wanted == line.amount
    return line.step == (LineKind.EXPIRE if isinstance(step, Void) and step.expired else LineKind.VOID)


def _moved(line: Line) -> tuple[int, int, int]:
    return line.debit, line.credit, line.amount
