"""Checkpoints of matches while Valkey does not answer."""

from __future__ import annotations

import asyncio

import pytest

from palestra.features.matches import checkpoints
from palestra.features.matches.checkpoints import Checkpoints


async def test_who_waits_for_a_checkpoint_does_not_wait_for_all_that_come_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "WAIT_SECONDS", 0.05)
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    kept = Checkpoints(f"redis://127.0.0.1:{port}", "test", lambda: "a:1")
    running = asyncio.create_task(kept.run())
    going_on = asyncio.create_task(_tick(kept))
    try:
        async with asyncio.timeout(5.0):
            kept.forget("ours")
            await kept.written("ours")
    finally:
        for task in (going_on, running):
            task.cancel()
        await asyncio.gather(going_on, running, return_exceptions=True)
        silent.close()
        await silent.wait_closed()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass
    writer.close()
    await writer.wait_closed()


async def _tick(kept: Checkpoints) -> None:
    """Other matches go on."""
    while True:
        kept.keep("another", b"snapshot")
        await asyncio.sleep(0.001)
