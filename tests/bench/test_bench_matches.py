"""The lateness of ticks is read from the node's histogram, for the ticks between two looks only."""

from __future__ import annotations

from bench.matches import LATENESS, quantile


def buckets(*counts: int) -> dict[str, float]:
    """What a node shows: cumulative counts up to 1 ms, 2 ms, 5 ms, and all."""
    bounds = ("0.001", "0.002", "0.005", "+Inf")
    return {f'{LATENESS}_bucket{{le="{bound}"}}': float(count) for bound, count in zip(bounds, counts, strict=True)}


def test_the_quantile_lies_in_its_bucket_by_share() -> None:
    nothing = buckets(0, 0, 0, 0)
    assert quantile(nothing, buckets(1_000, 1_000, 1_000, 1_000)) == 0.00099
    assert quantile(nothing, buckets(980, 1_000, 1_000, 1_000)) == 0.0015
    assert quantile(buckets(0, 0, 500, 500), buckets(1_000, 1_000, 1_500, 1_500)) == 0.00099
    assert quantile(nothing, buckets(0, 0, 0, 1_000)) == 0.005, "at least the last bound"
