"""Pure decisions about leaderboards and tournaments: what a score does, who may write one and when, periods, limits."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from palestra.core.cron import Schedule
from palestra.core.ids import parse_id
from palestra.features.leaderboards.contract import (
    AttemptsUsedUp,
    InvalidLeaderboard,
    InvalidLimit,
    InvalidMetadata,
    InvalidOwner,
    InvalidScore,
    InvalidTournament,
    JoinMissing,
    JoinRefused,
    Leaderboard,
    Operator,
    RecordNotFound,
    Sort,
    Tournament,
    TournamentClosed,
    TournamentFull,
)

ID_CHARS_MAX = 128
RESET_CHARS_MAX = 64
LIST_LIMIT_MAX = 1_000
AROUND_LIMIT_MAX = 100
BOARDS_LIMIT_MAX = 100
TOURNAMENTS_LIMIT_MAX = 100
TEXT_CHARS_MAX = 255
CATEGORY_MAX = 127
DURATION_SECONDS_MAX = 2**31 - 1
SIZE_MAX = 2**31 - 1
"""The size of a tournament without limit; nobody counts there."""
ATTEMPTS_MAX = 2**31 - 1
ATTEMPTS_DEFAULT = 1_000_000
JOIN_TOO_LATE = "Tournament is not active and cannot accept new joins."
SCORE_MAX = 2**63 - 1
EXPIRY_MAX = 253_402_300_799
"""The last second of the year 9999."""

SORTS = {"asc": Sort.ASCENDING, "ascending": Sort.ASCENDING, "desc": Sort.DESCENDING, "descending": Sort.DESCENDING}
OPERATORS = {
    "best": Operator.BEST,
    "set": Operator.SET,
    "incr": Operator.INCREMENT,
    "increment": Operator.INCREMENT,
    "decr": Operator.DECREMENT,
    "decrement": Operator.DECREMENT,
}

# -- what a score does


class Change(enum.IntEnum):
    """How a submitted number changes a stored one; the statement that writes scores knows these numbers."""

    GREATER = 1
    LESSER = 2
    SET = 3
    ADD = 4
    SUBTRACT = 5


def change_of(sort: Sort, operator: Operator) -> Change:
    """What an operator means on a board of this order."""
    if operator is Operator.BEST:
        return Change.GREATER if sort is Sort.DESCENDING else Change.LESSER
    return {Operator.SET: Change.SET, Operator.INCREMENT: Change.ADD, Operator.DECREMENT: Change.SUBTRACT}[operator]


class Score(NamedTuple):
    """A score and its tie-breaker, both from 0 to SCORE_MAX. The two are treated alike, independently of each other."""

    score: int
    subscore: int


def checked_score(score: int, subscore: int) -> Score:
    """Both numbers, if they can be stored. Raises InvalidScore."""
    if not (0 <= score <= SCORE_MAX and 0 <= subscore <= SCORE_MAX):
        raise InvalidScore
    return Score(score, subscore)


def operator_of(given: str | int | None, default: Operator) -> Operator:
    """The operator by name or wire number; None and 0 stand for the board's own. Raises InvalidScore."""
    if given is None or given == 0:
        return default
    try:
        return OPERATORS[given.lower()] if isinstance(given, str) else Operator(given)
    except (KeyError, ValueError):
        raise InvalidScore from None


_json_object = msgspec.json.Decoder(dict)


def metadata_text(given: Mapping[str, Any] | str | None) -> str | None:
    """The text of a JSON object, None when none is given. Raises InvalidMetadata."""
    if given is None or given == "":
        return None
    try:
        text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
        _json_object.decode(text)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise InvalidMetadata from None
    return text


# -- boards


