"""Comparing a day of a provider's feed with the ledger: every difference by its name, in bounded memory."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import BinaryIO

import msgspec

from palestra.features.ledger.contract import UnknownAsset
from palestra.features.providers import rules
from palestra.features.providers.feed import Format, Malformed, Row, read_feed
from palestra.features.providers.reports import Days

PARTS = 64
"""Both sides are laid out in as many parts by transaction id, and compared part by part."""
SLACK_SECONDS = 900
"""How far a provider's midnight may be from ours."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row).decode


class Mismatch(msgspec.Struct, frozen=True):
    """One difference: its name, the transaction, what either side says."""

    name: str
    kind: str
    transaction_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} {self.transaction_id}: {self.detail}"


class Summary(msgspec.Struct):
    """How many transactions each side has, and how many differences and malformed lines there are."""

    here: int = 0
    feed: int = 0
    mismatches: int = 0
    malformed: int = 0


class _Parts:
    """Rows on disk, spread by transaction id."""

    def __init__(self, files: list[BinaryIO]) -> None:
        self._files = files

    def add(self, row: Row) -> None:
        self._files[zlib.crc32(row.transaction_id.encode()) % PARTS].write(_encode(row) + b"\n")

    def rows(self, part: int) -> list[Row]:
        self._files[part].seek(0)
        return [_decode(line) for line in self._files[part]]


@contextmanager
def _parts() -> Iterator[_Parts]:
    with ExitStack() as stack:
        yield _Parts([stack.enter_context(tempfile.TemporaryFile()) for _ in range(PARTS)])


class Reconciliation:
    """Compares what a provider says with what stands in the ledger."""

    def __init__(self, days: Days) -> None:
        self._days = days

    async def compare(
        self,
        provider: str,
        day: date,
        feed: BinaryIO,
        form: Format,
        tell: Callable[[Mismatch | Malformed], None],
    ) -> Summary:
        """Tell every difference between a feed of a UTC day and the ledger. Reads the file in the caller's thread.

        Takes disk for both sides, and memory for a 64th of them. Raises BadFeed.
        """
        summary = Summary()
        with _parts() as here, _parts() as there:
            for row in read_feed(feed, form):
                if isinstance(row, Malformed):
                    summary.malformed += 1
                    tell(row)
                else:
                    summary.feed += 1
                    there.add(row)
            async for row in self._rows(provider, day):
                summary.here += row.certain
                here.add(row)
            for part in range(PARTS):
                for mismatch in differences(here.rows(part), there.rows(part)):
                    summary.mismatches += 1
                    tell(mismatch)
        return summary

    async def _rows(self, provider: str, day: date) -> AsyncIterator[Row]:
        begins, ends = rules.day_bounds(day)
        for asset in await self._days.assets(provider):
            try:
                async for one in self._days.transactions(provider, asset, begins - SLACK_SECONDS, ends + SLACK_SECONDS):
                    certain = begins <= one.at.timestamp() < ends
                    yield Row(one.kind, one.transaction_id, one.player_id, asset, int(one.amount), 0, certain)
            except UnknownAsset:
                # Nothing was ever played for it.
                continue


def differences(here: Iterable[Row], feed: Iterable[Row]) -> Iterator[Mismatch]:
    """Every difference between two sides, which hold all there is of some transactions."""
    known = {_key(row): row for row in here}
    seen: set[tuple[str, bool]] = set()
    for row in feed:
        key = _key(row)
        ours = known.get(key)
        if key in seen:
            yield _mismatch("twice in the feed", row, f"line {row.line} again")
        elif ours is None:
            yield _mismatch("missing here", row, f"line {row.line}: {_told(row)}")
        else:
            for name in ("kind", "asset", "amount", "player_id"):
                mine, theirs = getattr(ours, name), getattr(row, name)
                # Whose it was is not known any more once the player is gone.
                if mine != theirs and mine != "":
                    what = name.removesuffix("_id")
                    yield _mismatch(f"different {what}", row, f"{mine} here, {theirs} in line {row.line}")
        seen.add(key)
    for key, row in known.items():
        if row.certain and key not in seen:
            yield _mismatch("missing in the feed", row, _told(row))


def _key(row: Row) -> tuple[str, bool]:
    """A rollback bears the id of its debit; all else has an id of its own."""
    return row.transaction_id, row.kind == "rollback"


def _told(row: Row) -> str:
    return f"{row.amount} {row.asset} of player {row.player_id or '(gone)'}"


def _mismatch(name: str, row: Row, detail: str) -> Mismatch:
    return Mismatch(name, row.kind, row.transaction_id, detail)
