"""Password hashing: bounded, off the loop, and nothing like the password."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from palestra.core.errors import Overloaded
from palestra.features.accounts import passwords as passwords_module
from palestra.features.accounts.passwords import Passwords
from palestra.testing import Platform
from tests.features.accounts.players import PASSWORD, outcomes, player


@pytest.fixture
async def passwords() -> Passwords:
    return Passwords()


async def test_a_password_matches_its_own_hash_only(passwords: Passwords) -> None:
    kept = await passwords.hash(PASSWORD)
    assert kept.startswith("$argon2id$") and PASSWORD not in kept
    assert kept != await passwords.hash(PASSWORD)
    assert await passwords.matches(kept, PASSWORD)
    assert not await passwords.matches(kept, PASSWORD + " ")
    assert not await passwords.matches(None, PASSWORD)
    assert not await passwords.matches("no hash at all", PASSWORD)
    passwords.stop()


async def test_more_than_the_limit_are_refused_at_once_and_the_rest_is_served(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_gate = threading.Event()
    monkeypatch.setattr(
        passwords, "_hasher", type("Held", (), {"hash": lambda self, text: open_gate.wait() and text})()
    )
    waiting = [asyncio.ensure_future(passwords.hash(f"{n}")) for n in range(passwords_module.WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await passwords.hash("one too many")
    open_gate.set()
    assert await asyncio.gather(*waiting) == [f"{n}" for n in range(passwords_module.WAITING_MAX)]
    assert await passwords.hash("again") == "again"
    passwords.stop()


async def test_a_hundred_log_ins_by_password_never_stop_the_loop(platform: Platform) -> None:
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - before)
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    logs = [player(platform, "email", {"email": f"p{n}@example.org", "password": PASSWORD}) for n in range(100)]
    found = await outcomes(*logs)
    watching.cancel()
    refused = [one for one in found if isinstance(one, tuple)]
    assert {one[:2] for one in refused} <= {(429, 8)}
    assert len(found) - len(refused) >= passwords_module.WAITING_MAX
    # One hash takes about 30 ms of a core: were they made on the loop, the loop would stand still for as long.
    assert sorted(gaps)[len(gaps) // 2] < 0.01
