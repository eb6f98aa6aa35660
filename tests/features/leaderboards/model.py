"""What scores do, the slow and plain way: one after the other."""

from __future__ import annotations

from palestra.features.leaderboards.rules import SCORE_MAX, Change, Score


def applied(change: Change, stored: Score | None, given: Score) -> Score | None:
    """The score that is stored after `given` was submitted; None when the record stays wholly unchanged."""
    if stored is None:
        return Score(0, 0) if change is Change.SUBTRACT else given
    if change is Change.ADD or change is Change.SUBTRACT:
        if given == (0, 0):
            return None
        return Score(*(_moved(change, old, by) for old, by in zip(stored, given, strict=True)))
    if change is Change.SET:
        after = given
    else:
        better = max if change is Change.GREATER else min
        after = Score(better(stored.score, given.score), better(stored.subscore, given.subscore))
    return None if after == stored else after


def _moved(change: Change, old: int, by: int) -> int:
    return min(old + by, SCORE_MAX) if change is Change.ADD else max(old - by, 0)
