"""What the ledger asks about every measured step: a player's policy and counters, kept as one short text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec

from palestra.core.clock import utc
from palestra.core.errors import SetupError
from palestra.features.ledger.contract import LimitReached, Measure
from palestra.features.limits import rules
from palestra.features.limits.buckets import Series
from palestra.features.limits.contract import (
    LIMITS_MAX,
    STATE_BYTES_MAX,
    Author,
    BadLimit,
    ChangedLimit,
    Limit,
    Lock,
    Overview,
    Pending,
    Standing,
    TooManyLimits,
)
from palestra.features.limits.rules import Entry, Key, Plan, Policy

PLANS_MAX = 4_096
"""Policies that are kept ready; most players share one."""
POLICY_BYTES_MAX: dict[Author, int] = {"player": 2_500, "operator": 4_000}
"""How long a policy may have become after a change: whatever a player sets, the operator has room left."""
NO_POLICY = msgspec.Raw(b"[]")

_encode = msgspec.json.Encoder().encode
_decode_policy = msgspec.json.Decoder(Policy).decode
_decode_series = msgspec.json.Decoder(dict[str, Series]).decode


class State(msgspec.Struct, array_like=True):
    """The text's content. What a step does not need stays undecoded: the policy, and the counters of other assets."""

    policy: msgspec.Raw = NO_POLICY
    counters: dict[str, msgspec.Raw] = {}
    played_at: int = 0


_decode = msgspec.json.Decoder(State).decode


class LimitsGuard:
    """Implements the ledger's Guard, and reads and changes what it keeps. Pure but for the limits for everybody."""

    def __init__(self, defaults: Iterable[str] = ()) -> None:
        self._defaults: dict[Key, int] = {}
        self._plan: Callable[[bytes], Plan] = lru_cache(PLANS_MAX)(self._make_plan)
        try:
            self.declare([rules.limit_of(text) for text in defaults])
        except BadLimit as error:
            raise SetupError(f"setting 'limits.defaults': {error.message}") from None

    def declare(self, limits: Iterable[Limit]) -> None:
        """See Limits.declare."""
        defaults = dict(self._defaults)
        for limit in rules.checked(limits):
            if limit.amount is None:
                raise BadLimit("A limit for everybody needs an amount.")
            defaults[rules.key_of(limit)] = limit.amount
        if len(defaults) > LIMITS_MAX:
            raise BadLimit(f"There are at most {LIMITS_MAX} limits for everybody.")
        self._defaults = defaults
        self._plan = lru_cache(PLANS_MAX)(self._make_plan)

    def assets(self) -> set[str]:
        """The assets that limits for everybody name."""
        return {asset for _, _, asset in self._defaults if asset}

    def _make_plan(self, policy: bytes) -> Plan:
        return rules.plan_of(_decode_policy(policy), self._defaults)

    # -- measuring

    def check(self, state: str | None, asset: str, measure: Measure, amount: int, now: float) -> str | None:
        """See Guard.check of the ledger. Some microseconds; the same text where nothing is counted."""
        if state is None:
            if not self._defaults:
                return None
            found = State()
        else:
            found = _decode(state)
        if amount <= 0:
            raise ValueError(f"an amount to measure is above zero, not {amount}")
        plan = self._plan(bytes(found.policy))
        taking = measure in rules.TAKING
        if taking:
            rules.check_lock(plan.locked_until, now)
        counters, counted = found.counters, False
        if asset in plan.counts and (counts := plan.counts[asset][measure]):
            series = _decode_series(counters[asset]) if asset in counters else {}
            rules.count(series, counts, measure, amount, now)
            counters[asset] = msgspec.Raw(_encode(series))
            counted = True
        if "" in plan.counts and (counts := plan.counts[""][measure]):
            series = _decode_series(counters[""]) if "" in counters else {}
            rules.count_play(series, counts, measure, found.played_at, now)
            counters[""] = msgspec.Raw(_encode(series))
            found.played_at = max(found.played_at, int(now))
            counted = True
        if not counted:
            return state
        raw = _encode(found)
        if len(raw) <= STATE_BYTES_MAX:
            return raw.decode()
        if taking:
            raise LimitReached("This player's limits have too much to count; nothing can be staked or spent for a day.")
        # Winnings are never refused; that they are not counted makes the limits stricter.
        return state

    # -- reading and changing

    def overview(self, state: str | None, now: float) -> Overview:
        """What is in force at a time."""
        found = State() if state is None else _decode(state)
        policy = _decode_policy(found.policy)
        rules.settle(policy, now)
        entries = {entry.key: entry for entry in policy.entries}
        for key in self._defaults:
            entries.setdefault(key, Entry(*key))
        counters = {asset: _decode_series(raw) for asset, raw in found.counters.items()}
        standings = [self._standing(entry, counters.get(entry.asset, {}), now) for entry in entries.values()]
        return Overview(tuple(standings), _lock(policy.locked_until) if now < policy.locked_until else None)

    def _standing(self, entry: Entry, counters: dict[str, Series], now: float) -> Standing:
        default = self._defaults.get(entry.key)
        amount = rules.lowest(entry.own, entry.operator, default)
        if amount is None:
            raise RuntimeError(f"nothing limits {entry.key}")
        so_far = rules.used_of(entry, counters, now)
        waiting = entry.waiting
        return Standing(
            *entry.key,
            amount,
            max(0, so_far),
            max(0, amount - so_far),
            entry.own,
            entry.operator,
            default,
            Pending(waiting.amount, utc(waiting.at)) if waiting is not None else None,
        )

    def with_limits(
        self, state: str | None, limits: Iterable[Limit], author: Author, now: float, increase_after_seconds: int
    ) -> tuple[str, tuple[ChangedLimit, ...]]:
        """The text after a change of limits, and what was changed. Raises TooManyLimits."""
        found = State() if state is None else _decode(state)
        policy = _decode_policy(found.policy)
        changes = rules.set_limits(policy, limits, author, now, increase_after_seconds)
        text = self._with_policy(found, policy)
        if len(bytes(found.policy)) > POLICY_BYTES_MAX[author] or len(text.encode()) > STATE_BYTES_MAX:
            raise TooManyLimits("That is more than can be kept for one player; limit fewer assets.")
        return text, changes

    def with_lock(self, state: str | None, until: int) -> tuple[str, Lock]:
        """The text after a lock, and the lock that it left: a longer one stays."""
        found = State() if state is None else _decode(state)
        policy = _decode_policy(found.policy)
        policy.locked_until = max(policy.locked_until, until)
        return self._with_policy(found, policy), _lock(policy.locked_until)

    def _with_policy(self, found: State, policy: Policy) -> str:
        found.policy = msgspec.Raw(_encode(policy))
        plan = rules.plan_of(policy, self._defaults)
        found.counters = {
            asset: msgspec.Raw(_encode({name: one for name, one in _decode_series(raw).items() if name in names}))
            for asset, raw in found.counters.items()
            if (names := plan.names(asset))
        }
        return _encode(found).decode()


def _lock(until: int) -> Lock:
    return Lock(None if until == rules.FOR_EVER else utc(until))
