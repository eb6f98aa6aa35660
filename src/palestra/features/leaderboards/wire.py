"""The JSON shapes of the leaderboard endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from palestra.core.clock import timestamp
from palestra.features.leaderboards import contract
from palestra.gateway.fields import Int32, Int64, Int64Text, JsonText, UInt32, enumeration

Operator = Annotated[int, enumeration(NO_OVERRIDE=0, BEST=1, SET=2, INCREMENT=3, DECREMENT=4)]


class Score(msgspec.Struct):
    """A score to submit; `operator` 0 stands for the board's own."""

    score: Int64 = 0
    subscore: Int64 = 0
    metadata: JsonText = ""
    operator: Operator = 0


class SubmitRequest(msgspec.Struct):
    """A score for a board."""

    leaderboard_id: str = ""
    record: Score = msgspec.field(default_factory=Score)


class DeleteRequest(msgspec.Struct):
    """The board to delete the caller's record from."""

    leaderboard_id: str = ""


class ListRequest(msgspec.Struct):
    """Which records to list; `expiry` (unix seconds) names a past period, 0 is the running one."""

    leaderboard_id: str = ""
    owner_ids: list[str] = []
    limit: Int32 | None = None
    cursor: str = ""
    expiry: Int64 = 0


class AroundRequest(msgspec.Struct):
    """Around whose record to list."""

    leaderboard_id: str = ""
    owner_id: str = ""
    limit: UInt32 | None = None
    cursor: str = ""
    expiry: Int64 = 0


class Record(msgspec.Struct, omit_defaults=True):
    """One record."""

    leaderboard_id: str = ""
    owner_id: str = ""
    username: str | None = None
    score: Int64Text = ""
    subscore: Int64Text = ""
    num_score: int = 0
    metadata: JsonText = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    expiry_time: datetime | None = None
    rank: Int64Text = ""
    max_num_score: int = 0


class RecordList(msgspec.Struct, omit_defaults=True):
    """A page of records."""

    records: list[Record] = []
    owner_records: list[Record] = []
    next_cursor: str = ""
    prev_cursor: str = ""
    rank_count: Int64Text = ""


def record_of(record: contract.LeaderboardRecord) -> Record:
    """The wire form of a record."""
    return Record(
        record.leaderboard_id,
        record.owner_id,
        record.username,
        _number(record.score),
        _number(record.subscore),
        record.num_score,
        record.metadata,
        timestamp(record.created_at),
        timestamp(record.updated_at),
        timestamp(record.expires_at) if record.expires_at else None,
        _number(record.rank),
        record.max_num_score,
    )


def records_of(page: contract.RecordPage) -> RecordList:
    """The wire form of a page: made once, and the same object for all who share the page."""
    if page.encoded is None:
        page.encoded = RecordList(
            [record_of(record) for record in page.records],
            [record_of(record) for record in page.owner_records],
            page.next_cursor,
            page.prev_cursor,
            _number(page.rank_count),
        )
    return page.encoded


def _number(value: int) -> str:
    return str(value) if value else ""
