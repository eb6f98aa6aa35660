"""Cron schedules in UTC: the moment after a time, and the moment before it, at which an expression is due.

Five fields are minute, hour, day of month, month, weekday; six add a year at the end; seven put a second first as well.
A field holds `*`, values, ranges `a-b`, steps `*/n`, `a/n`, `a-b/n`, and lists of these. Months and weekdays also have
names. A day of month may be `L` (the last), `15W` (the working day nearest to the 15th, in the same month) or `LW` (the
last working day). A weekday may be `5#2` (the second Friday) or `5L` (the last Friday); Sunday is 0 and 7.
When both days are restricted, either of them is enough.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from calendar import monthrange, timegm
from collections.abc import Iterable, Iterator
from datetime import date

YEAR_MIN, YEAR_MAX = 1970, 2099
DAY_SECONDS = 86_400

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
_MONTH_NAMES = {form: at for at, name in enumerate(_MONTHS, 1) for form in (name, name[:3])}
_WEEKDAY_NAMES = {form: at for at, name in enumerate(_WEEKDAYS) for form in (name, name[:3])}
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_END = timegm((YEAR_MAX + 1, 1, 1, 0, 0, 0))


class Schedule:
    """One parsed expression. A look-up jumps from field to field: a few microseconds, never a scan of time."""

    def __init__(
        self, text: str, clock: tuple[list[int], ...], days: _Days, months: list[int], years: list[int]
    ) -> None:
        self.text = text
        self._seconds, self._minutes, self._hours = clock
        self._days = days
        self._months = months
        self._years = years
        self._first_second = (self._hours[0] * 60 + self._minutes[0]) * 60 + self._seconds[0]
        self._last_second = (self._hours[-1] * 60 + self._minutes[-1]) * 60 + self._seconds[-1]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """A schedule from its expression or alias. Raises ValueError saying which field is wrong and why."""
        fields = ALIASES.get(text.strip().lower(), text).lower().split()
        if not 5 <= len(fields) <= 7:
            raise ValueError(
                f"cron expression {text!r} has {len(fields)} fields; 5, 6 (year last) or 7 (second first) are known"
            )
        if len(fields) == 7:
            second, *fields = fields
        else:
            second = "0"
        minute, hour, day, month, weekday, *rest = fields
        clock = (
            _Field("second", 0, 59).values(second),
            _Field("minute", 0, 59).values(minute),
            _Field("hour", 0, 23).values(hour),
        )
        years = _Field("year", YEAR_MIN, YEAR_MAX).values(rest[0] if rest else "*")
        return cls(text, clock, _Days(day, weekday), _Field("month", 1, 12, _MONTH_NAMES).values(month), years)

    def next_after(self, unix_seconds: float) -> int | None:
        """The first due moment later than `unix_seconds`, None when there is none before the year 2100."""
        start = max(math.floor(unix_seconds) + 1, 0)
        if start >= _END:
            return None
        first_day, second = divmod(start, DAY_SECONDS)
        for day in self._days_from(first_day):
            at = self._time_from(second) if day == first_day else self._first_second
            if at is not None:
                return day * DAY_SECONDS + at
        return None

    def previous_before(self, unix_seconds: float) -> int | None:
        """The last due moment earlier than `unix_seconds`, None when there is none since 1970."""
        start = min(math.ceil(unix_seconds), _END) - 1
        if start < 0:
            return None
        last_day, second = divmod(start, DAY_SECONDS)
        for day in self._days_until(last_day):
            at = self._time_until(second) if day == last_day else self._last_second
            if at is not None:
                return day * DAY_SECONDS + at
        return None

    def _days_from(self, start: int) -> Iterator[int]:
        """Due days, counted from 1970, from `start` on."""
        first = date.fromordinal(start + _EPOCH_DAY)
        for year in self._years[bisect_left(self._years, first.year) :]:
            begin = bisect_left(self._months, first.month) if year == first.year else 0
            for month in self._months[begin:]:
                for day in self._days.of_month(year, month):
                    if day >= start:
                        yield day

    def _days_until(self, end: int) -> Iterator[int]:
        """Due days, counted from 1970, from `end` backwards."""
        last = date.fromordinal(end + _EPOCH_DAY)
        for year in reversed(self._years[: bisect_right(self._years, last.year)]):
            until = bisect_right(self._months, last.month) if year == last.year else 12
            for month in reversed(self._months[:until]):
                for day in reversed(self._days.of_month(year, month)):
                    if day <= end:
                        yield day

    def _time_from(self, second_of_day: int) -> int | None:
        """The first due second of a day that is not before `second_of_day`."""
        minute_of_day, second = divmod(second_of_day, 60)
        hour, minute = divmod(minute_of_day, 60)
        seconds, minutes, hours = self._seconds, self._minutes, self._hours
        h = bisect_left(hours, hour)
        if h < len(hours) and hours[h] == hour:
            m = bisect_left(minutes, minute)
            if m < len(minutes) and minutes[m] == minute:
                s = bisect_left(seconds, second)
                if s < len(seconds):
                    return minute_of_day * 60 + seconds[s]
                m += 1
            if m < len(minutes):
                return (hour * 60 + minutes[m]) * 60 + seconds[0]
            h += 1
        return (hours[h] * 60 + minutes[0]) * 60 + seconds[0] if h < len(hours) else None

    def _time_until(self, second_of_day: int) -> int | None:
        """The last due second of a day that is not after `second_of_day`."""
        minute_of_day, second = divmod(second_of_day, 60)
        hour, minute = divmod(minute_of_day, 60)
        seconds, minutes, hours = self._seconds, self._minutes, self._hours
        h = bisect_right(hours, hour) - 1
        if h >= 0 and hours[h] == hour:
            m = bisect_right(minutes, minute) - 1
            if m >= 0 and minutes[m] == minute:
                s = bisect_right(seconds, second) - 1
                if s >= 0:
                    return minute_of_day * 60 + seconds[s]
                m -= 1
            if m >= 0:
                return (hour * 60 + minutes[m]) * 60 + seconds[-1]
            h -= 1
        return (hours[h] * 60 + minutes[-1]) * 60 + seconds[-1] if h >= 0 else None


class _Days:
    """The two day fields together: which days of a given month are due."""

    def __init__(self, day: str, weekday: str) -> None:
        self._plain_days: set[int] = set()
        self._near_days: set[int] = set()
        self._last_day = self._last_working_day = False
        self._plain_weekdays: set[int] = set()
        self._nth_weekdays: set[tuple[int, int]] = set()
        self._last_weekdays: set[int] = set()
        self._by_day = day != "*"
        self._by_weekday = weekday != "*"
        self._read_days(day)
        self._read_weekdays(weekday)

    def _read_days(self, text: str) -> None:
        field = _Field("day of month", 1, 31)
        for part in text.split(","):
            if part == "l":
                self._last_day = True
            elif part in ("lw", "wl"):
                self._last_working_day = True
            elif part.endswith("w"):
                self._near_days.add(field.value(part[:-1]))
            else:
                self._plain_days.update(field.part(part))

    def _read_weekdays(self, text: str) -> None:
        field = _Field("weekday", 0, 7, _WEEKDAY_NAMES)
        for part in text.split(","):
            name, hash_sign, nth = part.partition("#")
            if hash_sign:
                self._nth_weekdays.add((field.value(name) % 7, _Field("weekday after '#'", 1, 5).value(nth)))
            elif len(part) > 1 and part.endswith("l"):
                self._last_weekdays.add(field.value(part[:-1]) % 7)
            else:
                self._plain_weekdays.update(value % 7 for value in field.part(part))

    def of_month(self, year: int, month: int) -> list[int]:
        """The due days of one month in order, counted from 1970."""
        first_weekday, length = monthrange(year, month)
        first_weekday = (first_weekday + 1) % 7  # the calendar module starts its week on Monday
        before_first = date(year, month, 1).toordinal() - _EPOCH_DAY - 1
        if self._by_day and self._by_weekday:
            due = self._by_date(first_weekday, length) | self._by_week(first_weekday, length)
        elif self._by_weekday:
            due = self._by_week(first_weekday, length)
        else:
            due = self._by_date(first_weekday, length)
        return [before_first + day for day in sorted(due)]

    def _by_date(self, first_weekday: int, length: int) -> set[int]:
        due = {day for day in self._plain_days if day <= length}
        due.update(_working_day(day, first_weekday, length) for day in self._near_days if day <= length)
        if self._last_day:
            due.add(length)
        if self._last_working_day:
            due.add(_working_day(length, first_weekday, length))
        return due

    def _by_week(self, first_weekday: int, length: int) -> set[int]:
        due: set[int] = set()
        for weekday in self._plain_weekdays:
            due.update(range(1 + (weekday - first_weekday) % 7, length + 1, 7))
        for weekday, nth in self._nth_weekdays:
            day = 1 + (weekday - first_weekday) % 7 + 7 * (nth - 1)
            if day <= length:
                due.add(day)
        due.update(length - (length - 1 + first_weekday - weekday) % 7 for weekday in self._last_weekdays)
        return due


def _working_day(day: int, first_weekday: int, length: int) -> int:
    """The day from Monday to Friday nearest to `day` that is still in the month."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


