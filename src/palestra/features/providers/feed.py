"""What a provider says that happened: its transactions as CSV or NDJSON, read line by line whatever the file's size."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal

import msgspec

from palestra.core.errors import InvalidArgument
from palestra.core.ids import parse_id
from palestra.features.ledger.contract import AMOUNT_MAX
from palestra.features.providers.wire import Kind

LINE_BYTES_MAX = 65_536
COLUMNS = ("kind", "transaction_id", "player_id", "asset", "amount")

Format = Literal["csv", "ndjson"]


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One transaction of either side. `line` is where it stands in the feed.

    `certain` is off for what lies just outside the day here: it may be in the feed, whose clock is another, or not.
    """

    kind: Kind
    transaction_id: str
    player_id: str
    asset: str
    amount: int
    line: int = 0
    certain: bool = True


class Malformed(msgspec.Struct, frozen=True):
    """A line that is no transaction, and why."""

    line: int
    reason: str


class BadFeed(InvalidArgument):
    """The file as a whole is not readable."""


class _Fields(msgspec.Struct):
    kind: Kind
    transaction_id: str
    player_id: str
    asset: str
    amount: int


def read_feed(file: BinaryIO, form: Format) -> Iterator[Row | Malformed]:
    """The transactions of a feed, and the lines that are none. Empty lines are nothing. Raises BadFeed."""
    lines = _lines(file)
    parse = _parse_object if form == "ndjson" else _columns(lines)
    for number, text in lines:
        if text is None:
            yield Malformed(number, f"longer than {LINE_BYTES_MAX} bytes")
        elif text.strip():
            try:
                yield _row(number, parse(text))
            except (ValueError, csv.Error, msgspec.DecodeError, RecursionError) as error:
                yield Malformed(number, str(error))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file with their numbers; None for one that is too long, of which no more than that is read."""
    number = 0
    while text := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        rest = text
        while len(text) > LINE_BYTES_MAX and rest and not rest.endswith(b"\n"):
            rest = file.readline(LINE_BYTES_MAX)
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        yield number, text if len(text) <= LINE_BYTES_MAX else None


def _parse_object(text: bytes) -> Any:
    return msgspec.json.decode(text)


def _columns(lines: Iterator[tuple[int, bytes | None]]) -> Callable[[bytes], dict[str, str]]:
    """A reader of CSV lines, by the names in the first of them. Raises BadFeed."""
    _, first = next(lines, (0, b""))
    try:
        names = [name.strip().lower() for name in _cells(first or b"")]
    except (ValueError, csv.Error) as error:
        raise BadFeed(f"line 1 is no line of CSV: {error}") from None
    if missing := [name for name in COLUMNS if names.count(name) != 1]:
        raise BadFeed(f"line 1 must name these columns, each once: {', '.join(COLUMNS)}; look at {', '.join(missing)}")

    def parse(text: bytes) -> dict[str, str]:
        cells = _cells(text)
        if len(cells) != len(names):
            raise ValueError(f"{len(cells)} cells where line 1 has {len(names)}")
        return dict(zip(names, (cell.strip() for cell in cells), strict=True))

    return parse


def _cells(text: bytes) -> list[str]:
    return next(csv.reader([text.decode().rstrip("\r\n")], strict=True), [])


def _row(number: int, value: Any) -> Row:
    """Raises ValueError or msgspec.ValidationError, saying what is wrong."""
    if isinstance(value, dict) and isinstance(value.get("amount"), str):
        if not (value["amount"].isascii() and value["amount"].isdigit()):
            raise ValueError(f"amount: {value['amount'][:40]!r} is no whole number of minor units")
        value = {**value, "amount": int(value["amount"][:40])}
    fields = msgspec.convert(value, _Fields)
    if not 0 < fields.amount <= AMOUNT_MAX:
        raise ValueError("amount: not between 1 and 9223372036854775807")
    return Row(fields.kind, fields.transaction_id, parse_id(fields.player_id), fields.asset, fields.amount, number)
