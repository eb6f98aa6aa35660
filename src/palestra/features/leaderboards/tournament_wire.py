"""The JSON shapes of the tournament endpoints; records have those of leaderboards."""

from __future__ import annotations

from datetime import datetime

import msgspec

from palestra.core.clock import timestamp, utc
from palestra.core.encoded import encoded
from palestra.features.leaderboards import contract
from palestra.features.leaderboards.wire import Score
from palestra.gateway.fields import Int32, Int64, JsonText, UInt32


class ListRequest(msgspec.Struct):
    """Which tournaments to list. Times are unix seconds; an `end_time` of 0 asks for those that never end."""

    category_start: UInt32 = 0
    category_end: UInt32 | None = None
    start_time: UInt32 = 0
    end_time: UInt32 | None = None
    limit: Int32 | None = None
    cursor: str = ""


class SubmitRequest(msgspec.Struct):
    """A score for a tournament."""

    tournament_id: str = ""
    record: Score = msgspec.field(default_factory=Score)


class TournamentRequest(msgspec.Struct):
    """The tournament to join, or to delete the caller's record from."""

    tournament_id: str = ""


class RecordsRequest(msgspec.Struct):
    """Which records to list; `expiry` (unix seconds) names a past period, 0 is the running one."""

    tournament_id: str = ""
    owner_ids: list[str] = []
    limit: Int32 | None = None
    cursor: str = ""
    expiry: Int64 = 0


class AroundRequest(msgspec.Struct):
    """Around whose record to list."""

    tournament_id: str = ""
    owner_id: str = ""
    limit: UInt32 | None = None
    cursor: str = ""
    expiry: Int64 = 0


class Tournament(msgspec.Struct, omit_defaults=True):
    """One tournament."""

    id: str = ""
    title: str = ""
    description: str = ""
    category: int = 0
    sort_order: int = 0
    size: int = 0
    max_size: int = 0
    max_num_score: int = 0
    can_enter: bool = False
    end_active: int = 0
    next_reset: int = 0
    metadata: JsonText = ""
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    duration: int = 0
    start_active: int = 0
    prev_reset: int = 0
    operator: int = 0
    authoritative: bool = False
    join_required: bool = False


class TournamentList(msgspec.Struct, omit_defaults=True):
    """A page of tournaments."""

    tournaments: list[Tournament] = []
    cursor: str = ""


def list_json(page: contract.TournamentPage) -> TournamentList:
    """As `list_of`, already encoded: for answers that nobody looks at. Kept with the page."""
    return encoded(page, lambda: list_of(page))


def list_of(page: contract.TournamentPage) -> TournamentList:
    """The wire form of a page."""
    return TournamentList([_tournament(one) for one in page.tournaments], page.cursor)


def _tournament(one: contract.Tournament) -> Tournament:
    return Tournament(
        id=one.id,
        title=one.title,
        description=one.description,
        category=one.category,
        sort_order=int(one.sort),
        size=one.size,
        max_size=one.max_size,
        max_num_score=one.max_num_score,
        can_enter=one.can_enter,
        end_active=one.end_active,
        next_reset=one.next_reset,
        metadata=one.metadata,
        create_time=timestamp(one.created_at),
        start_time=utc(one.start_time),
        end_time=utc(one.end_time) if one.end_time else None,
        duration=one.duration_seconds,
        start_active=one.start_active,
        prev_reset=one.prev_reset,
        operator=one.operator,
        authoritative=one.authoritative,
        join_required=one.join_required,
    )
