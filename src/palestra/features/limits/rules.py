"""Pure decisions about limits: which can be, how they change, what is in force, and what a measured step does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args

import msgspec

from palestra.core.clock import utc
from palestra.core.cursors import open_cursor, seal_cursor
from palestra.core.ids import SYSTEM_USER, parse_id
from palestra.features.ledger.contract import AMOUNT_MAX, ASSET_CHARS_MAX, LimitReached, Measure
from palestra.features.limits.buckets import Series, add, advance, begun, frees_at
from palestra.features.limits.contract import (
    LIMITS_MAX,
    LOCK_SECONDS_MAX,
    PLAY_GAP_SECONDS_MAX,
    Author,
    BadLimit,
    BadLock,
    BadPage,
    ChangedLimit,
    ChangePage,
    Kind,
    Limit,
    LimitChange,
    TooManyLimits,
    Window,
)

PLAY: Kind = "play_seconds"
FOR_EVER = 253_402_300_799
"""A lock without an end: the last second that has a date."""


class Buckets(NamedTuple):
    """How windows are counted: the name of the unit, its seconds, and the windows' lengths in it."""

    unit: str
    seconds: int
    windows: tuple[int, ...]


HOURS = Buckets("h", 3600, (24,))
DAYS = Buckets("d", 86_400, (7, 30))
COUNTED_IN: dict[Window, tuple[Buckets, int]] = {"24h": (HOURS, 0), "7d": (DAYS, 0), "30d": (DAYS, 1)}
"""The buckets of a window, and which of their windows it is."""
MEASURED: dict[Kind, tuple[Measure, ...]] = {
    "spend": (Measure.SPEND,),
    "stake": (Measure.STAKE,),
    "loss": (Measure.STAKE, Measure.PAYOUT, Measure.REFUND),
    # A refund may come of itself, hours after the player left.
    PLAY: (Measure.STAKE, Measure.PAYOUT, Measure.SPEND),
}
TAKING = (Measure.STAKE, Measure.SPEND)

Key = tuple[Kind, Window, str]
"""What a limit is on: kind, window, asset."""


# -- limits


def checked(limits: Iterable[Limit]) -> list[Limit]:
    """Limits that can be. Raises BadLimit, saying what is wrong."""
    found = list(limits)
    if len(found) > LIMITS_MAX:
        raise BadLimit(f"At most {LIMITS_MAX} limits are set at once.")
    for limit in found:
        if limit.kind not in get_args(Kind):
            raise BadLimit(f"A limit is on {', '.join(get_args(Kind))}; not on {limit.kind!r:.40}.")
        if limit.window not in get_args(Window):
            raise BadLimit(f"A limit's window is {', '.join(get_args(Window))}; not {limit.window!r:.40}.")
        if (limit.kind == PLAY) != (limit.asset == ""):
            raise BadLimit("A limit on play_seconds has no asset, every other limit needs one.")
        if not isinstance(limit.asset, str) or len(limit.asset) > ASSET_CHARS_MAX or not limit.asset.isprintable():
            raise BadLimit(f"An asset has up to {ASSET_CHARS_MAX} printable characters, not {limit.asset!r:.80}.")
        if limit.amount is not None and (type(limit.amount) is not int or not 0 <= limit.amount <= AMOUNT_MAX):
            raise BadLimit(f"The amount of a limit is a whole number from 0 to {AMOUNT_MAX}.")
    if len({key_of(limit) for limit in found}) < len(found):
        raise BadLimit("A limit is named twice.")
    return found


def limit_of(text: str) -> Limit:
    """The limit written as `loss/24h/EUR=50000`, or `play_seconds/24h=7200`. Raises BadLimit."""
    name, _, amount = text.rpartition("=")
    kind, _, rest = name.partition("/")
    window, _, asset = rest.partition("/")
    if not amount.isascii() or not amount.isdecimal() or len(amount) > len(str(AMOUNT_MAX)):
        raise BadLimit(f"{text!r:.100} is no limit; write it as loss/24h/EUR=50000 or play_seconds/24h=7200.")
    raw: Any = {"kind": kind, "window": window, "amount": int(amount), "asset": asset}
    return checked([Limit(**raw)])[0]


def key_of(limit: Limit) -> Key:
    """What a limit is on."""
    return limit.kind, limit.window, limit.asset


def lowest(*amounts: int | None) -> int | None:
    """The lowest of those that are set."""
    return min((amount for amount in amounts if amount is not None), default=None)


def lock_end(seconds: int | None, now: float) -> int:
    """When a lock from now ends. Raises BadLock."""
    if seconds is None:
        return FOR_EVER
    if type(seconds) is not int or not 1 <= seconds <= LOCK_SECONDS_MAX:
        raise BadLock(f"A lock lasts 1 to {LOCK_SECONDS_MAX} seconds, or for ever.")
    return math.ceil(now) + seconds


