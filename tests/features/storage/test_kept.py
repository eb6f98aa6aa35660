"""The server's objects as players read them: from memory, and never older than what was written."""

from __future__ import annotations

import contextlib
import random

import pytest

from palestra.core.ids import SYSTEM_USER
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
