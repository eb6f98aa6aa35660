"""The friends feature on a test database, with players who call its operations."""

from __future__ import annotations

from pathlib import Path

from palestra.core.clock import ManualClock
from palestra.core.config import DatabaseSettings
from palestra.core.events import EventBus
from palestra.database.pool import Database
from palestra.features.friends.contract import (
    FriendAccepted,
    FriendBlocked,
    FriendInvited,
    FriendJoined,
    FriendRemoved,
)
from palestra.features.friends.feature import operations
from palestra.features.friends.importing import FriendImport
from palestra.features.friends.routes import FriendRoutes
from palestra.features.friends.service import FriendService
from palestra.features.friends.store import FriendStore
from tests.features.friends.players import Api, Players, Recorder

FRIEND, SENT, RECEIVED, BLOCKED = range(4)
TOLD = FriendInvited, FriendAccepted, FriendRemoved, FriendBlocked, FriendJoined


class World:
    """Friendships, players, and what is told of them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = ManualClock()
        self.events = EventBus()
        self.told = Recorder(self.events, *TOLD)
        self.players = Players(database, folder)
        self.store = FriendStore(database, DatabaseSettings(), self.players.caches)
        self.friends = FriendService(self.store, self.players.users, self.events, self.clock)
        self._operations = operations(FriendRoutes(self.friends, FriendImport(self.friends, self.players.users, {})))

    async def meet(self, *usernames: str) -> list[tuple[str, Api]]:
        ids = await self.players.make(*usernames)
        return [(i, Api(self._operations, i, name)) for i, name in zip(ids, usernames, strict=True)]

    async def edges(self) -> dict[tuple[str, str], int]:
        """Every edge's state, read from the table."""
        rows = await self.database.fetch("SELECT user_id::text, friend_id::text, state FROM friends")
        return {(row[0], row[1]): row[2] for row in rows}

    async def assert_counts_are_true(self) -> None:
        counts = dict.fromkeys(await self.players.edge_counts(), 0)
        for owner, _ in await self.edges():
            counts[owner] += 1
        assert await self.players.edge_counts() == counts

    async def stop(self) -> None:
        """Close the connections of the features."""
        await self.store.stop()
        await self.players.stop()
