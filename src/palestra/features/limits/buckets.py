"""Counting over rolling windows: sums by hour or by day, as many as the longest window needs.

A window of n buckets takes in the running bucket, the n before it and of those the oldest one, in which the window
begins, as badly as it can be read. So what happened counts for the whole window, and less than one bucket longer.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from palestra.features.ledger.contract import AMOUNT_MAX


class Older(msgspec.Struct, array_like=True, gc=False):
    """Sums of the buckets before the running one, oldest first; of a series that can fall, their peaks as well."""

    sums: list[int] = []
    peaks: list[int] = []


NOTHING_OLDER = msgspec.Raw(b"[]")
_encode = msgspec.json.Encoder().encode
_decode_older = msgspec.json.Decoder(Older).decode


class Series(msgspec.Struct, array_like=True, gc=False):
    """The running bucket, number `at` since 1970, and what is before it.

    `peak` is the most that the end of the bucket, wherever it is taken to begin, adds up to: a window that begins in it
    holds at most that. `totals` are the sums of the buckets before, one for each window. They change with the bucket
    only, so that a step in a running bucket, which is nearly every one, need not decode what is older.
    """

    at: int
    sum: int
    peak: int
    totals: list[int]
    older: msgspec.Raw = NOTHING_OLDER

    def used(self, window: int) -> int:
        """The most that any window of this length adds up to that ends in the running bucket."""
        return self.totals[window] + self.sum


def begun(number: int, windows: Sequence[int]) -> Series:
    """A series without anything in it; windows by their length in buckets, the longest last."""
    return Series(number, 0, 0, [0] * len(windows))


def add(series: Series, amount: int) -> None:
    """Count into the running bucket. Beyond 64 bits a fall is cut short: that counts too much, never too little."""
    series.sum = max(-AMOUNT_MAX, series.sum + amount)
    series.peak = max(0, series.peak + amount)


def advance(series: Series, number: int, windows: Sequence[int], *, falls: bool) -> None:
    """Go on to a bucket, and drop what no window reaches. A clock that went back changes nothing."""
    passed = number - series.at
    if passed <= 0:
        return
    older = _decode_older(series.older)
    sums, peaks = older.sums, older.peaks
    # What was passed over is empty; there is no need for more of it than a window holds.
    empty = [0] * min(passed - 1, windows[-1])
    sums += [series.sum, *empty]
    if falls:
        peaks += [series.peak, *empty]
    first = max(0, len(sums) - windows[-1])
    while first < len(sums) and not sums[first] and not (peaks and peaks[first]):
        first += 1
    del sums[:first], peaks[:first]
    series.at, series.sum, series.peak = number, 0, 0
    series.totals = [_total(sums, peaks or sums, window) for window in windows]
    series.older = msgspec.Raw(_encode(older)) if sums else NOTHING_OLDER


def _total(sums: list[int], peaks: list[int], window: int) -> int:
    edge = len(sums) - window
    return peaks[edge] + sum(sums[edge + 1 :]) if edge >= 0 else sum(sums)


def frees_at(series: Series, window: int, most: int, windows: Sequence[int], *, falls: bool) -> int:
    """In which bucket `used` comes down to `most`, which is not below zero, if nothing is added."""
    later = msgspec.structs.replace(series)
    while later.used(window) > most:
        advance(later, later.at + 1, windows, falls=falls)
    return later.at
