"""Players for the tests of features that need no more of them than an id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from palestra.core.ids import new_id
from palestra.database.pool import Database

NewPlayer = Callable[[], Awaitable[str]]


@pytest.fixture
def new_player(database: Database) -> NewPlayer:
    async def make() -> str:
        user_id = new_id()
        await database.execute("INSERT INTO users (id, username) VALUES ($1, $2)", user_id, user_id)
        return user_id

    return make


@pytest.fixture
async def ann(new_player: NewPlayer) -> str:
    return await new_player()


@pytest.fixture
async def bob(new_player: NewPlayer) -> str:
    return await new_player()
