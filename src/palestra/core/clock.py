"""Time, passed in so that tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where code gets its time from."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        self._now += seconds


def timestamp(when: datetime, *, fraction: bool = False) -> datetime:
    """A UTC time as answers show it: whole seconds, or with its fraction where the wire has one.

    Wire structs hold times as such: the JSON encoder writes RFC 3339 text faster than any code of ours.
    """
    if fraction or not when.microsecond:
        return when
    # Less than half of what `replace` takes, on each time of each answer.
    return datetime(when.year, when.month, when.day, when.hour, when.minute, when.second, 0, UTC)


def utc(seconds: float) -> datetime:
    """Unix seconds as an aware UTC time."""
    return datetime.fromtimestamp(seconds, UTC)
