"""What others may know of leaderboards and tournaments: records, pages, errors, events, and what can be done."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied


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


class Tournament(msgspec.Struct, frozen=True):
    """One tournament as it stands at a moment. Times are unix seconds, 0 where there is none.

    Scores count from `start_active` until `end_active`, which is outside. `next_reset` is the end of the period that
    the records belong to, `prev_reset` the last moment of the `reset` schedule. `size` is counted only where `max_size`
    limits it, else 0.
    """

    id: str
    title: str
    description: str
    category: int
    sort: Sort
    operator: Operator
    reset: str | None
    duration_seconds: int
    start_time: int
    end_time: int
    max_size: int
    max_num_score: int
    join_required: bool
    authoritative: bool
    metadata: str
    created_at: datetime
    size: int
    can_enter: bool
    start_active: int
    end_active: int
    next_reset: int
    prev_reset: int


class TournamentPage(msgspec.Struct, frozen=True, dict=True):
    """Tournaments in order of start, end (the latest first, then those without), category and id."""

    tournaments: list[Tournament]
    cursor: str


class TournamentEnd(msgspec.Struct, frozen=True):
    """A window of a tournament has closed, and all scores it took are stored.

    Its records can be listed with `expiry=reset_time`.
    """

    tournament: Tournament
    end_time: int
    reset_time: int


class TournamentReset(msgspec.Struct, frozen=True):
    """A period of a tournament has ended; its records can still be listed with `expiry=reset_time`."""

    tournament: Tournament
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

    def __init__(self, message: str = "Error writing score to leaderboard.") -> None:
        super().__init__(message)


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


class TournamentNotFound(NotFound):
    """No such tournament, or one that is over."""

    def __init__(self, message: str = "Tournament not found.") -> None:
        super().__init__(message)


class AuthoritativeTournament(PermissionDenied):
    """A player wrote to a tournament that only the game writes to."""

    def __init__(self, message: str = "Tournament only allows authoritative score submissions.") -> None:
        super().__init__(message)


class TournamentClosed(FailedPrecondition):
    """A score outside of the windows."""

    def __init__(self) -> None:
        super().__init__("Tournament is not active and cannot accept new scores.")


class JoinMissing(FailedPrecondition):
    """A score of somebody who has not joined, where that is required."""

    def __init__(self) -> None:
        super().__init__("Must join tournament before attempting to write value.")


class AttemptsUsedUp(FailedPrecondition):
    """One score more than an owner may write."""

    def __init__(self) -> None:
        super().__init__("Reached allowed max number of score attempts.")


class TournamentFull(FailedPrecondition):
    """The first score of one more than may take part."""

    def __init__(self) -> None:
        super().__init__("Tournament has reached max size.")


class JoinRefused(InvalidArgument):
    """Nobody can join any more: no seat is left, or the window has closed."""


class RecordNotFound(NotFound):
    """The owner takes no part in the running period."""

    def __init__(self) -> None:
        super().__init__("This owner has no record in the running period of the tournament.")


class InvalidTournament(InvalidArgument):
    """A game module described a tournament that cannot be, or a list was asked for with filters that cannot be."""


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


class Tournaments(Protocol):
    """Tournaments, as game modules see them (`ctx.tournaments`): boards with windows in which scores count.

    A tournament can also be read through `Leaderboards.records` and `around`. Every call about one tournament raises
    TournamentNotFound when there is none with that id. Calls act for the game; with `authority=False` for a player.
    """

    async def create(
        self,
        id: str,
        *,
        duration_seconds: int,
        sort: str = "descending",
        operator: str = "best",
        reset: str | None = None,
        start_time: float = 0,
        end_time: float = 0,
        title: str = "",
        description: str = "",
        category: int = 0,
        max_size: int = 0,
        max_num_score: int = 0,
        join_required: bool = False,
        metadata: Mapping[str, Any] | None = None,
        authoritative: bool = False,
        enable_ranks: bool = True,
    ) -> Tournament:
        """The tournament with this id, made if there is none; an existing one stays as it is. Up to three round trips.

        A window opens at each moment of the cron schedule `reset`, or once at `start_time` (unix seconds, 0 for now),
        and closes after `duration_seconds`, at the next moment or at `end_time` (0 for never). `category` is from 0 to
        127; 0 stands for no limit of `max_size` and for 1,000,000 in `max_num_score`. Raises InvalidTournament.
        """
        ...

    async def delete(self, id: str) -> None:
        """Delete a tournament with all records of all periods; nothing happens when there is none."""
        ...

    async def get(self, ids: Iterable[str]) -> list[Tournament]:
        """The tournaments that exist among `ids`, each once; one round trip."""
        ...

    async def list(
        self,
        category_start: int = 0,
        category_end: int | None = None,
        start_time: int = 0,
        end_time: int | None = None,
        limit: int = 100,
        cursor: str = "",
    ) -> TournamentPage:
        """Up to `limit` (1-100) tournaments that start at `start_time` (unix seconds) or later; one round trip.

        With `end_time`, those that are over by then, or with 0 those that never are; without it, those that are not
        over now. Raises InvalidTournament, InvalidCursor.
        """
        ...

    async def join(self, id: str, owner_id: str, username: str | None) -> None:
        """Take a seat, with a record of score 0, where joining is required; nothing happens elsewhere, nor again.

        Possible before a window opens and until it closes. One shared transaction. Raises JoinRefused.
        """
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
        """Write a score and return the record it leads to. Every one counts as an attempt; one shared transaction.

        Where joining is required and no attempt is left, the record comes back as it is. Raises TournamentClosed,
        JoinMissing, AttemptsUsedUp, TournamentFull, AuthoritativeTournament, and what Leaderboards.submit raises.
        """
        ...

    async def add_attempts(self, id: str, owner_id: str, count: int) -> LeaderboardRecord:
        """Allow an owner `count` more attempts in the running period, or fewer if negative. Raises RecordNotFound."""
        ...

    async def remove(self, id: str, owner_id: str, *, authority: bool = True) -> None:
        """Delete the owner's record of the current period, if any, and free the seat.

        Raises InvalidOwner, AuthoritativeTournament.
        """
        ...

    async def records(
        self, id: str, owner_ids: Iterable[str] = (), limit: int | None = None, cursor: str = "", expiry: int = 0
    ) -> RecordPage:
        """Up to `limit` (1-100, default 10) records in order, and those of `owner_ids`, as `Leaderboards.records`.

        With `owner_ids`, a cursor and no limit, only theirs. Without `expiry`, TournamentNotFound once it is over.
        """
        ...

    async def around(self, id: str, owner_id: str, limit: int = 100, cursor: str = "", expiry: int = 0) -> RecordPage:
        """Up to `limit` (1-100) records with the owner's in their midst, as `Leaderboards.around`; empty once over."""
        ...
