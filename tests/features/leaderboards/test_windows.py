"""When scores of a tournament count: windows, periods and what ends when, beside a list of all windows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palestra.core.cron import Schedule
from palestra.features.leaderboards import rules
from palestra.features.leaderboards.contract import InvalidTournament
from palestra.features.leaderboards.rules import ATTEMPTS_DEFAULT, SIZE_MAX, Seats, Terms, Window, next_end, window_at

HOUR, DAY = 3_600, 86_400
MIDNIGHT = 20_000 * DAY
DAILY = Schedule.parse("@daily")


def terms(duration: int, start: int, end: int = 0) -> Terms:
    return Terms(duration, start, end, "", "", 0, SIZE_MAX, ATTEMPTS_DEFAULT, False)


@pytest.mark.parametrize("now", [0, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + HOUR, MIDNIGHT + 9 * DAY])
def test_without_a_schedule_there_is_one_window_for_ever(now: int) -> None:
    assert window_at(terms(HOUR, MIDNIGHT), None, now) == Window(MIDNIGHT, MIDNIGHT + HOUR, 0)
    end = MIDNIGHT + HOUR // 2
    assert window_at(terms(HOUR, MIDNIGHT, end), None, now) == Window(MIDNIGHT, end, end)
    assert window_at(terms(HOUR, MIDNIGHT, end + DAY), None, now) == Window(MIDNIGHT, MIDNIGHT + HOUR, end + DAY)


@pytest.mark.parametrize(
    ("start", "end", "now", "window"),
    [
        # Two hours each day; it starts within a window, between two windows, at the moment one opens or closes.
        (HOUR, 0, 0, (HOUR, 2 * HOUR, DAY)),
        (HOUR, 0, HOUR, (HOUR, 2 * HOUR, DAY)),
        (HOUR, 0, 5 * HOUR, (HOUR, 2 * HOUR, DAY)),
        (HOUR, 0, DAY, (DAY, DAY + 2 * HOUR, 2 * DAY)),
        (3 * HOUR, 0, 0, (DAY, DAY + 2 * HOUR, 2 * DAY)),
        (3 * HOUR, 0, 4 * HOUR, (DAY, DAY + 2 * HOUR, 2 * DAY)),
        (2 * HOUR, 0, 2 * HOUR, (DAY, DAY + 2 * HOUR, 2 * DAY)),
        (DAY, 0, 0, (DAY, DAY + 2 * HOUR, 2 * DAY)),
        # It ends within a window, between two windows, at a moment of the schedule.
        (0, DAY + HOUR, DAY, (DAY, DAY + HOUR, DAY + HOUR)),
        (0, DAY + HOUR, 9 * DAY, (DAY, DAY + HOUR, DAY + HOUR)),
        (0, 3 * HOUR, HOUR, (0, 2 * HOUR, 3 * HOUR)),
        (0, DAY, DAY, (0, 2 * HOUR, DAY)),
    ],
)
def test_windows_open_by_the_schedule_between_start_and_end(
    start: int, end: int, now: int, window: tuple[int, int, int]
) -> None:
    found = window_at(terms(2 * HOUR, MIDNIGHT + start, end and MIDNIGHT + end), DAILY, MIDNIGHT + now)
    assert tuple(moment - MIDNIGHT for moment in found) == window


def test_a_duration_longer_than_the_period_is_cut_at_its_end() -> None:
    window = window_at(terms(9 * DAY, MIDNIGHT), DAILY, MIDNIGHT + DAY + 5)
    assert window == Window(MIDNIGHT + DAY, MIDNIGHT + 2 * DAY, MIDNIGHT + 2 * DAY)


def test_both_ends_of_a_window_are_told_apart_to_the_second() -> None:
    window = window_at(terms(HOUR, MIDNIGHT), DAILY, MIDNIGHT)
    assert [window.open(MIDNIGHT + at) for at in (-0.1, 0, HOUR - 0.1, HOUR)] == [False, True, True, False]
    assert [window.closed(MIDNIGHT + at) for at in (-0.1, 0, HOUR - 0.1, HOUR)] == [False, False, False, True]


def test_a_schedule_that_runs_out_leaves_its_last_period_open() -> None:
    once = Schedule.parse("0 0 1 1 * 2030")
    first = 1_893_456_000  # 2030-01-01
    for now in (MIDNIGHT, first, first + DAY):
        assert window_at(terms(HOUR, MIDNIGHT), once, now) == Window(first, first + HOUR, 0)
    assert next_end(terms(HOUR, MIDNIGHT), once, MIDNIGHT) == first + HOUR
    assert next_end(terms(HOUR, MIDNIGHT), once, first + HOUR) is None


@pytest.mark.parametrize(
    ("given_terms", "schedule"),
    [
        (terms(0, MIDNIGHT), None),
        (terms(2**31, MIDNIGHT), None),
        (terms(HOUR, -1), None),
        (terms(HOUR, MIDNIGHT, MIDNIGHT), None),
        (terms(HOUR, MIDNIGHT, MIDNIGHT - 1), DAILY),
        (terms(HOUR, MIDNIGHT + 2 * HOUR, MIDNIGHT + DAY), DAILY),
        (terms(HOUR, MIDNIGHT), Schedule.parse("0 0 30 2 *")),
        (terms(HOUR, MIDNIGHT)._replace(category=128), None),
        (terms(HOUR, MIDNIGHT)._replace(title="x" * 256), None),
        (terms(HOUR, MIDNIGHT)._replace(description="\0"), None),
        (terms(HOUR, MIDNIGHT)._replace(max_size=-1), None),
        (terms(HOUR, MIDNIGHT)._replace(max_num_score=2**31), None),
    ],
)
def test_terms_that_cannot_be_are_refused(given_terms: Terms, schedule: Schedule | None) -> None:
    with pytest.raises(InvalidTournament):
        rules.check_terms(given_terms, schedule)


# -- beside a list of all windows

SCHEDULES = ["@daily", "@hourly", "*/7 * * * *", "0 */5 * * *", "30 2,14 * * *", "0 0 * * 1,4", "15 6 1,15 * *"]
HORIZON = 40 * DAY

schedules = st.sampled_from([Schedule.parse(text) for text in SCHEDULES])
durations = st.one_of(st.sampled_from([60, 600, HOUR, 5 * HOUR, DAY, 9 * DAY]), st.integers(1, 10 * DAY))
starts = st.one_of(st.integers(0, 3 * DAY), st.integers(0, 72).map(lambda n: n * HOUR))
lengths = st.one_of(st.just(0), st.integers(1, 20 * DAY), st.integers(1, 480).map(lambda n: n * HOUR))
moments = st.integers(-DAY, HORIZON - 18 * DAY)


def all_windows(schedule: Schedule, of: Terms) -> list[Window]:
    """Every window in the days around, by the words of the guide."""
    opens, found = MIDNIGHT - HORIZON, []
    while (following := schedule.next_after(opens)) is not None and opens < MIDNIGHT + HORIZON:
        closes = min(opens + of.duration_seconds, following)
        if schedule.previous_before(opens + 1) == opens and closes > of.start_time:
            if not of.end_time:
                found.append(Window(max(opens, of.start_time), closes, following))
            elif opens < of.end_time:
                window = Window(max(opens, of.start_time), min(closes, of.end_time), min(following, of.end_time))
                found.append(window)
        opens = following
    return found


@settings(max_examples=300, deadline=None)
@given(schedules, durations, starts, lengths, moments, st.floats(0, 0.99))
def test_the_window_of_a_moment_is_the_last_to_have_opened_or_else_the_first(
    schedule: Schedule, duration: int, start: int, length: int, moment: int, fraction: float
) -> None:
    of = terms(duration, MIDNIGHT + start, length and MIDNIGHT + start + length)
    windows, now = all_windows(schedule, of), MIDNIGHT + moment
    if not windows:
        with pytest.raises(InvalidTournament):
            rules.check_terms(of, schedule)
        return
    rules.check_terms(of, schedule)
    expected = [window for window in windows if window.start_active <= now][-1:] or windows[:1]
    assert [window_at(of, schedule, now + fraction)] == expected


@settings(max_examples=100, deadline=None)
@given(schedules, durations, starts, lengths)
def test_every_end_is_told_once_and_in_order(schedule: Schedule, duration: int, start: int, length: int) -> None:
    of = terms(duration, MIDNIGHT + start, length and MIDNIGHT + start + length)
    windows = all_windows(schedule, of)[:200]
    if not windows:
        return
    expected = sorted({moment for window in windows for moment in (window.end_active, window.expires_at)})
    told, moment = [], MIDNIGHT - DAY
    while len(told) < len(expected) and (found := next_end(of, schedule, moment)) is not None:
        told.append(found)
        moment = found
    assert told == expected
    if length and len(windows) < 200:
        assert next_end(of, schedule, moment) is None


# -- seats


def test_seats_count_for_their_period_and_start_anew_in_the_next() -> None:
    assert Seats(5, 100).in_period(100) == Seats(5, 100)
    assert Seats(5, 100).in_period(200) == Seats(0, 200)
    assert Seats(5, 100).in_period(0) == Seats(0, 0)
    assert Seats(5, 200).in_period(100) is None
    assert Seats(5, 0).in_period(100) is None
