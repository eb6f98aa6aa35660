"""Operators, windows, schedules and input checks, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palestra.core.cron import Schedule
from palestra.features.leaderboards import rules
from palestra.features.leaderboards.contract import (
    InvalidLeaderboard,
    InvalidLimit,
    InvalidMetadata,
    InvalidScore,
    Operator,
)

BEST, SET, INCR, DECR = Operator.BEST, Operator.SET, Operator.INCREMENT, Operator.DECREMENT


@pytest.mark.parametrize(
    ("place", "limit", "first", "last"),
    [
        (5, 1, 5, 5),
        (5, 2, 5, 6),
        (5, 3, 4, 6),
        (5, 4, 4, 7),
        (5, 5, 3, 7),
        (5, 9, 1, 9),
        (5, 20, 1, 9),
        (1, 1, 1, 1),
        (1, 3, 1, 3),
        (2, 4, 1, 4),
        (9, 4, 6, 9),
        (9, 1, 9, 9),
        (8, 5, 5, 9),
    ],
)
def test_the_window_among_nine_records_is_the_documented_one(place: int, limit: int, first: int, last: int) -> None:
    above, below = rules.window(place - 1, 9 - place, limit)
    assert (place - above, place + below) == (first, last)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_window_is_as_full_as_the_board_allows(above: int, below: int, limit: int) -> None:
    up, down = rules.window(above, below, limit)
    assert 0 <= up <= above
    assert 0 <= down <= below
    assert up + 1 + down <= limit
    if up + 1 + down < limit:
        assert (up, down) == (above, below)


@pytest.mark.parametrize("text", ["oops", "[]", "1", "null", '"x"', "{", '{"a":}', "NaN", '{"a": 1} x', "[" * 100_000])
def test_metadata_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidMetadata):
        rules.metadata_text(text)


def test_metadata_may_be_left_out_or_be_given_as_text_or_mapping() -> None:
    assert rules.metadata_text(None) is None
    assert rules.metadata_text("") is None
    assert rules.metadata_text('{"car": "red"}') == '{"car": "red"}'
    assert rules.metadata_text({"lap": 3}) == '{"lap":3}'
    with pytest.raises(InvalidMetadata):
        rules.metadata_text({"what": object()})


@pytest.mark.parametrize(("score", "subscore"), [(-1, 0), (0, -1), (2**63, 0), (0, 2**63)])
def test_a_score_outside_its_range_is_refused(score: int, subscore: int) -> None:
    with pytest.raises(InvalidScore, match=r"^Error writing score to leaderboard\.$"):
        rules.checked_score(score, subscore)


def test_an_operator_is_known_by_number_and_by_name_and_0_is_the_boards_own() -> None:
    assert [rules.operator_of(n, SET) for n in (None, 0, 1, 2, 3, 4)] == [SET, SET, BEST, SET, INCR, DECR]
    assert [rules.operator_of(n, SET) for n in ("best", "INCREMENT", "decr")] == [BEST, INCR, DECR]
    for wrong in (5, -1, "biggest"):
        with pytest.raises(InvalidScore):
            rules.operator_of(wrong, SET)


@pytest.mark.parametrize(
    ("id", "sort", "operator", "reset", "complaint"),
    [
        ("", "desc", "best", None, "1 to 128"),
        ("x" * 129, "desc", "best", None, "1 to 128"),
        ("a\0b", "desc", "best", None, "1 to 128"),
        ("b", "down", "best", None, "'down'"),
        ("b", "desc", "max", None, "'max'"),
        ("b", "desc", "best", "0 0 * *", "4 fields"),
        ("b", "desc", "best", "0 0 * * " + "1," * 30 + "1", "64"),
    ],
)
def test_a_board_that_cannot_be_is_refused_with_the_reason(
    id: str, sort: str, operator: str, reset: str | None, complaint: str
) -> None:
    with pytest.raises(InvalidLeaderboard, match=complaint):
        rules.check_board(id, sort, operator, reset)


def test_a_limit_outside_its_range_is_refused_with_the_range() -> None:
    rules.check_limit(1, 1000)
    rules.check_limit(1000, 1000)
    for wrong in (0, 1001, -1):
        with pytest.raises(InvalidLimit, match=r"^Invalid limit - limit must be between 1 and 1000\.$"):
            rules.check_limit(wrong, 1000)


def test_a_period_ends_at_the_next_due_moment_or_never() -> None:
    assert rules.period_end(Schedule.parse("@daily"), 86_400 * 3) == 86_400 * 4
    assert rules.period_end(Schedule.parse("@daily"), 86_400 * 3 - 0.5) == 86_400 * 3
    assert rules.period_end(Schedule.parse("0 0 1 1 * 2020"), 1_790_000_000) == 0
    assert rules.period_end(None, 1_790_000_000) == 0
