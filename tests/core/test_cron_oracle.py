"""Cron schedules beside those of an independent library, over ten years of random schedules."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from croniter import croniter

from palestra.core.cron import Schedule

YEARS = 10
SCHEDULES = 400
MOMENTS_PER_SCHEDULE = 20
FIRST_YEAR = 2024


def at(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


def field(dice: random.Random, low: int, high: int) -> str:
    """A random field of values, spans, steps and lists of them; a star half of the time."""

    def span() -> str:
        first, last = sorted((dice.randint(low, high), dice.randint(low, high)))
        return f"{first}-{last}" if first < last else str(first)

    def part() -> str:
        kind = dice.randrange(4)
        if kind == 0:
            return span()
        if kind == 1:
            return f"*/{dice.randint(1, max(high // 2, 1))}"
        return str(dice.randint(low, high))

    return "*" if dice.random() < 0.5 else ",".join(part() for _ in range(dice.randint(1, 3)))


def expression(dice: random.Random) -> str:
    """Five random fields; the two day fields also in their special forms, one of them at a time."""
    minute, hour, month = field(dice, 0, 59), field(dice, 0, 23), field(dice, 1, 12)
    kind = dice.randrange(6)
    if kind == 0:
        return f"{minute} {hour} L {month} *"
    if kind == 1:
        return f"{minute} {hour} * {month} {dice.randrange(7)}#{dice.randint(1, 5)}"
    if kind == 2:
        return f"{minute} {hour} * {month} L{dice.randrange(7)}"
    day, weekday = field(dice, 1, 31), field(dice, 0, 6)
    # A day field that spells out every value counts as a star there, and as a list here; nobody writes such a thing.
    expanded = croniter.expand(f"0 0 {day} * {weekday}")[0]
    return f"{minute} {hour} {'*' if expanded[2] == ['*'] else day} {month} {'*' if expanded[4] == ['*'] else weekday}"


@pytest.mark.parametrize("seed", range(4))
def test_over_ten_years_random_schedules_are_due_when_an_independent_library_says(seed: int) -> None:
    dice = random.Random(seed)
    first, last = at(FIRST_YEAR), at(FIRST_YEAR + YEARS)
    for _ in range(SCHEDULES // 4):
        text = expression(dice)
        # The last weekday of a month is `L5` there and `5L` here.
        words = text.split()
        if words[4].startswith("L"):
            words[4] = words[4][1:] + "L"
        ours = Schedule.parse(" ".join(words))
        for _ in range(MOMENTS_PER_SCHEDULE):
            moment = dice.randrange(first, last)
            theirs = croniter(text, moment, max_years_between_matches=40)
            assert ours.next_after(moment) == int(theirs.get_next(float)), (text, moment)
            theirs = croniter(text, moment, max_years_between_matches=40)
            assert ours.previous_before(moment) == int(theirs.get_prev(float)), (text, moment)


@pytest.mark.parametrize(
    "text", ["7 */6 * * *", "0 0 * * 1", "30 12 1,15 * *", "0 18 L * *", "0 9 * * 5#2", "5 4 29 2 *"]
)
def test_every_moment_of_ten_years_is_that_of_an_independent_library(text: str) -> None:
    ours, last = Schedule.parse(text), at(FIRST_YEAR + YEARS)
    theirs = croniter(text, at(FIRST_YEAR) - 1)
    moment: int | None = at(FIRST_YEAR) - 1
    while moment is not None and moment < last:
        moment = ours.next_after(moment)
        assert moment == int(theirs.get_next(float)), text
