"""What others may know of leaderboards: boards, records, pages, errors, the reset event, and what can be done."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import InvalidArgument, NotFound, PermissionDenied


class Sort(enum.IntEnum):
    """Which score comes first. The numbers are stored."""

    ASCENDING = 0
    DESCENDING = 1


class Operator(enum.IntEnum):
    """What a new score does to a stored one. The numbers are stored and are those of the wire."""

    BEST = 1
    SET = 2
    INCREMENT = 3
    DECREMENT = 4


class Leaderboard(msgspec.Struct, frozen=True):
    """One board. `reset` is a cron expression (UTC) or None, `metadata` the text of a JSON object."""

    id: str
    authoritative: bool
    sort: Sort
    operator: Operator
    reset: str | None
    metadata: str
    enable_ranks: bool
    created_at: datetime


class LeaderboardRecord(msgspec.Struct, frozen=True):
    """One owner's score in one period. `rank` counts from 1; 0 means unknown. `metadata` is the text of a JSON object.

    `expires_at` is the end of the period, None when it never ends.
    """

    leaderboard_id: str
    owner_id: str
    username: str | None
    score: int
    subscore: int
    num_score: int
    max_num_score: int
    metadata: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    rank: int = 0


class RecordPage(msgspec.Struct, eq=False):
    """A piece of a board in order. Callers who ask for the same piece at the same time are given the same object.

    `owner_records` are those of the owners asked for; a cursor is "" where the board ends; `rank_count` is how many
    owners are ranked, 0 when that is unknown. Treat a page as immutable.
    """

    records: list[LeaderboardRecord] = []
    owner_records: list[LeaderboardRecord] = []
    next_cursor: str = ""
    prev_cursor: str = ""
    rank_count: int = 0
    encoded: Any = None
    """Room for the wire form, so that those who share a page share the work of making it."""


class LeaderboardPage(msgspec.Struct, frozen=True):
    """Boards in order of id; `cursor` is "" at the end."""

    leaderboards: list[Leaderboard]
    cursor: str


class LeaderboardReset(msgspec.Struct, frozen=True):
    """A period of a board has ended; its records can still be listed with `expiry=reset_time` (unix seconds)."""

    leaderboard: Leaderboard
    reset_time: int


class LeaderboardNotFound(NotFound):
    """No such board."""

    def __init__(self) -> None:
        super().__init__("Leaderboard not found.")


class AuthoritativeSubmission(PermissionDenied):
    """A player wrote to a board that only the game writes to."""

    def __init__(self) -> None:
        super().__init__("Leaderboard only allows authoritative score submissions.")


class AuthoritativeDeletion(PermissionDenied):
    """A player deleted from a board that only the game writes to."""

    def __init__(self) -> None:
        super().__init__("Leaderboard only allows authoritative score deletions.")


class InvalidMetadata(InvalidArgument):
    """The metadata of a record is not the text of a JSON object."""

    def __init__(self) -> None:
        super().__init__("Metadata value must be JSON, if provided.")


class InvalidScore(InvalidArgument):
    """A score that is negative or larger than 64 bits, or an operator that does not exist."""

    def __init__(self) -> None:
        super().__init__("Error writing score to leaderboard.")


class InvalidLimit(InvalidArgument):
    """More or fewer records were asked for than a page holds."""

    def __init__(self, limit_max: int) -> None:
        super().__init__(f"Invalid limit - limit must be between 1 and {limit_max}.")


class InvalidOwner(InvalidArgument):
    """An owner id that is no UUID."""

    def __init__(self, message: str = "Invalid owner ID provided.") -> None:
        super().__init__(message)


class InvalidCursor(InvalidArgument):
    """A cursor that was not given out for this list and period."""

    def __init__(self, message: str = "Cursor is invalid or expired.") -> None:
        super().__init__(message)


class InvalidLeaderboard(InvalidArgument):
    """A game module described a board that cannot be; the message says what is wrong."""


class Leaderboards(Protocol):
    """Leaderboards, as game modules see them (`ctx.leaderboards`).

    Every call about one board raises LeaderboardNotFound when there is none with that id. Calls act for the game;
    with `authority=False` they act for a player and are refused on authoritative boards.
    """

    async def create(
        self,
        id: str,
        *,
        sort: str = "descending",
        operator: str = "best",
        reset: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        authoritative: bool = False,
        enable_ranks: bool = True,
    ) -> Leaderboard:
        """The board with this id, made if there is none; an existing one stays as it is. One round trip.

        `sort` is "descending" or "ascending" (or "desc", "asc"); `operator` is "best", "set", "increment" or
        "decrement" (or "incr", "decr"); `reset` a cron expression in UTC. Raises InvalidLeaderboard.
        """
        ...

    async def delete(self, id: str) -> None:
        """Delete a board with all records of all periods; nothing happens when there is none."""
        ...

    async def get(self, ids: Iterable[str]) -> list[Leaderboard]:
        """The boards that exist among `ids`, each once."""
        ...

    async def list(self, limit: int = 100, cursor: str = "") -> LeaderboardPage:
        """Up to `limit` (1-100) boards in order of id. Raises InvalidLimit."""
        ...

    async def submit(
        self,
        id: str,
        owner_id: str,
        username: str | None,
        score: int,
        subscore: int = 0,
        metadata: Mapping[str, Any] | str | None = None,
        operator: str | int | None = None,
        *,
        authority: bool = True,
    ) -> LeaderboardRecord:
        """Write a score and return the record it leads to; one round trip, shared with others.

        The board's operator decides what the score does to a stored one, or `operator` if given. A score that changes
        nothing leaves the whole record as it was. Sums stop at the largest 64-bit number, differences at 0.
        Raises InvalidScore, InvalidMetadata, InvalidOwner, AuthoritativeSubmission.
        """
        ...

    async def records(
        self, id: str, owner_ids: Iterable[str] = (), limit: int | None = None, cursor: str = "", expiry: int = 0
    ) -> RecordPage:
        """Up to `limit` (1-1000, default 1) records in board order, and those of `owner_ids`; one shared round trip.

        With `owner_ids` and neither limit nor cursor, only theirs. `expiry` (unix seconds) names a past period by its
        end. Raises InvalidLimit, InvalidOwner, InvalidCursor.
        """
        ...

    async def around(self, id: str, owner_id: str, limit: int = 1, cursor: str = "", expiry: int = 0) -> RecordPage:
        """Up to `limit` (1-100) records with the owner's in their midst, empty if it has none; two shared round trips.

        With a cursor of such a page, the plain page it points to. Raises InvalidLimit, InvalidOwner, InvalidCursor.
        """
        ...

    async def remove(self, id: str, owner_id: str, *, authority: bool = True) -> None:
        """Delete the owner's record of the current period, if any. Raises InvalidOwner, AuthoritativeDeletion."""
        ...
