"""A few stampedes."""

from __future__ import annotations

from bench.caching import hit_us, stampedes


async def test_the_bench_of_caches_sees_hits_and_one_query_for_each_stampede() -> None:
    assert await hit_us() > 0
    seen = await stampedes(3)
    assert seen.queries == seen.stampedes == 3
