"""Waiting for what takes real time: other processes, brokers, the network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECONDS_MAX = 20.0


async def until(condition: Callable[[], object], seconds: float = SECONDS_MAX) -> None:
    """Wait until something is so; TimeoutError when it never is."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - whatever it is, nobody tells us
            await asyncio.sleep(0.01)