# -- a player's policy, and how it changes


class Waiting(msgspec.Struct, array_like=True, frozen=True):
    """What a player's own limit will be from a unix second on; None is none."""

    amount: int | None
    at: int


class Entry(msgspec.Struct, array_like=True):
    """A player's limit on one thing: the player's own, the operator's, and what the own one is about to become."""

    kind: Kind
    window: Window
    asset: str
    own: int | None = None
    operator: int | None = None
    waiting: Waiting | None = None

    @property
    def key(self) -> Key:
        """What it limits."""
        return self.kind, self.window, self.asset


class Policy(msgspec.Struct, array_like=True):
    """All that is decided for one player; `locked_until` in unix seconds."""

    entries: list[Entry] = []
    locked_until: int = 0


def settle(policy: Policy, now: float) -> None:
    """Write down what has come into force by time alone, and drop what limits nothing."""
    for entry in policy.entries:
        if entry.waiting is not None and entry.waiting.at <= now:
            entry.own, entry.waiting = entry.waiting.amount, None
    policy.entries = [entry for entry in policy.entries if entry.own is not None or entry.operator is not None]


def set_limits(
    policy: Policy, limits: Iterable[Limit], author: Author, now: float, increase_after_seconds: int
) -> tuple[ChangedLimit, ...]:
    """Change a policy; what was changed, and from when. Raises TooManyLimits."""
    settle(policy, now)
    by_key = {entry.key: entry for entry in policy.entries}
    changes: list[ChangedLimit] = []
    for limit in limits:
        entry = by_key.get(key_of(limit))
        if entry is None:
            entry = by_key[key_of(limit)] = Entry(limit.kind, limit.window, limit.asset)
        previous = entry.operator if author == "operator" else entry.own
        at = math.ceil(now)
        if author == "operator":
            entry.operator = limit.amount
        elif entry.own is not None and _is_looser(limit.amount, entry.own):
            at = math.ceil(now + increase_after_seconds)
            # Who asks again, or for less than what is waiting, has waited for it already.
            if entry.waiting is not None and not _is_looser(limit.amount, entry.waiting.amount):
                at = entry.waiting.at
            entry.waiting = Waiting(limit.amount, at)
        else:
            entry.own, entry.waiting = limit.amount, None
        changes.append(ChangedLimit(*entry.key, previous, limit.amount, at))
    policy.entries = list(by_key.values())
    settle(policy, now)
    set_now = [entry for entry in policy.entries if (entry.operator if author == "operator" else entry.own) is not None]
    if len(set_now) > LIMITS_MAX:
        raise TooManyLimits(f"A player has at most {LIMITS_MAX} limits.")
    return tuple(changes)


def _is_looser(amount: int | None, than: int | None) -> bool:
    return than is not None and (amount is None or amount > than)


# -- what is in force


class Rule(msgspec.Struct, frozen=True, gc=False):
    """The lowest limit on one thing, and what it will be from a unix second on; 0 is never."""

    kind: Kind
    window: Window
    asset: str
    amount: int | None
    changes_at: int = 0
    amount_then: int | None = None

    def at(self, now: float) -> int | None:
        """What it is at a time."""
        return self.amount_then if 0 < self.changes_at <= now else self.amount


class Count(msgspec.Struct, frozen=True, gc=False):
    """A series that has to be kept, and the rules on its windows. Only losses can fall."""

    name: str
    kind: Kind
    buckets: Buckets
    rules: tuple[tuple[int, Rule], ...]

    def current(self, series: dict[str, Series], now: float) -> Series:
        """The series, gone on to now."""
        number = int(now) // self.buckets.seconds
        found = series.get(self.name)
        if found is None:
            found = series[self.name] = begun(number, self.buckets.windows)
        elif found.at < number:
            advance(found, number, self.buckets.windows, falls=self.kind == "loss")
        return found


class Plan(msgspec.Struct, frozen=True):
    """A policy made ready: what to count by asset and measure, play under the asset "", and until when nothing goes."""

    locked_until: int
    counts: dict[str, tuple[tuple[Count, ...], ...]]

    def names(self, asset: str) -> set[str]:
        """The series that are kept for an asset."""
        return {count.name for counts in self.counts.get(asset, ()) for count in counts}


def plan_of(policy: Policy, defaults: Mapping[Key, int]) -> Plan:
    """What a policy and the limits for everybody come to."""
    rules = [_rule(entry, defaults.get(entry.key)) for entry in policy.entries]
    known = {entry.key for entry in policy.entries}
    rules += [Rule(*key, amount) for key, amount in defaults.items() if key not in known]
    series: dict[tuple[str, Kind, Buckets], list[tuple[int, Rule]]] = {}
    for rule in rules:
        buckets, index = COUNTED_IN[rule.window]
        series.setdefault((rule.asset, rule.kind, buckets), []).append((index, rule))
    counts: dict[str, list[Count]] = {}
    for (asset, kind, buckets), limited in series.items():
        counts.setdefault(asset, []).append(Count(series_name(kind, buckets), kind, buckets, tuple(limited)))
    by_measure = {
        asset: tuple(tuple(count for count in all_ if measure in MEASURED[count.kind]) for measure in Measure)
        for asset, all_ in counts.items()
    }
    return Plan(policy.locked_until, by_measure)


