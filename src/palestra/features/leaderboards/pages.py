"""Pages of a board: what is asked for, how a page is made from rows, and the cursors that lead to the next."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.leaderboards.boards import Period
from palestra.features.leaderboards.contract import InvalidCursor, LeaderboardRecord, RecordPage
from palestra.features.leaderboards.ranks import OWNER_BYTES, Window, key_of
from palestra.features.leaderboards.rules import SCORE_MAX, window

_CHECK_BYTES = 8


class Position(NamedTuple):
    """A place in the order of a board: that of the record with this score and owner."""

    score: int
    subscore: int
    owner_id: str


# In front of all records, whichever way they are read; version 4 ids are never all ones.
START_ASCENDING = Position(-1, -1, SYSTEM_USER)
START_DESCENDING = Position(SCORE_MAX, SCORE_MAX, "ffffffff-ffff-ffff-ffff-ffffffffffff")


class PageRequest(NamedTuple):
    """Up to `limit` records behind the one at `position`, whose rank is `rank`; with `backwards` those in front of it.

    Without a position the page is the first. `rank` is 0 there, and None where ranks are unknown.
    """

    period: Period
    descending: bool
    limit: int
    position: Position | None = None
    rank: int | None = 0
    backwards: bool = False

    @property
    def downwards(self) -> bool:
        """Whether the records are met in descending order of score."""
        return self.descending != self.backwards

    @property
    def start(self) -> Position:
        """Where reading starts, exclusive."""
        return self.position or (START_DESCENDING if self.downwards else START_ASCENDING)


def record_of(period: Period, row: Iterable[Any], rank: int) -> LeaderboardRecord:
    """A record from its columns: owner, username, score, subscore, both counts, metadata, creation and update time."""
    return LeaderboardRecord(period.board_id, *row, expires_at=period.expires_at if period.ends_at else None, rank=rank)


def page_of(request: PageRequest, rows: Sequence[Sequence[Any]]) -> RecordPage:
    """The page from its rows, in the order they were met; there is one row more than `limit` if the board goes on."""
    limit, period, rank = request.limit, request.period, request.rank
    more = len(rows) > limit
    shown = list(rows[:limit])
    if request.backwards:
        shown.reverse()
        if rank is not None:
            # At the top ranks can be counted anew; elsewhere the board may have changed since the cursor was made.
            rank = max(rank - 1 - len(shown), 0) if more else 0
    if rank is None:
        records = [record_of(period, row, 0) for row in shown]
    else:
        records = [record_of(period, row, at) for at, row in enumerate(shown, rank + 1)]
    page = RecordPage(records=records, rank_count=period.rank_count)
    if records:
        if more or request.backwards:
            page.next_cursor = cursor_at(period, records[-1], backwards=False)
        if more if request.backwards else request.position is not None:
            page.prev_cursor = cursor_at(period, records[0], backwards=True)
    return page


def around(period: Period, above: RecordPage, owner: LeaderboardRecord, below: RecordPage, limit: int) -> RecordPage:
    """The window around an owner's record, from the page of `limit` records in front of it and the one behind it."""
    up, down = window(len(above.records), len(below.records), limit)
    records = [*above.records[len(above.records) - up :], owner, *below.records[:down]]
    page = RecordPage(records=records, rank_count=below.rank_count)
    if below.next_cursor or down < len(below.records):
        page.next_cursor = cursor_at(period, records[-1], backwards=False)
    if above.prev_cursor or up < len(above.records):
        page.prev_cursor = cursor_at(period, records[0], backwards=True)
    return page


def window_page(period: Period, window: Window, found: Mapping[bytes, LeaderboardRecord]) -> RecordPage | None:
    """The page of a window that ranks told; None if a record has changed its place since."""
    records = []
    for rank, key in enumerate(window.keys, window.first):
        owner = key[-OWNER_BYTES:]
        record = found.get(owner)
        if record is None or key_of(owner, record.score, record.subscore) != key:
            return None
        records.append(replace(record, rank=rank))
    page = RecordPage(records=records, rank_count=period.rank_count)
    if window.more_below:
        page.next_cursor = cursor_at(period, records[-1], backwards=False)
    if window.more_above:
        page.prev_cursor = cursor_at(period, records[0], backwards=True)
    return page


# -- cursors

_Number = Annotated[int, Meta(ge=0, le=SCORE_MAX)]


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page goes on: behind the record at this place, or in front of it. `rank` is that record's, if known."""

    score: _Number
    subscore: _Number
    owner: Annotated[bytes, Meta(min_length=16, max_length=16)]
    rank: Annotated[int, Meta(ge=1, le=2**53)] | None
    backwards: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Cursor).decode


def cursor_at(period: Period, record: LeaderboardRecord, *, backwards: bool) -> str:
    """A cursor to what comes behind a record, or in front of it; it serves only for this board and period."""
    owner = bytes.fromhex(record.owner_id.replace("-", ""))
    packed = _encode(_Cursor(record.score, record.subscore, owner, record.rank or None, backwards))
    return urlsafe_b64encode(packed + _check(packed, period)).decode()


def request_of(cursor: str, period: Period, descending: bool, limit: int) -> PageRequest:
    """What a cursor asks for, "" being the first page. Raises InvalidCursor unless made for this board and period."""
    if not cursor:
        return PageRequest(period, descending, limit)
    try:
        data = urlsafe_b64decode(cursor.encode())
        packed = data[:-_CHECK_BYTES]
        if data[-_CHECK_BYTES:] != _check(packed, period):
            raise InvalidCursor
        found = _decode(packed)
    except (ValueError, msgspec.MsgspecError):
        raise InvalidCursor from None
    position = Position(found.score, found.subscore, parse_id(found.owner.hex()))
    return PageRequest(period, descending, limit, position, found.rank, found.backwards)


def _check(packed: bytes, period: Period) -> bytes:
    """Ties a cursor to its list. Nothing secret: a forged cursor shows no record that the list does not."""
    text = b"%d/%b/%b" % (period.ends_at, period.board_id.encode(), packed)
    return hashlib.blake2b(text, digest_size=_CHECK_BYTES).digest()