class _Field:
    """What one field may hold."""

    def __init__(self, name: str, low: int, high: int, names: dict[str, int] | None = None) -> None:
        self._name = name
        self._low = low
        self._high = high
        self._names = names or {}

    def values(self, text: str) -> list[int]:
        """All values of a field, in order."""
        return sorted({value for part in text.split(",") for value in self.part(part)})

    def part(self, text: str) -> Iterable[int]:
        """The values of one member of a list."""
        span, slash, step_text = text.partition("/")
        step = 1
        if slash:
            if not (step_text.isascii() and step_text.isdigit() and 1 <= int(step_text[:9]) <= self._high):
                raise self._wrong(text, f"the step must be a number from 1 to {self._high}")
            step = int(step_text)
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = self._low, self._high
        elif dash:
            first, last = self.value(first_text), self.value(last_text)
            if first > last:
                raise self._wrong(text, "a range must not run backwards")
        else:
            first = self.value(span)
            last = self._high if slash else first
        return range(first, last + 1, step)

    def value(self, text: str) -> int:
        """One number or name."""
        if text in self._names:
            return self._names[text]
        if text.isascii() and text.isdigit() and len(text) <= 4 and self._low <= int(text) <= self._high:
            return int(text)
        named = " or a name" if self._names else ""
        raise self._wrong(text, f"a number from {self._low} to {self._high}{named} is expected")

    def _wrong(self, text: str, why: str) -> ValueError:
        return ValueError(f"cron field {self._name}: {text!r} is not understood, {why}")