def series_name(kind: Kind, buckets: Buckets) -> str:
    """Under which name a series is kept."""
    return f"{kind}/{buckets.unit}"


def _rule(entry: Entry, default: int | None) -> Rule:
    amount = lowest(entry.own, entry.operator, default)
    if entry.waiting is None:
        return Rule(*entry.key, amount)
    return Rule(*entry.key, amount, entry.waiting.at, lowest(entry.waiting.amount, entry.operator, default))


def used_of(entry: Entry, series: dict[str, Series], now: float) -> int:
    """How much of a limit is used; below zero for a player who is ahead. The series are gone on to now."""
    buckets, index = COUNTED_IN[entry.window]
    return Count(series_name(entry.kind, buckets), entry.kind, buckets, ()).current(series, now).used(index)


# -- measuring


def count(series: dict[str, Series], counts: tuple[Count, ...], measure: Measure, amount: int, now: float) -> None:
    """Count an amount that was staked, spent, won or given back. Raises LimitReached where no more may be taken."""
    taking = measure in TAKING
    change = amount if taking else -amount
    for one in counts:
        found = one.current(series, now)
        if taking:
            _check(found, one, amount, now)
        add(found, change)
        if taking and found.peak > AMOUNT_MAX:
            raise LimitReached("More than that cannot be counted; nothing was done.")


def count_play(series: dict[str, Series], counts: tuple[Count, ...], measure: Measure, since: int, now: float) -> None:
    """Count the time since the last step, if that is short enough to have been played. Raises LimitReached.

    It counts into the bucket in which it ends, which keeps it longest.
    """
    passed = int(now) - since
    seconds = passed if 0 < passed <= PLAY_GAP_SECONDS_MAX else 0
    for one in counts:
        found = one.current(series, now)
        if measure in TAKING:
            # Whoever goes on begins another second.
            _check(found, one, seconds + 1, now)
        add(found, seconds)


def check_lock(locked_until: int, now: float) -> None:
    """Raises LimitReached while a lock lasts."""
    if now < locked_until:
        end = "for ever" if locked_until == FOR_EVER else f"until {_time(locked_until)}"
        raise LimitReached(f"This player is locked {end}: nothing can be staked or spent.")


def _check(series: Series, one: Count, amount: int, now: float) -> None:
    for index, rule in one.rules:
        limit = rule.at(now)
        if limit is not None and series.used(index) + amount > limit:
            raise _reached(series, one, index, rule, limit, amount)


def _reached(series: Series, one: Count, index: int, rule: Rule, limit: int, amount: int) -> LimitReached:
    if rule.kind == PLAY:
        what = f"The limit of {limit} seconds of play in {rule.window} is reached"
    else:
        left = max(0, limit - series.used(index))
        what = f"The {rule.kind} limit of {limit} {rule.asset} (in minor units) in {rule.window} leaves {left}"
    if amount > limit:
        return LimitReached(f"{what}; {amount} is more than it ever allows.")
    buckets = one.buckets
    number = frees_at(series, index, limit - amount, buckets.windows, falls=rule.kind == "loss")
    return LimitReached(f"{what}; this can be done from {_time(number * buckets.seconds)} on.")


def _time(seconds: int) -> str:
    return f"{utc(seconds):%Y-%m-%dT%H:%M:%SZ}"


# -- the record


class Position(msgspec.Struct, array_like=True, frozen=True, tag="limits"):
    """After which change a page goes on, and whose it is."""

    player_id: str
    at: datetime
    id: str


END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


def position_of(player_id: str, cursor: str) -> Position:
    """Where a page starts. Raises BadPage when `cursor` is not of this player's record."""
    if not cursor:
        return Position(player_id, END_OF_TIME, SYSTEM_USER)
    try:
        found = open_cursor(cursor, Position)
        at = found.at.astimezone(UTC)
        parse_id(found.id)
    except (ValueError, OverflowError):
        raise BadPage("Malformed cursor was used.") from None
    if found.player_id != player_id or found.at.tzinfo is None:
        raise BadPage("Malformed cursor was used.")
    return Position(player_id, at, found.id)


def page_of(found: Sequence[LimitChange], limit: int) -> ChangePage:
    """The page made of what was found, one more than `limit` if there is more."""
    if len(found) <= limit:
        return ChangePage(tuple(found), "")
    last = found[limit - 1]
    return ChangePage(tuple(found[:limit]), seal_cursor(Position(last.player_id, last.at, last.id)))
