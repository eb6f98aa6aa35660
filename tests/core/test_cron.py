"""Cron schedules against hand-picked moments and against a slow walk through time."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palestra.core.cron import Schedule


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def text(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(" ").removesuffix("+00:00")


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("0 0 * * 1", "2026-11-23 00:00:00", "2026-11-30 00:00:00"),
        ("0 0 * * 1", "2026-11-22 23:59:59", "2026-11-23 00:00:00"),
        ("*/15 * * * *", "2026-01-01 10:07:00", "2026-01-01 10:15:00"),
        ("5/20 * * * *", "2026-01-01 10:26:00", "2026-01-01 10:45:00"),
        ("30 8-18/5 * * *", "2026-01-01 08:30:00", "2026-01-01 13:30:00"),
        ("59 23 31 12 *", "2026-12-31 23:59:00", "2027-12-31 23:59:00"),
        ("0 0 29 2 *", "2096-02-29 00:00:00", None),
        ("0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00"),
        ("0 0 30 2 *", "2026-01-01 00:00:00", None),
        ("0 12 L * *", "2026-02-01 00:00:00", "2026-02-28 12:00:00"),
        ("0 12 15W * *", "2026-08-01 00:00:00", "2026-08-14 12:00:00"),  # the 15th is a Saturday
        ("0 12 15W * *", "2026-11-01 00:00:00", "2026-11-16 12:00:00"),  # the 15th is a Sunday
        ("0 12 1W * *", "2026-08-01 00:00:00", "2026-08-03 12:00:00"),  # the 1st is a Saturday: not into July
        ("0 12 31W 5 *", "2026-05-01 00:00:00", "2026-05-29 12:00:00"),  # the 31st is a Sunday: not into June
        ("0 12 LW * *", "2026-05-01 00:00:00", "2026-05-29 12:00:00"),
        ("0 12 31W * *", "2026-06-01 00:00:00", "2026-07-31 12:00:00"),  # June has no 31st
        ("0 0 * * 5#2", "2026-11-01 00:00:00", "2026-11-13 00:00:00"),
        ("0 0 * * mon#5", "2026-11-23 00:00:00", "2026-11-30 00:00:00"),
        ("0 0 * * FRIL", "2026-11-01 00:00:00", "2026-11-27 00:00:00"),
        ("0 0 * * 7", "2026-11-23 00:00:00", "2026-11-29 00:00:00"),
        ("0 0 * * 6-7", "2026-11-28 00:00:00", "2026-11-29 00:00:00"),
        ("0 0 13 * 5", "2026-11-07 00:00:00", "2026-11-13 00:00:00"),
        ("0 0 14 * 5", "2026-11-13 00:00:00", "2026-11-14 00:00:00"),  # either day is enough
        ("0 0 14 * 5", "2026-11-14 00:00:00", "2026-11-20 00:00:00"),
        ("0 0 1 jan,JUL *", "2026-01-01 00:00:00", "2026-07-01 00:00:00"),
        ("0 0 1 september-October *", "2026-01-01 00:00:00", "2026-09-01 00:00:00"),
        ("0 0 1 1 * 2030", "2026-01-01 00:00:00", "2030-01-01 00:00:00"),
        ("0 0 1 1 * 2020", "2026-01-01 00:00:00", None),
        ("*/30 0 0 1 1 * 2030-2031", "2030-01-01 00:00:00", "2030-01-01 00:00:30"),
        ("@yearly", "2026-01-01 00:00:00", "2027-01-01 00:00:00"),
        ("@annually", "2026-01-01 00:00:00", "2027-01-01 00:00:00"),
        ("@monthly", "2026-01-01 00:00:00", "2026-02-01 00:00:00"),
        ("@weekly", "2026-11-23 00:00:00", "2026-11-29 00:00:00"),
        ("@daily", "2026-11-23 00:00:00", "2026-11-24 00:00:00"),
        (" @Hourly ", "2026-11-23 00:00:00", "2026-11-23 01:00:00"),
    ],
)
def test_the_next_moment_is_the_one_a_person_reads_from_the_expression(
    expression: str, after: str, due: str | None
) -> None:
    assert text(Schedule.parse(expression).next_after(at(after))) == due


@pytest.mark.parametrize(
    ("expression", "before", "due"),
    [
        ("0 0 * * 1", "2026-11-23 00:00:00", "2026-11-16 00:00:00"),
        ("0 0 * * 1", "2026-11-23 00:00:01", "2026-11-23 00:00:00"),
        ("30 8,20 * * *", "2026-03-01 08:30:00", "2026-02-28 20:30:00"),
        ("0 0 29 2 *", "2026-01-01 00:00:00", "2024-02-29 00:00:00"),
        ("0 0 1 1 * 2030", "2026-01-01 00:00:00", None),
        ("@yearly", "1970-01-01 00:00:00", None),
    ],
)
def test_the_previous_moment_is_the_last_one_strictly_before(expression: str, before: str, due: str | None) -> None:
    assert text(Schedule.parse(expression).previous_before(at(before))) == due


def test_a_fraction_of_a_second_is_neither_skipped_nor_repeated() -> None:
    every_second = Schedule.parse("* * * * * * *")
    assert every_second.next_after(10.5) == 11
    assert every_second.next_after(10.0) == 11
    assert every_second.previous_before(10.5) == 10
    assert every_second.previous_before(10.0) == 9


def test_times_outside_the_known_years_have_an_answer() -> None:
    hourly = Schedule.parse("@hourly")
    assert hourly.next_after(-1e18) == 0
    assert hourly.next_after(1e18) is None
    assert hourly.previous_before(1e18) == at("2099-12-31 23:00:00")
    assert hourly.previous_before(-1e18) is None


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * * * *", "8 fields"),
        ("@fortnightly", "1 fields"),
        ("60 * * * *", "minute: '60'"),
        ("* 24 * * *", "hour: '24'"),
        ("* * 0 * *", "day of month: '0'"),
        ("* * 32W * *", "day of month: '32'"),
        ("* * * 13 *", "month: '13'"),
        ("* * * foo *", "month: 'foo'"),
        ("* * * * 8", "weekday: '8'"),
        ("* * * * 1#6", "weekday after '#': '6'"),
        ("* * * * L", "weekday: 'l'"),
        ("* * * * * 1969", "year: '1969'"),
        ("5-1 * * * *", "backwards"),
        ("*/0 * * * *", "step"),
        ("*/x * * * *", "step"),
        ("1,,2 * * * *", "minute: ''"),
        ("-1 * * * *", "minute: ''"),
        ("¹ * * * *", "minute: '¹'"),
    ],
)
def test_a_wrong_expression_is_refused_with_the_field_it_is_wrong_in(expression: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Schedule.parse(expression)


# -- the slow walk: every minute, respectively every day, is asked whether it is due


def due_in(field: str, value: int, low: int, high: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (int(edge) for edge in span.split("-"))
        else:
            first, last = int(span), high if step else int(span)
        if first <= value <= last and (value - first) % int(step or 1) == 0:
            return True
    return False


def day_due(day_field: str, weekday_field: str, day: date) -> bool:
    weekday = day.isoweekday() % 7
    last = monthrange(day.year, day.month)[1]

    def by_date(part: str) -> bool:
        if part == "L":
            return day.day == last
        if part.endswith("W"):
            wanted = last if part == "LW" else int(part[:-1])
            if wanted > last or weekday in (0, 6):
                return False
            working = [d for d in range(1, last + 1) if date(day.year, day.month, d).isoweekday() <= 5]
            return day.day == min(working, key=lambda d: abs(d - wanted))
        return due_in(part, day.day, 1, 31)

    def by_week(part: str) -> bool:
        if "#" in part:
            wanted, nth = (int(number) for number in part.split("#"))
            return weekday == wanted % 7 and (day.day + 6) // 7 == nth
        if part.endswith("L"):
            return weekday == int(part[:-1]) % 7 and day.day + 7 > last
        return due_in(part, weekday, 0, 7) or (weekday == 0 and due_in(part, 7, 0, 7))

    date_fits = any(by_date(part) for part in day_field.split(","))
    week_fits = any(by_week(part) for part in weekday_field.split(","))
    if day_field != "*" and weekday_field != "*":
        return date_fits or week_fits
    return date_fits and week_fits


def fields(low: int, high: int, *special: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.builds("{}/{}".format, st.one_of(st.just("*"), number, span), st.integers(1, high))
    part = st.one_of(number.map(str), span, step, *special)
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


minutes, hours = fields(0, 59), fields(0, 23)
days = fields(1, 31, st.just("L"), st.just("LW"), st.integers(1, 31).map("{}W".format))
weekdays = fields(
    0, 7, st.builds("{}#{}".format, st.integers(0, 7), st.integers(1, 5)), st.integers(0, 7).map("{}L".format)
)
moments = st.integers(at("2023-12-30 00:00:00"), at("2028-03-02 00:00:00"))


@settings(max_examples=150, deadline=None)
@given(minutes, hours, moments)
def test_within_a_day_the_answers_are_those_of_a_walk_through_its_minutes(minute: str, hour: str, moment: int) -> None:
    schedule = Schedule.parse(f"{minute} {hour} * * *")

    def due(when: datetime) -> bool:
        return due_in(minute, when.minute, 0, 59) and due_in(hour, when.hour, 0, 23)

    now = datetime.fromtimestamp(moment, UTC)
    later = now.replace(second=0) + timedelta(minutes=1)
    while not due(later):
        later += timedelta(minutes=1)
    earlier = now.replace(second=0)
    while earlier >= now or not due(earlier):
        earlier -= timedelta(minutes=1)
    assert schedule.next_after(moment) == int(later.timestamp())
    assert schedule.previous_before(moment) == int(earlier.timestamp())


@settings(max_examples=250, deadline=None)
@given(days, fields(1, 12), weekdays, moments)
def test_over_five_years_the_answers_are_those_of_a_walk_through_the_days(
    day: str, month: str, weekday: str, moment: int
) -> None:
    schedule = Schedule.parse(f"0 0 {day} {month} {weekday}")

    def due(when: date) -> bool:
        return due_in(month, when.month, 1, 12) and day_due(day, weekday, when)

    today = datetime.fromtimestamp(moment, UTC).date()
    ahead = [today + timedelta(days=n) for n in range(1, 5 * 366)]
    behind = [today - timedelta(days=n) for n in range(0 if moment % 86_400 else 1, 5 * 366)]
    found_next, found_previous = schedule.next_after(moment), schedule.previous_before(moment)
    next_due = next((d for d in ahead if due(d)), None)
    previous_due = next((d for d in behind if due(d)), None)
    if next_due is not None:
        assert text(found_next) == f"{next_due} 00:00:00"
    else:
        assert found_next is None or found_next > at(f"{ahead[-1]} 00:00:00")
    if previous_due is not None:
        assert text(found_previous) == f"{previous_due} 00:00:00"
    else:
        assert found_previous is None or found_previous < at(f"{behind[-1]} 00:00:00")


@settings(max_examples=150, deadline=None)
@given(fields(0, 59), minutes, hours, days, fields(1, 12), weekdays, moments)
def test_the_moment_before_the_next_one_is_not_after_now(
    second: str, minute: str, hour: str, day: str, month: str, weekday: str, moment: int
) -> None:
    schedule = Schedule.parse(f"{second} {minute} {hour} {day} {month} {weekday} *")
    due = schedule.next_after(moment)
    if due is not None:
        assert due > moment
        assert schedule.next_after(due - 1) == due
        assert schedule.previous_before(due + 1) == due
        before = schedule.previous_before(due)
        assert before is None or before <= moment
