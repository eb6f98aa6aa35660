"""One player whose steps a guard decides about, with a clock of the player's own."""

from __future__ import annotations

import pytest

from palestra.features.ledger.contract import LimitReached, Measure
from palestra.features.limits.contract import Kind, Limit, Standing, Window
from palestra.features.limits.guard import LimitsGuard
from palestra.features.limits.rules import lock_end

DAY = 86_400
START = 1_750_000_000
"""15:06:40 on a day, so 400 seconds into an hour."""
COOL_OFF = 3 * DAY


class Player:
    """One player's state in the guard's hands, and a clock."""

    def __init__(self, *defaults: str) -> None:
        self.guard = LimitsGuard(defaults)
        self.state: str | None = None
        self.now = float(START)

    def own(self, *limits: Limit) -> None:
        self.state, _ = self.guard.with_limits(self.state, limits, "player", self.now, COOL_OFF)

    def operator(self, *limits: Limit) -> None:
        self.state, _ = self.guard.with_limits(self.state, limits, "operator", self.now, COOL_OFF)

    def lock(self, seconds: int | None) -> None:
        self.state, _ = self.guard.with_lock(self.state, lock_end(seconds, self.now))

    def step(self, measure: Measure, amount: int, asset: str = "EUR", after: float = 0) -> None:
        self.now += after
        self.state = self.guard.check(self.state, asset, measure, amount, self.now)

    def stake(self, amount: int, after: float = 0) -> None:
        self.step(Measure.STAKE, amount, after=after)

    def refused(self, amount: int, measure: Measure = Measure.STAKE, after: float = 0) -> str:
        before = self.state
        with pytest.raises(LimitReached) as caught:
            self.step(measure, amount, after=after)
        assert self.state == before
        return caught.value.message

    def standing(self, kind: Kind, window: Window = "24h", asset: str = "EUR") -> Standing:
        limits = self.guard.overview(self.state, self.now).limits
        (found,) = [one for one in limits if (one.kind, one.window, one.asset) == (kind, window, asset)]
        return found
