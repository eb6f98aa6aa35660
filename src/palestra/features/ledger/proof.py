"""The proof of a whole ledger, line by line and without a database: chains, sums, holds and what accounts had after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from palestra.features.ledger.book import HoldRow
from palestra.features.ledger.chain import FIRST_HASH, content, link
from palestra.features.ledger.contract import LineKind
from palestra.features.ledger.roots import Head

FAULTS_MAX = 100
"""Faults that are kept; the others are counted."""
CONTENT_FIELDS = 13
_TRANSFER, _HOLD, _POST = int(LineKind.TRANSFER), int(LineKind.HOLD), int(LineKind.POST)


class Fault(msgspec.Struct):
    """Something that is broken: where, what that means, what should stand there, and what does."""

    where: str
    meaning: str
    expected: str
    found: str


class Faults:
    """Faults in the order in which they were met."""

    def __init__(self) -> None:
        self.kept: list[Fault] = []
        self.count = 0

    def add(self, where: str, meaning: str, expected: object, found: object) -> Fault:
        """Take one down."""
        fault = Fault(where, meaning, str(expected), str(found))
        self.count += 1
        if len(self.kept) < FAULTS_MAX:
            self.kept.append(fault)
        return fault


class Pin(NamedTuple):
    """What a signed root says of a strand."""

    root: str
    head: Head


class _Chain:
    """How far a strand was followed."""

    __slots__ = ("before", "broken", "hash", "head", "last", "lines", "pins", "skip")

    def __init__(self, head: Head | None, pins: list[Pin]) -> None:
        self.head = head
        self.pins = pins
        """Pins that are still to come, the next one last."""
        self.before = self.hash = FIRST_HASH
        """The hashes of the latest line and of the one before it."""
        self.last = self.lines = self.skip = 0
        self.broken: Fault | None = None
        """The first line that is not linked to the one before it, until it is known why."""


class _Account:
    """What an account has after the lines so far."""

    __slots__ = ("asset", "balance", "floor", "held", "off")

    def __init__(self, asset: str, floor: bool) -> None:
        self.asset = asset
        self.floor = floor
        self.balance = self.held = 0
        self.off = False
        """Whether something of its lines was wrong already, from which more would follow."""


class Proof:
    """Takes all lines in the order of their ids and tells what is broken.

    Lines of a strand, and lines that touch an account, are in that order by the way they are written. Memory: about 150
    bytes an account, and as much for each open hold.
    """

    def __init__(self, heads: Iterable[Head], accounts: Iterable[tuple[int, str, bool]]) -> None:
        self.faults = Faults()
        self.lines = 0
        self._chains = {head.strand: _Chain(head, []) for head in heads}
        assets: dict[str, str] = {}
        self._accounts = {
            account: _Account(assets.setdefault(asset, asset), floor) for account, asset, floor in accounts
        }
        self._totals = dict.fromkeys(assets, 0)
        self._open: dict[int, tuple[int, int]] = {}
        """Amounts of open holds with what the database says of their status."""
        self._start = 0

    @property
    def open_holds(self) -> int:
        """How many holds are open after the lines so far."""
        return len(self._open)

    # -- what it begins from

    def pin(self, root: str, heads: Iterable[Head], *, begin: bool = False) -> None:
        """What a signed root says of strands; roots come in order. `begin`: believe it, and prove what came after."""
        for head in heads:
            chain = self._chains.get(head.strand)
            if chain is None:
                self.faults.add(f"strand {head.strand}", f"it is gone, and the root of {root} knows it", head.lines, 0)
            elif begin:
                chain.before = chain.hash = head.hash
                chain.last = chain.skip = head.last
                chain.lines = head.lines
            else:
                chain.pins.insert(0, Pin(root, head))

    def begin(self, line_id: int, snapshots: Iterable[tuple[int, int, int]]) -> None:
        """Believe that accounts had this (account, balance, held) after a line, and prove what came after."""
        self._start = line_id
        for account, balance, held in snapshots:
            known = self._accounts.get(account)
            if known is None:
                self.faults.add(f"account {account}", "it has snapshots, and there is no such account", "none", balance)
            else:
                known.balance, known.held = balance, held

    # -- the lines

    def take(self, rows: Sequence[Any], holds: Mapping[int, HoldRow]) -> None:
        """The next lines: the fields that are hashed in their order, strand and hash. `holds`: those they speak of."""
        for row in rows:
            self.lines += 1
            fields = row[:CONTENT_FIELDS]
            self._link(row[0], row[13], row[14], content(*fields))
            line_id, _, step, debit, credit, amount, debit_after, credit_after, hold, expires_at, *_ = fields
            self._apply(line_id, step, debit, credit, amount, debit_after, credit_after, hold, expires_at, holds)

    def _link(self, line_id: int, strand: int, stored: bytes, text: str) -> None:
        chain = self._chains.get(strand)
        if chain is None:
            self.faults.add(f"line {line_id}", f"it was put in: there is no strand {strand}", "no line", "a line")
            chain = self._chains[strand] = _Chain(None, [])
        if line_id <= chain.skip:
            return
        chain.lines += 1
        expected = link(chain.hash, text)
        if chain.head is None:
            pass
        elif expected != stored:
            self._unlinked(chain, line_id, expected, stored, text)
        elif chain.lines == chain.head.lines + 1 and chain.broken is None:
            meaning = f"it was put in: it stands behind the end of its strand {strand}"
            chain.broken = self.faults.add(f"line {line_id}", meaning, f"{chain.head.lines} lines", "more")
        chain.before, chain.hash, chain.last = chain.hash, stored, line_id
        while chain.pins and chain.pins[-1].head.lines <= chain.lines:
            self._compare(chain, chain.pins.pop(), line_id)

    def _unlinked(self, chain: _Chain, line_id: int, expected: bytes, stored: bytes, text: str) -> None:
        """A line that does not follow the one before it: tell a line that was put in from others."""
        if link(chain.before, text) == stored and chain.last > chain.skip:
            meaning = f"it was put in: the next line of its strand, {line_id}, is linked to the one before it"
            if chain.broken is not None and chain.broken.where == f"line {chain.last}":
                chain.broken.meaning, chain.broken = meaning, None
            else:
                self.faults.add(f"line {chain.last}", meaning, "no line", "a line")
            chain.lines -= 1
            return
        fault = self.faults.add(f"line {line_id}", "", f"hash {expected.hex()}", f"hash {stored.hex()}")
        if chain.broken is None:
            chain.broken = fault
        else:
            fault.meaning = "it does not follow the line before it on its strand either"

    def _compare(self, chain: _Chain, pin: Pin, line_id: int) -> None:
        head = pin.head
        if chain.broken is None and (head.lines, head.last, head.hash) != (chain.lines, line_id, chain.hash):
            meaning = (
                f"it is not what the root of {pin.root} was signed over: it, or lines before it on strand "
                f"{head.strand}, were written anew"
            )
            expected = f"line {head.last} with hash {head.hash.hex()}"
            chain.broken = self.faults.add(f"line {line_id}", meaning, expected, f"hash {chain.hash.hex()}")

    def _apply(
        self,
        line_id: int,
        step: int,
        debit: int,
        credit: int,
        amount: int,
        debit_after: int | None,
        credit_after: int | None,
        hold: int | None,
        expires_at: int | None,
        holds: Mapping[int, HoldRow],
    ) -> None:
        payer = self._accounts.get(debit) or self._stray(debit, line_id)
        payee = self._accounts.get(credit) or self._stray(credit, line_id)
        if payer.asset != payee.asset:
            self.faults.add(f"line {line_id}", "its accounts are of different assets", payer.asset, payee.asset)
        if step == _HOLD:
            payer.held += amount
            self._made(line_id, (debit, credit, amount, expires_at), holds.get(line_id))
        elif step != _TRANSFER:
            payer.held -= self._ended(line_id, step, amount, hold, holds.get(hold or 0))
        if step in (_TRANSFER, _POST):
            payer.balance -= amount
            payee.balance += amount
        if step <= _HOLD and payer.floor and payer.balance < payer.held and not payer.off:
            payer.off = True
            self.faults.add(f"line {line_id}", f"it takes more than account {debit} had", payer.held, payer.balance)
        if debit_after != (payer.balance - payer.held if debit > 0 else None):
            self._discontinuous(line_id, debit, payer, debit_after)
        if credit_after != (payee.balance - payee.held if credit > 0 else None):
            self._discontinuous(line_id, credit, payee, credit_after)

    def _stray(self, account: int, line_id: int) -> _Account:
        self.faults.add(f"line {line_id}", f"there is no account {account}", "an account", "none")
        stray = self._accounts[account] = _Account("none", False)
        self._totals.setdefault("none", 0)
        return stray

    def _discontinuous(self, line_id: int, account: int, state: _Account, after: int | None) -> None:
        if not state.off:
            state.off = True
            meaning = f"what account {account} had available after it does not follow from the lines before"
            self.faults.add(f"line {line_id}", meaning, state.balance - state.held, after)

    def _made(self, line_id: int, wanted: tuple[int, int, int, int | None], row: HoldRow | None) -> None:
        found = None if row is None else (row.debit, row.credit, row.amount, row.expires_at)
        if found != wanted:
            meaning = "it is not what its line says of debit, credit, amount and expiry: the hold was changed"
            self.faults.add(f"hold {line_id}", meaning, wanted, found)
        self._open[line_id] = (wanted[2], row.status if row is not None else 0)

    def _ended(self, line_id: int, step: int, amount: int, hold: int | None, row: HoldRow | None) -> int:
        """The amount that a line frees."""
        known = self._open.pop(hold or 0, None)
        if known is None and row is not None and row.id <= self._start:
            known = (row.amount, row.status)
        if known is None:
            self.faults.add(f"line {line_id}", f"it ends the hold {hold}, which is not open", "an open hold", "none")
            return 0
        held, status = known
        if status != step:
            meaning = f"line {line_id} ended it another way: the status of the hold was changed"
            self.faults.add(f"hold {hold}", meaning, LineKind(step).name, LineKind(status).name if status else "open")
        if amount > held or (step != _POST and amount != held):
            self.faults.add(f"line {line_id}", f"the hold {hold} was over another amount", held, amount)
        return held

    # -- the end

    def end(self) -> None:
        """All lines were taken."""
        for strand, chain in self._chains.items():
            if chain.head is not None:
                self._end(strand, chain, chain.head)
        for hold, (_, status) in self._open.items():
            if status:
                meaning = "no line ended it: the status of the hold was changed"
                self.faults.add(f"hold {hold}", meaning, "open", LineKind(status).name)

    def balance(self, account: int, balance: int, held: int) -> None:
        """What stands in the database as the balance of an account; it is compared with that of its lines."""
        known = self._accounts.pop(account, None)
        if known is None:
            self.faults.add(f"account {account}", "it has a balance, and there is no such account", "none", balance)
            return
        self._totals[known.asset] += balance
        if balance != known.balance:
            self.faults.add(f"account {account}", "its balance is not the sum of its lines", known.balance, balance)
        if held != known.held:
            self.faults.add(f"account {account}", "what is held is not that of its open holds", known.held, held)

    def finish(self, stray_holds: Iterable[int]) -> None:
        """All balances were taken, and these holds are of no line."""
        for account, state in self._accounts.items():
            self.faults.add(f"account {account}", "its balance is gone", state.balance, "none")
        for asset, total in self._totals.items():
            if total:
                self.faults.add(f"asset {asset}", "its balances do not add up to nothing", 0, total)
        for hold in stray_holds:
            self.faults.add(f"hold {hold}", "no line made it: it was put in", "no hold", "a hold")

    def _end(self, strand: int, chain: _Chain, head: Head) -> None:
        missing = head.lines - chain.lines
        if chain.broken is not None:
            if not chain.broken.meaning:
                chain.broken.meaning = (
                    f"lines before it on strand {strand} were removed, {missing} of its lines are missing"
                    if missing > 0
                    else "it was changed"
                )
        elif missing > 0:
            meaning = f"{missing} lines of strand {strand} after it were removed, or the strand's count was changed"
            self.faults.add(f"line {chain.last}", meaning, f"{head.lines} lines", f"{chain.lines} lines")
        elif (head.last, head.hash) != (chain.last, chain.hash):
            expected = f"line {chain.last} with hash {chain.hash.hex()}"
            found = f"line {head.last} with hash {head.hash.hex()}"
            self.faults.add(f"strand {strand}", "its head was changed", expected, found)
        elif chain.pins:
            pin = chain.pins[-1]
            meaning = f"lines of strand {strand} after it were removed along with their count: the root of {pin.root}"
            self.faults.add(f"line {chain.last}", meaning, f"{pin.head.lines} lines", f"{chain.lines} lines")