def check_board(id: str, sort: str, operator: str, reset: str | None) -> tuple[Sort, Operator]:
    """The meaning of a board's description. Raises InvalidLeaderboard saying what is wrong."""
    if not possible_id(id):
        raise InvalidLeaderboard(f"A leaderboard id has 1 to {ID_CHARS_MAX} characters.")
    if sort not in SORTS:
        raise InvalidLeaderboard(f'Unknown sort {sort!r}: expected "descending" or "ascending".')
    if operator not in OPERATORS:
        raise InvalidLeaderboard(f'Unknown operator {operator!r}: expected "best", "set", "increment" or "decrement".')
    if reset is not None:
        if len(reset) > RESET_CHARS_MAX:
            raise InvalidLeaderboard(f"A reset schedule has at most {RESET_CHARS_MAX} characters.")
        try:
            Schedule.parse(reset)
        except ValueError as error:
            raise InvalidLeaderboard(f"Invalid reset schedule: {error}.") from None
    return SORTS[sort], OPERATORS[operator]


def possible_id(id: str) -> bool:
    """Whether a board may have this id."""
    return 1 <= len(id) <= ID_CHARS_MAX and "\0" not in id


def period_end(schedule: Schedule | None, now: float) -> int:
    """When the period that `now` is in ends, in unix seconds; 0 when it never does."""
    return (schedule.next_after(now) or 0) if schedule is not None else 0


# -- what is asked for


def check_limit(limit: int, limit_max: int) -> None:
    """Raises InvalidLimit."""
    if not 1 <= limit <= limit_max:
        raise InvalidLimit(limit_max)


def owner_id(text: str) -> str:
    """The canonical form of an owner's id. Raises InvalidOwner."""
    try:
        return parse_id(text)
    except ValueError:
        raise InvalidOwner from None


def owner_ids(texts: Iterable[str]) -> tuple[str, ...]:
    """The canonical forms of owners' ids, each once. Raises InvalidOwner."""
    try:
        return tuple(dict.fromkeys(map(owner_id, texts)))
    except InvalidOwner:
        raise InvalidOwner("One or more owner IDs are invalid.") from None


def window(above: int, below: int, limit: int) -> tuple[int, int]:
    """How many records above and below an owner to show with it, `limit` in all, when so many exist on either side.

    Half of the rest goes to each side. What one side lacks, the other gets.
    """
    above = min(above, limit)
    half = limit // 2
    quota = limit - above if above < half else half
    below = min(below, quota)
    if above < quota:
        return above, min(below, limit - above - 1)
    return min(above, limit - 1 - below), below


# -- tournaments: when


class Terms(NamedTuple):
    """What a tournament is beyond a board. Times are unix seconds; `end_time` is 0 when it never ends."""

    duration_seconds: int
    start_time: int
    end_time: int
    title: str
    description: str
    category: int
    max_size: int
    max_num_score: int
    join_required: bool

    @property
    def seats_counted(self) -> bool:
        """Whether there is a limit to who may take part."""
        return self.max_size < SIZE_MAX

    def over(self, now: float) -> bool:
        """Whether no window will ever open again because the end has come."""
        return bool(self.end_time) and now >= self.end_time


class Window(NamedTuple):
    """When scores count, and when the period of their records ends (0 for never). Either end is outside."""

    start_active: int
    end_active: int
    expires_at: int

    def open(self, now: float) -> bool:
        """Whether scores count."""
        return self.start_active <= now < self.end_active

    def closed(self, now: float) -> bool:
        """Whether scores do not count any more."""
        return now >= self.end_active


class Seats(NamedTuple):
    """How many take part in the period that ends at `ends_at` (unix seconds, 0 for never)."""

    taken: int
    ends_at: int

    def in_period(self, ends_at: int) -> Seats | None:
        """The seats of a period: its own count, none taken when it has just begun, None when it has been followed."""
        if ends_at == self.ends_at:
            return self
        follows = not ends_at or (self.ends_at and ends_at > self.ends_at)
        return Seats(0, ends_at) if follows else None


