"""Pure decisions about leaderboards: what a score does, which records a window shows, periods and limits."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from palestra.core.cron import Schedule
from palestra.core.ids import parse_id
from palestra.features.leaderboards.contract import (
    InvalidLeaderboard,
    InvalidLimit,
    InvalidMetadata,
    InvalidOwner,
    InvalidScore,
    Operator,
    Sort,
)

ID_CHARS_MAX = 128
RESET_CHARS_MAX = 64
LIST_LIMIT_MAX = 1_000
AROUND_LIMIT_MAX = 100
BOARDS_LIMIT_MAX = 100
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
