"""Each rule by itself: windows, who limits, locks, and what is no limit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from palestra.core.clock import utc
from palestra.core.errors import SetupError
from palestra.features.ledger.contract import AMOUNT_MAX, Measure
from palestra.features.limits.contract import (
    LIMITS_MAX,
    LOCK_SECONDS_MAX,
    STATE_BYTES_MAX,
    BadLimit,
    BadLock,
    Limit,
    TooManyLimits,
    Window,
)
from palestra.features.limits.guard import LimitsGuard
from palestra.features.limits.rules import checked, limit_of, lock_end
from tests.features.limits.player import COOL_OFF, DAY, START, Player


def loss(amount: int | None, window: Window = "24h") -> Limit:
    return Limit("loss", window, amount, "EUR")


def stake(amount: int | None, window: Window = "24h") -> Limit:
    return Limit("stake", window, amount, "EUR")


# -- without limits


def test_without_any_limit_nothing_is_kept() -> None:
    assert LimitsGuard().check(None, "EUR", Measure.STAKE, 5, START) is None
    guard = LimitsGuard(["loss/24h/EUR=50"])
    assert guard.check(None, "coins", Measure.STAKE, 5, START) is None
    assert guard.check(None, "EUR", Measure.SPEND, 5, START) is None
    assert guard.check(None, "EUR", Measure.STAKE, 5, START) is not None


def test_a_step_that_concerns_no_limit_leaves_the_text_as_it_is() -> None:
    player = Player()
    player.own(stake(100))
    before = player.state
    player.step(Measure.SPEND, 10_000)
    player.step(Measure.PAYOUT, 10_000)
    player.step(Measure.STAKE, 10_000, "coins")
    player.step(Measure.NONE, 10_000)
    assert player.state is before


@pytest.mark.parametrize("amount", [0, -1])
def test_an_amount_that_is_none_is_an_error_of_the_caller(amount: int) -> None:
    player = Player("loss/24h/EUR=50")
    with pytest.raises(ValueError, match="above zero"):
        player.stake(amount)


# -- windows


def test_a_stake_counts_for_24_hours_and_to_the_end_of_the_hour() -> None:
    player = Player()
    player.own(stake(100))
    player.stake(70)
    assert player.refused(31) == (
        "The stake limit of 100 EUR (in minor units) in 24h leaves 30; this can be done from 2025-06-16T16:00:00Z on."
    )
    assert player.refused(101).endswith("leaves 30; 101 is more than it ever allows.")
    player.stake(30)
    player.now = datetime(2025, 6, 16, 15, 59, 59, tzinfo=UTC).timestamp()
    player.refused(1)
    player.stake(100, after=1)
    assert player.standing("stake").used == 100


def test_what_was_won_may_be_lost_and_a_loss_is_never_below_zero() -> None:
    player = Player()
    player.own(loss(100))
    player.stake(60)
    player.step(Measure.PAYOUT, 150)
    standing = player.standing("loss")
    assert (standing.used, standing.remaining) == (0, 190)
    player.stake(190)
    assert player.standing("loss").used == 100
    player.refused(1)
    player.step(Measure.REFUND, 190)
    assert player.standing("loss").remaining == 190


def test_a_gain_at_the_edge_of_the_window_does_not_hide_the_loss_after_it() -> None:
    player = Player()
    player.own(loss(100))
    player.step(Measure.PAYOUT, 500)
    player.stake(90, after=60)
    player.now = START + DAY
    # The gain is over, the stake a minute later is not.
    assert player.standing("loss").used == 90
    player.refused(11)
    player.stake(10)


def test_turnover_with_little_loss_does_not_pile_up_at_the_edge_of_the_window() -> None:
    player = Player()
    player.own(loss(1_500, "7d"))
    for _ in range(30):
        for _ in range(100):
            player.stake(100, after=30)
            player.step(Measure.PAYOUT, 99)
        player.now = START + (player.now - START) // DAY * DAY + DAY
    assert player.standing("loss", "7d").used <= 8 * 100 + 99


def test_a_clock_that_goes_back_counts_into_the_newest_hour() -> None:
    player = Player()
    player.own(stake(100))
    player.stake(50, after=3600)
    player.stake(50, after=-7200)
    player.refused(1)
    player.now = datetime(2025, 6, 16, 16, 59, 59, tzinfo=UTC).timestamp()
    player.refused(1)
    player.stake(100, after=1)


def test_time_between_steps_counts_as_played_up_to_five_minutes() -> None:
    player = Player()
    player.own(Limit("play_seconds", "24h", 900))
    player.stake(1)
    player.stake(1, after=300)
    player.stake(1, after=301)
    player.step(Measure.PAYOUT, 1, after=299)
    player.step(Measure.REFUND, 1, after=100)
    player.stake(1, after=200)
    assert player.standing("play_seconds", asset="").used == 899
    player.stake(1)
    assert player.refused(1, after=1).startswith("The limit of 900 seconds of play in 24h is reached; this can be done")
    player.refused(1, measure=Measure.SPEND)
    player.step(Measure.PAYOUT, 10, after=1)


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    player = Player()
    player.own(stake(0), Limit("play_seconds", "30d", 0))
    assert player.refused(1).endswith("leaves 0; 1 is more than it ever allows.")
    player.own(stake(5))
    player.refused(1, measure=Measure.SPEND)


# -- who limits


def test_the_lowest_of_own_operator_and_default_wins() -> None:
    player = Player("stake/24h/EUR=100")
    player.refused(101)
    player.operator(stake(200))
    player.refused(101)
    player.own(stake(80))
    player.refused(81)
    player.operator(stake(60))
    player.refused(61)
    standing = player.standing("stake")
    assert (standing.amount, standing.own, standing.operator, standing.default) == (60, 80, 60, 100)
    player.operator(stake(None))
    player.stake(80)
    player.refused(1)


def test_lower_works_at_once_and_higher_after_the_cool_off() -> None:
    player = Player()
    player.own(stake(100))
    player.own(stake(50))
    player.refused(51)
    player.own(stake(500))
    assert player.standing("stake").pending is not None
    player.refused(51, after=COOL_OFF - 1)
    player.stake(500, after=1)
    assert player.standing("stake").pending is None
    assert player.standing("stake").amount == 500


def test_a_removal_waits_too_and_asking_for_what_is_in_force_takes_it_back() -> None:
    player = Player()
    player.own(stake(100))
    player.own(stake(None))
    pending = player.standing("stake").pending
    assert pending is not None and (pending.amount, pending.at) == (None, utc(START + COOL_OFF))
    player.own(stake(100))
    assert player.standing("stake").pending is None
    player.own(stake(None))
    player.refused(101, after=COOL_OFF - 1)
    player.stake(101, after=1)
    assert player.guard.overview(player.state, player.now).limits == ()


def test_asking_again_does_not_wait_again_and_asking_for_more_does() -> None:
    player = Player()
    player.own(stake(100))
    player.own(stake(300))
    player.now += DAY
    player.own(stake(300))
    player.own(stake(200))
    pending = player.standing("stake").pending
    assert pending is not None and (pending.amount, pending.at) == (200, utc(START + COOL_OFF))
    player.own(stake(201))
    pending = player.standing("stake").pending
    assert pending is not None and pending.at == utc(START + DAY + COOL_OFF)


def test_a_lowered_limit_counts_what_went_before() -> None:
    player = Player()
    player.own(stake(100))
    player.stake(90)
    player.own(stake(50))
    standing = player.standing("stake")
    assert (standing.used, standing.remaining) == (90, 0)
    player.refused(1)


def test_limits_for_everybody_may_come_later_and_replace_their_like() -> None:
    player = Player()
    player.stake(1_000)
    player.guard.declare([stake(100)])
    player.refused(101)
    player.guard.declare([stake(300), loss(500)])
    player.stake(300)
    player.refused(1)


# -- locks


def test_a_lock_refuses_stakes_and_spending_and_lets_winnings_through() -> None:
    player = Player()
    player.own(loss(100))
    player.stake(40)
    player.lock(3600)
    assert player.refused(1) == "This player is locked until 2025-06-15T16:06:40Z: nothing can be staked or spent."
    player.refused(1, measure=Measure.SPEND)
    player.step(Measure.PAYOUT, 10)
    player.step(Measure.REFUND, 5)
    assert player.standing("loss").used == 25
    player.refused(1, after=3599)
    player.stake(1, after=1)


def test_a_lock_is_prolonged_and_never_shortened() -> None:
    player = Player()
    player.lock(DAY)
    player.lock(60)
    player.refused(1, after=61)
    player.lock(2 * DAY)
    player.refused(1, after=2 * DAY - 1)
    player.lock(None)
    player.lock(1)
    lock = player.guard.overview(player.state, player.now).lock
    assert lock is not None and lock.until is None
    assert "for ever" in player.refused(1, after=200 * 365 * DAY)


@pytest.mark.parametrize("seconds", [0, -1, LOCK_SECONDS_MAX + 1, 1.5, "60", True, math.nan])
def test_a_lock_of_no_time_is_refused(seconds: Any) -> None:
    with pytest.raises(BadLock):
        lock_end(seconds, START)


def test_a_lock_fits_into_a_full_state() -> None:
    player = Player()
    player.operator(*[Limit("loss", "30d", AMOUNT_MAX, f"asset{number}") for number in range(LIMITS_MAX)])
    for _ in range(40):
        for number in range(LIMITS_MAX):
            player.step(Measure.PAYOUT, AMOUNT_MAX, f"asset{number}")
        player.now += DAY
    player.lock(None)
    assert player.state is not None and len(player.state) <= STATE_BYTES_MAX + 16
    player.step(Measure.PAYOUT, 1, "asset0")


# -- hostile input

BAD: list[dict[str, Any]] = [
    {"kind": "deposit"},
    {"kind": ["loss"]},
    {"kind": None},
    {"window": "1h"},
    {"window": ""},
    {"asset": ""},
    {"asset": "a" * 65},
    {"asset": "a\0"},
    {"asset": "\ud800"},
    {"asset": 7},
    {"kind": "play_seconds"},
    {"amount": -1},
    {"amount": AMOUNT_MAX + 1},
    {"amount": 10**40},
    {"amount": 1.0},
    {"amount": math.nan},
    {"amount": True},
    {"amount": "5"},
]


@pytest.mark.parametrize("wrong", BAD, ids=str)
def test_a_limit_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadLimit):
        checked([Limit(**{"kind": "loss", "window": "24h", "amount": 5, "asset": "EUR", **wrong})])


def test_limits_named_twice_or_too_many_are_refused() -> None:
    with pytest.raises(BadLimit, match="twice"):
        checked([loss(1), loss(2)])
    many = [Limit("loss", "24h", 1, f"asset{number}") for number in range(LIMITS_MAX + 1)]
    with pytest.raises(BadLimit, match="at once"):
        checked(many)
    player = Player()
    player.own(*many[1:])
    with pytest.raises(TooManyLimits):
        player.own(many[0])
    player.operator(*many[1:])
    with pytest.raises(TooManyLimits):
        player.operator(many[0])
    with pytest.raises(BadLimit, match="for everybody"):
        player.guard.declare([loss(None)])
    player.guard.declare(many[1:])
    with pytest.raises(BadLimit, match="for everybody"):
        player.guard.declare(many[:1])


def test_however_long_the_names_of_assets_the_operator_has_room_left() -> None:
    player = Player()
    for number in range(LIMITS_MAX):
        try:
            player.own(Limit("loss", "24h", AMOUNT_MAX, "ä" * 60 + f"{number:04}"))
        except TooManyLimits as error:
            assert "limit fewer assets" in error.message
    player.operator(stake(5), loss(5), Limit("spend", "24h", 5, "EUR"), Limit("play_seconds", "24h", 5))


@pytest.mark.parametrize("text", ["", "loss", "loss/24h/EUR", "loss/24h/EUR=", "loss/24h/EUR=-1", "loss/24h/EUR=1e3"])
def test_a_setting_that_is_no_limit_stops_the_start(text: str) -> None:
    with pytest.raises(SetupError, match=r"limits\.defaults"):
        LimitsGuard([text])


def test_limits_are_written_as_texts_in_the_settings() -> None:
    assert limit_of("loss/24h/EUR=500") == loss(500)
    assert limit_of("stake/7d/a/b=c=5") == Limit("stake", "7d", 5, "a/b=c")
    assert limit_of("play_seconds/24h=7200") == Limit("play_seconds", "24h", 7200)
    with pytest.raises(BadLimit):
        limit_of("loss/24h/EUR=" + "9" * 5_000)


def test_the_state_is_json_that_operators_can_read() -> None:
    player = Player()
    player.own(stake(100))
    player.stake(5)
    policy, counters, played_at = msgspec.json.decode(player.state or "")
    assert policy == [[["stake", "24h", "EUR", 100, None, None]], 0]
    assert counters == {"EUR": {"stake/h": [486_111, 5, 5, [0], []]}}
    assert played_at == 0