def window_at(terms: Terms, schedule: Schedule | None, now: float) -> Window:
    """The window of the period that `now` is in; before the start it is the first one, after the end the last.

    A window opens at a moment of the schedule. One that is open at the start opens there; one that closed before
    belongs to no period. Raises InvalidTournament when there is none, which a stored tournament never does.
    """
    start, end = terms.start_time, terms.end_time
    if schedule is None:
        closes = start + terms.duration_seconds
        return Window(start, min(closes, end) if end else closes, end)
    at = max(math.floor(now), start)
    if end:
        at = min(at, end - 1)
    opens = schedule.previous_before(at + 1)
    if opens is None or start >= _closes(terms, schedule, opens):
        opens = schedule.next_after(start)
        if opens is None or (end and opens >= end):
            raise InvalidTournament("No window of this tournament opens between its start and its end.")
    closes = _closes(terms, schedule, opens)
    expires = schedule.next_after(opens) or 0
    if end:
        expires = min(expires, end) if expires else end
        closes = min(closes, end)
    return Window(max(opens, start), closes, expires)


def _closes(terms: Terms, schedule: Schedule, opens: int) -> int:
    closes = opens + terms.duration_seconds
    return min(closes, schedule.next_after(opens) or closes)


def next_end(terms: Terms | None, schedule: Schedule | None, after: int) -> int | None:
    """The first moment later than `after` at which a period or a window ends, None when there is none."""
    if terms is None:
        return schedule.next_after(after) if schedule is not None else None
    window = window_at(terms, schedule, after)
    return min((moment for moment in (window.end_active, window.expires_at) if moment > after), default=None)


def tournament_of(
    board: Leaderboard, terms: Terms, schedule: Schedule | None, window: Window, seats: Seats, now: float
) -> Tournament:
    """A tournament as one of its windows and periods shows it at a moment."""
    counted = seats.in_period(window.expires_at)
    size = counted.taken if counted is not None else 0
    return Tournament(
        id=board.id,
        title=terms.title,
        description=terms.description,
        category=terms.category,
        sort=board.sort,
        operator=board.operator,
        reset=board.reset,
        duration_seconds=terms.duration_seconds,
        start_time=terms.start_time,
        end_time=terms.end_time,
        max_size=terms.max_size,
        max_num_score=terms.max_num_score,
        join_required=terms.join_required,
        authoritative=board.authoritative,
        metadata=board.metadata,
        created_at=board.created_at,
        size=size,
        can_enter=window.open(now) and size < terms.max_size,
        start_active=window.start_active,
        end_active=window.end_active,
        next_reset=window.expires_at,
        prev_reset=_last_reset(terms, schedule, now),
    )


def _last_reset(terms: Terms, schedule: Schedule | None, now: float) -> int:
    """The latest moment of the schedule, 0 without one and before the start."""
    if schedule is None or now < terms.start_time:
        return 0
    return schedule.previous_before(math.floor(now) + 1) or 0


def check_terms(terms: Terms, schedule: Schedule | None) -> None:
    """Raises InvalidTournament saying what is wrong."""
    numbers = (
        ("duration_seconds", terms.duration_seconds, 1, DURATION_SECONDS_MAX),
        ("start_time", terms.start_time, 0, EXPIRY_MAX),
        ("end_time", terms.end_time, 0, EXPIRY_MAX),
        ("category", terms.category, 0, CATEGORY_MAX),
        ("max_size", terms.max_size, 1, SIZE_MAX),
        ("max_num_score", terms.max_num_score, 1, ATTEMPTS_MAX),
    )
    for name, number, low, high in numbers:
        if not low <= number <= high:
            raise InvalidTournament(f"{name} is {number}: expected {low} to {high}.")
    for name, text in (("title", terms.title), ("description", terms.description)):
        if len(text) > TEXT_CHARS_MAX or "\0" in text:
            raise InvalidTournament(f"A {name} has at most {TEXT_CHARS_MAX} characters, and no NUL.")
    if terms.end_time and terms.end_time <= terms.start_time:
        raise InvalidTournament("A tournament ends after it starts.")
    window_at(terms, schedule, terms.start_time)


# -- tournaments: who


class Standing(NamedTuple):
    """What the next attempt of an owner depends on; `metadata` is JSON text."""

    score: Score
    num_score: int
    max_num_score: int
    metadata: str


