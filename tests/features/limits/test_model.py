"""The guard against a model that keeps every event, and against amounts that fill it."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from palestra.features.ledger.contract import AMOUNT_MAX, LimitReached, Measure
from palestra.features.limits.contract import LIMITS_MAX, STATE_BYTES_MAX, Kind, Limit, Window
from tests.features.limits.model import SECONDS, Model, exact
from tests.features.limits.player import COOL_OFF, DAY, START, Player

DEFAULTS = (Limit("loss", "7d", 900, "EUR"), Limit("play_seconds", "24h", 5_000))
MEASURES = [Measure.STAKE, Measure.PAYOUT, Measure.SPEND, Measure.REFUND]

keys = st.one_of(
    st.tuples(st.sampled_from(["spend", "stake", "loss", "loss"]), st.sampled_from(get_args(Window)), st.just("EUR")),
    st.tuples(st.just("loss"), st.sampled_from(get_args(Window)), st.just("coins")),
    st.tuples(st.just("play_seconds"), st.sampled_from(get_args(Window)), st.just("")),
)
amounts = st.one_of(st.none(), st.integers(0, 2_000))
# Moments at which something may change, those beside them, and any.
gaps = st.one_of(
    st.sampled_from([0, 1, 60, 299, 300, 301, 3599, 3600, DAY - 3600, DAY, COOL_OFF - 1, COOL_OFF, 7 * DAY, 30 * DAY]),
    st.integers(0, 4 * 3600),
    st.integers(0, 2 * 3600),
)
steps = st.tuples(st.sampled_from(MEASURES), st.sampled_from(["EUR", "EUR", "coins"]), st.integers(1, 400))


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, int, Any]]:
    """What happens to a player: a few limits that change now and then, and many steps."""
    chosen = st.sampled_from(draw(st.lists(keys, min_size=1, max_size=3)))
    limits = st.builds(lambda key, amount: Limit(key[0], key[1], amount, key[2]), chosen, amounts)
    step = st.tuples(st.just("step"), gaps, steps)
    change = st.tuples(st.sampled_from(["own", "own", "own", "operator"]), gaps, limits)
    lock = st.tuples(st.just("lock"), gaps, st.sampled_from([1, 300, 3600]))
    first_limit = st.builds(lambda key: Limit(key[0], key[1], 1_000, key[2]), chosen)
    first = st.tuples(st.just("own"), st.integers(0, DAY), first_limit)
    after = st.lists(st.one_of(step, step, step, step, step, change, lock), min_size=10, max_size=80)
    return [draw(first), *draw(after)]


@settings(max_examples=250, deadline=None)
@given(st.booleans(), stories())
def test_the_guard_decides_as_the_model_that_keeps_every_event(
    with_defaults: bool, story: list[tuple[str, int, Any]]
) -> None:
    player, model = Player(), Model(list(DEFAULTS) if with_defaults else [], COOL_OFF)
    if with_defaults:
        player.guard.declare(DEFAULTS)
    now = START
    for what, gap, detail in story:
        now += gap
        player.now = float(now)
        if what == "step":
            measure, asset, amount = detail
            try:
                player.step(measure, amount, asset)
                allowed = True
            except LimitReached:
                allowed = False
            assert allowed == model.step(asset, measure, amount, now)
        elif what == "lock":
            player.lock(detail)
            model.locked_until = max(model.locked_until, now + detail)
        elif what == "own":
            player.own(detail)
            model.set_own(detail, now)
        else:
            player.operator(detail)
            model.set_operator(detail, now)
        compare(player, model, now)


def compare(player: Player, model: Model, now: int) -> None:
    overview = player.guard.overview(player.state, now)
    in_force = {key: model.limit(key, now) for key in model.known()}
    assert {(one.kind, one.window, one.asset): one.amount for one in overview.limits} == {
        key: amount for key, amount in in_force.items() if amount is not None
    }
    for one in overview.limits:
        key = (one.kind, one.window, one.asset)
        used = model.used(key, now)
        assert (one.used, one.remaining) == (max(0, used), max(0, one.amount - used))
        assert one.own == model.own_at(key, now)
        waiting = model.pending(key, now)
        shown = None if one.pending is None else (one.pending.at.timestamp(), one.pending.amount)
        assert shown == waiting
        # Never laxer than to the second, and stricter by less than one hour or day.
        events = model.events[one.kind, SECONDS[one.window][0], one.asset]
        assert used >= exact(events, one.window, now)
        if one.kind != "loss":
            assert used <= exact(events, one.window, now - SECONDS[one.window][0])
    assert (overview.lock is not None) == (now < model.locked_until)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(MEASURES), st.integers(1, AMOUNT_MAX), st.integers(-100, DAY), st.integers(0, 3)),
        max_size=80,
    )
)
def test_whatever_amounts_come_the_state_stays_small_and_winnings_pass(
    events: list[tuple[Measure, int, int, int]],
) -> None:
    player = Player()
    assets = [f"{letter}" * 64 for letter in 'äb"c']
    kinds: list[Kind] = ["loss", "stake", "spend"]
    for asset in assets:
        player.operator(*[Limit(kind, window, None, asset) for kind in kinds for window in get_args(Window)])
    player.operator(*[Limit("loss", window, AMOUNT_MAX, asset) for window in ("24h", "30d") for asset in assets])
    player.own(*[Limit(kind, "30d", AMOUNT_MAX, asset) for kind in ("stake", "spend") for asset in assets[:3]])
    for measure, amount, gap, asset in events:
        try:
            player.step(measure, amount, assets[asset], after=gap)
        except LimitReached:
            assert measure in (Measure.STAKE, Measure.SPEND)
        assert player.state is not None and len(player.state.encode()) <= STATE_BYTES_MAX
        player.guard.overview(player.state, player.now)


def test_a_state_that_is_full_refuses_stakes_takes_winnings_and_empties_with_time() -> None:
    player = Player()
    assets = [f"asset{number}" for number in range(LIMITS_MAX)]
    player.operator(*[Limit("loss", "30d", AMOUNT_MAX, asset) for asset in assets])
    refused = 0
    for _ in range(40):
        for asset in assets:
            player.step(Measure.PAYOUT, AMOUNT_MAX // 32, asset)
            try:
                player.step(Measure.STAKE, AMOUNT_MAX // 64, asset)
            except LimitReached as error:
                refused += 1
                assert "too much to count" in error.message
        player.now += DAY
    assert refused
    assert player.state is not None and len(player.state) <= STATE_BYTES_MAX
    player.now += 60 * DAY
    for asset in assets:
        player.step(Measure.STAKE, 1, asset)
