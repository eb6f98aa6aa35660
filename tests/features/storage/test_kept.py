"""The server's objects as players read them: from memory, and never older than what was written."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from palestra.core.ids import SYSTEM_USER
from palestra.features.storage import store as store_module
from palestra.features.storage.contract import READ_NOBODY, READ_PUBLIC, ObjectId, ObjectWrite, StorageError
from palestra.features.storage.service import StorageService
from palestra.features.storage.store import StorageStore

KEYS = [f"key {number}" for number in range(4)]


async def test_what_a_player_reads_of_the_server_is_kept_and_forgotten_with_each_change(
    storage: StorageService, store: StorageStore, ann: str
) -> None:
    chance, own = random.Random(3), ObjectWrite("config", "mine", "{}", ann)
    await storage.write([own])
    for _ in range(80):
        keys = chance.sample(KEYS, 2)
        kind = chance.randrange(4)
        if kind == 0:
            # Refused where there is none.
            with contextlib.suppress(StorageError):
                await storage.delete([ObjectId("config", keys[0], SYSTEM_USER)])
        elif kind < 3:
            permission = chance.choice((READ_NOBODY, READ_PUBLIC, READ_PUBLIC))
            await storage.write(
                [
                    ObjectWrite("config", key, f'{{"n": {chance.randrange(99)}}}', permission_read=permission)
                    for key in keys[:kind]
                ]
            )
        else:
            with pytest.raises(StorageError):
                await storage.write([ObjectWrite("config", keys[0], "{}", version="wrong"), own])
        asked = [
            ObjectId("config", "mine", ann),
            *(ObjectId("config", key, SYSTEM_USER) for key in chance.sample(KEYS, 3)),
        ]
        for _ in range(2):
            truth = [
                one for one in await storage.read(asked) if one.user_id == ann or one.permission_read == READ_PUBLIC
            ]
            assert await storage.read(asked, caller_id=ann) == truth
    assert store._public.hits > store._public.misses > 0


async def test_names_with_all_kinds_of_letters_are_told_apart(storage: StorageService, ann: str) -> None:
    names = [("a", "b:c"), ("a:b", "c"), ("a b", "c"), ("a", "b c"), ("\x01", "\x7f")]
    for number, (collection, key) in enumerate(names):
        await storage.put(collection, key, {"n": number}, permission_read=READ_PUBLIC)
    for _ in range(2):
        found = await storage.read([ObjectId(*name, SYSTEM_USER) for name in names], caller_id=ann)
        assert [(one.collection, one.key, one.value) for one in found] == [
            (*name, f'{{"n": {number}}}') for number, name in enumerate(names)
        ]
    assert all(one.user_id == SYSTEM_USER for one in found)


async def test_a_write_that_its_caller_gives_up_is_seen_when_it_is_done(
    storage: StorageService, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    write_rows = store_module._write_rows

    async def slow(*arguments: Any, **options: Any) -> Any:
        writing.set()
        await go.wait()
        try:
            return await write_rows(*arguments, **options)
        finally:
            done.set()

    async def shop() -> list[str]:
        found = await storage.read([ObjectId("config", "shop", SYSTEM_USER)], caller_id=ann)
        return [one.value for one in found]

    await storage.put("config", "shop", {"price": 1}, permission_read=READ_PUBLIC)
    monkeypatch.setattr(store_module, "_write_rows", slow)
    caller = asyncio.create_task(storage.put("config", "shop", {"price": 2}, permission_read=READ_PUBLIC))
    await writing.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert await shop() == ['{"price": 1}']
    go.set()
    await done.wait()
    async with asyncio.timeout(20):
        while await shop() != ['{"price": 2}']:  # noqa: ASYNC110 - the end of the round is told to nobody
            await asyncio.sleep(0)