def joined(terms: Terms, seats: Seats | None) -> Standing:
    """Where somebody stands who joins. Raises JoinRefused."""
    if seats is None:
        raise JoinRefused(JOIN_TOO_LATE)
    if _full(terms, seats):
        raise JoinRefused("Tournament cannot be joined as it has reached its max size.")
    return Standing(Score(0, 0), 0, terms.max_num_score, "{}")


def _full(terms: Terms, seats: Seats) -> bool:
    return terms.seats_counted and seats.taken >= terms.max_size


def attempted(
    terms: Terms, before: Standing | None, seats: Seats | None, change: Change, given: Score, metadata: str | None
) -> Standing | None:
    """Where an owner stands after an attempt; None where it stands as before, no attempt being left.

    The first score counts as it is, also after joining with 0.
    Raises TournamentClosed, JoinMissing, TournamentFull, AttemptsUsedUp.
    """
    if seats is None:
        raise TournamentClosed
    if before is None:
        if terms.join_required:
            raise JoinMissing
        if _full(terms, seats):
            raise TournamentFull
        return Standing(_changed(change, None, given), 1, terms.max_num_score, metadata or "{}")
    if before.num_score >= before.max_num_score:
        if terms.join_required:
            return None
        raise AttemptsUsedUp
    score = _changed(change, before.score if before.num_score else None, given)
    return Standing(score, before.num_score + 1, before.max_num_score, metadata or before.metadata)


def granted(before: Standing | None, count: int) -> Standing:
    """Where an owner stands with so many more attempts. Raises RecordNotFound."""
    if before is None:
        raise RecordNotFound
    return before._replace(max_num_score=min(max(before.max_num_score + count, 0), ATTEMPTS_MAX))


def _changed(change: Change, stored: Score | None, given: Score) -> Score:
    """A score after a change, as the statement that writes scores of leaderboards has it."""
    if stored is None:
        return Score(0, 0) if change is Change.SUBTRACT else given
    return Score(*(_changed_number(change, old, new) for old, new in zip(stored, given, strict=True)))


def _changed_number(change: Change, old: int, new: int) -> int:
    match change:
        case Change.GREATER:
            return max(old, new)
        case Change.LESSER:
            return min(old, new)
        case Change.SET:
            return new
        case Change.ADD:
            return min(old + new, SCORE_MAX)
        case Change.SUBTRACT:
            return max(old - new, 0)


# -- tournaments: which


class TournamentPlace(NamedTuple):
    """A place in the order of tournaments. Times are unix seconds; the end is 0 for none."""

    start_time: int
    end_time: int
    category: int
    id: str


class TournamentFilter(NamedTuple):
    """Which tournaments to list: behind a place, of these categories, ending in (`ends_after`, `ends_until`].

    `endless` ones are those that never end. Times are unix seconds.
    """

    after: TournamentPlace
    category_start: int
    category_end: int
    ends_after: int
    ends_until: int
    endless: bool


def tournament_filter(
    category_start: int, category_end: int | None, start_time: int, end_time: int | None, now: float
) -> TournamentFilter:
    """The first page of what is asked for; see `Tournaments.list`. Raises InvalidTournament."""
    low, high = max(category_start, 0), CATEGORY_MAX if category_end is None else category_end
    if not 0 <= high <= CATEGORY_MAX:
        raise InvalidTournament("Tournament category end must be >=0 and <128.")
    if category_end is None:
        low = min(low, CATEGORY_MAX + 1)
    elif category_end < category_start:
        raise InvalidTournament("Tournament category end must be greater than category start.")
    if end_time and end_time < start_time:
        raise InvalidTournament("Tournament end time must be greater than start time.")
    first = TournamentPlace(min(max(start_time, 0), EXPIRY_MAX), EXPIRY_MAX, -1, "")
    if end_time is None:
        return TournamentFilter(first, low, high, math.floor(now), EXPIRY_MAX, True)
    ends_until = min(max(end_time, 0), EXPIRY_MAX)
    return TournamentFilter(first, low, high, 0, ends_until, end_time == 0)
