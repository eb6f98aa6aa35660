"""The JSON shapes of limits. As everywhere, 64-bit numbers are read as numbers or texts and answered as texts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from palestra.features.limits import contract
from palestra.gateway.fields import Int64, Int64Text


class WantedLimit(msgspec.Struct):
    """A limit of the caller's own: an `amount`, or `remove`."""

    kind: str = ""
    window: str = ""
    asset: str = ""
    amount: Int64 | None = None
    remove: bool = False


class SetRequest(msgspec.Struct):
    """Limits to set, change or remove; those not named stay."""

    limits: list[WantedLimit] = []


class LockRequest(msgspec.Struct):
    """For how long, or `for_ever`."""

    seconds: Int64 | None = None
    for_ever: bool = False


class Pending(msgspec.Struct, omit_defaults=True):
    """What the caller's own limit is about to become: an amount, or removed."""

    amount: Int64Text = ""
    removed: bool = False
    effective_time: datetime | None = None


class Limit(msgspec.Struct, omit_defaults=True):
    """A limit as it stands: the lowest of `own`, `operator` and `default`."""

    kind: str = ""
    window: str = ""
    asset: str = ""
    amount: Int64Text = ""
    used: Int64Text = ""
    remaining: Int64Text = ""
    own: Int64Text = ""
    operator: Int64Text = ""
    default: Int64Text = ""
    pending: Pending | None = None


class Limits(msgspec.Struct, omit_defaults=True):
    """All limits of the caller; a lock without `locked_until` has no end."""

    limits: list[Limit] = []
    locked: bool = False
    locked_until: datetime | None = None


def limit_of(wanted: WantedLimit) -> contract.Limit:
    """A limit to set. Raises BadLimit."""
    if (wanted.amount is None) != wanted.remove:
        raise contract.BadLimit("Give each limit an amount, or remove it; not both.")
    # What kind and window may be is the rules' to say.
    kind: Any = wanted.kind
    window: Any = wanted.window
    return contract.Limit(kind, window, wanted.amount, wanted.asset)


def lock_seconds(request: LockRequest) -> int | None:
    """For how long to lock, None for ever. Raises BadLock."""
    if (request.seconds is None) != request.for_ever:
        raise contract.BadLock("Say for how many seconds, or for_ever; not both.")
    return request.seconds


def limits_of(overview: contract.Overview) -> Limits:
    """All limits in their wire form."""
    limits = [_limit(standing) for standing in overview.limits]
    lock = overview.lock
    return Limits(limits, lock is not None, lock.until if lock is not None else None)


def _limit(one: contract.Standing) -> Limit:
    return Limit(
        one.kind,
        one.window,
        one.asset,
        _text(one.amount),
        _text(one.used),
        _text(one.remaining),
        _text(one.own),
        _text(one.operator),
        _text(one.default),
        _pending(one.pending),
    )


def _pending(pending: contract.Pending | None) -> Pending | None:
    if pending is None:
        return None
    return Pending(_text(pending.amount), pending.amount is None, pending.at)


def _text(amount: int | None) -> str:
    return "" if amount is None else str(amount)
