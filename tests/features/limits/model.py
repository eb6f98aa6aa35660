"""Limits told naively: every event is kept, windows are added up anew each time, own limits are a timeline."""

from __future__ import annotations

import math
from typing import NamedTuple

from palestra.features.ledger.contract import Measure
from palestra.features.limits.contract import PLAY_GAP_SECONDS_MAX, Kind, Limit, Window

Key = tuple[Kind, Window, str]
SECONDS: dict[Window, tuple[int, int]] = {"24h": (3600, 24), "7d": (86_400, 7), "30d": (86_400, 30)}
TAKING = (Measure.STAKE, Measure.SPEND)


class Event(NamedTuple):
    """When something was counted, and how much."""

    at: int
    amount: int


def exact(events: list[Event], window: Window, now: float) -> int:
    """What lies in the window to the second."""
    unit, count = SECONDS[window]
    return sum(event.amount for event in events if event.at > now - unit * count)


def strict(events: list[Event], window: Window, now: float) -> int:
    """The most that any window adds up to which begins in the same hour or day as the exact one."""
    unit, count = SECONDS[window]
    first = int(now) // unit - count
    starts = [first * unit, (first + 1) * unit, *[event.at for event in events if event.at // unit == first]]
    return max(sum(event.amount for event in events if event.at >= start) for start in starts)


class Model:
    """One player. Times are whole seconds that never go back."""

    def __init__(self, defaults: list[Limit], increase_after_seconds: int) -> None:
        self.defaults = {(one.kind, one.window, one.asset): one.amount for one in defaults}
        self.increase_after_seconds = increase_after_seconds
        self.own: dict[Key, list[tuple[float, int | None]]] = {}
        self.operator: dict[Key, int | None] = {}
        self.locked_until = 0.0
        self.events: dict[tuple[Kind, int, str], list[Event]] = {}
        self.played_at = 0
        self.track(0)

    # -- policy

    def own_at(self, key: Key, now: float) -> int | None:
        found = None
        for since, amount in self.own.get(key, []):
            if since <= now:
                found = amount
        return found

    def pending(self, key: Key, now: float) -> tuple[float, int | None] | None:
        later = [step for step in self.own.get(key, []) if step[0] > now]
        return later[0] if later else None

    def limit(self, key: Key, now: float) -> int | None:
        amounts = (self.own_at(key, now), self.operator.get(key), self.defaults.get(key))
        return min((amount for amount in amounts if amount is not None), default=None)

    def known(self) -> set[Key]:
        return {*self.own, *self.operator, *self.defaults}

    def set_own(self, limit: Limit, now: float) -> None:
        key = (limit.kind, limit.window, limit.asset)
        infinite = math.inf
        wanted = infinite if limit.amount is None else limit.amount
        current, waiting = self.own_at(key, now), self.pending(key, now)
        since = now
        if current is not None and wanted > current:
            since = now + self.increase_after_seconds
            if waiting is not None and wanted <= (infinite if waiting[1] is None else waiting[1]):
                since = waiting[0]
        past = [step for step in self.own.get(key, []) if step[0] <= now]
        self.own[key] = [*past, (since, limit.amount)]
        self.track(now)

    def set_operator(self, limit: Limit, now: float) -> None:
        self.operator[limit.kind, limit.window, limit.asset] = limit.amount
        self.track(now)

    def track(self, now: float) -> None:
        """Events are kept from the first limit that needs them to the first change after the last one is gone."""
        needed = {(key[0], SECONDS[key[1]][0], key[2]) for key in self.known() if self.limit(key, now) is not None}
        self.events = {name: self.events.get(name, []) for name in needed}

    # -- steps

    def step(self, asset: str, measure: Measure, amount: int, now: int) -> bool:
        """Whether it may happen; if so it is counted."""
        if measure in TAKING and now < self.locked_until:
            return False
        gap = now - self.played_at
        played = gap if 0 < gap <= PLAY_GAP_SECONDS_MAX else 0
        adds = {name: self._add(name, asset, measure, amount, played) for name in self.events}
        for key in self.known():
            limit, add = self.limit(key, now), adds.get((key[0], SECONDS[key[1]][0], key[2]))
            if limit is None or add is None or measure not in TAKING:
                continue
            used = strict(self.events[key[0], SECONDS[key[1]][0], key[2]], key[1], now)
            if used + add >= limit + (0 if key[0] == "play_seconds" else 1):
                return False
        for name, add in adds.items():
            if add is not None:
                self.events[name].append(Event(now, add))
        if any(name[0] == "play_seconds" for name in self.events) and measure is not Measure.REFUND:
            self.played_at = now
        return True

    def _add(self, name: tuple[Kind, int, str], asset: str, measure: Measure, amount: int, played: int) -> int | None:
        """What a step adds to what is counted under a name, None where it does not concern it."""
        kind, _, of = name
        if kind == "play_seconds":
            return None if measure is Measure.REFUND else played
        if of != asset:
            return None
        if kind == "loss":
            return None if measure is Measure.SPEND else amount if measure is Measure.STAKE else -amount
        return amount if measure is (Measure.STAKE if kind == "stake" else Measure.SPEND) else None

    def used(self, key: Key, now: float) -> int:
        return strict(self.events[key[0], SECONDS[key[1]][0], key[2]], key[1], now)
