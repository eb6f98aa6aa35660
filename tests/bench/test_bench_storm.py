"""A small resume storm on a whole node."""

from __future__ import annotations

import os

from bench.storm import storm
from palestra.core.config import ResumeSettings, Settings
from palestra.testing import Platform


async def test_everybody_goes_on_after_a_storm_and_nobody_saw_anybody_leave(database_url: str) -> None:
    async with Platform.start(database_url=database_url) as platform:
        tokens = [(await platform.bot()).token for _ in range(44)]
        seen = await storm("127.0.0.1", platform.node.port, os.getpid(), tokens, 40, within_seconds=1)
        assert (seen.sockets, seen.resumed, seen.leaves_seen, seen.whole) == (40, 40, 0, True)


async def test_a_node_that_waits_for_nobody_does_not_pass(database_url: str) -> None:
    settings = Settings(resume=ResumeSettings(seconds=0))
    async with Platform.start(database_url=database_url, settings=settings) as platform:
        tokens = [(await platform.bot()).token for _ in range(22)]
        seen = await storm(
            "127.0.0.1", platform.node.port, os.getpid(), tokens, 20, within_seconds=1, arrive_seconds_max=0.5
        )
        assert not seen.whole
        assert seen.resumed < 20
        assert seen.leaves_seen > 0
