"""A short stream of tickets."""

from __future__ import annotations

from bench.tickets import arriving


async def test_nearly_everybody_is_matched_and_waits_are_told() -> None:
    seen = await arriving(tickets=200, seconds=0.2)
    assert seen.tickets == 200
    assert seen.matched > 100
    assert seen.wait_p99_ms > 0
    assert f"{seen.matched}/200 matched" in seen.told()
