"""The groups feature on a test database, with players who call its operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palestra.core.clock import ManualClock
from palestra.core.config import DatabaseSettings
from palestra.core.events import EventBus
from palestra.database.pool import Database
from palestra.features.groups.contract import GroupDeleted, JoinRequested, MemberChanged
from palestra.features.groups.feature import operations
from palestra.features.groups.routes import GroupRoutes
from palestra.features.groups.service import GroupService
from palestra.features.groups.store import GroupStore
from tests.features.friends.players import Api, Players, Recorder


class World:
    """Groups, players, and what is told of them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = ManualClock()
        self.events = EventBus()
        self.told = Recorder(self.events, MemberChanged, JoinRequested, GroupDeleted)
        self.players = Players(database, folder)
        self.store = GroupStore(database, DatabaseSettings(), self.players.caches)
        self.groups = GroupService(self.store, self.players.users, self.events, self.clock)
        self._operations = operations(GroupRoutes(self.groups))

    async def meet(self, *usernames: str) -> list[tuple[str, Api]]:
        """New players: (id, a way to call operations as them)."""
        ids = await self.players.make(*usernames)
        return [(i, Api(self._operations, i, name)) for i, name in zip(ids, usernames, strict=True)]

    async def act(self, player: Api, verb: str, group: str, *user_ids: str) -> dict[str, Any]:
        """One of the POST operations on a group."""
        return await player("POST", f"/v2/group/{group}/{verb}", **({"user_ids": user_ids} if user_ids else {}))

    async def states(self, group: str) -> dict[str, int]:
        """How every player stands to a group, read from the table."""
        sql = "SELECT user_id::text, state FROM group_members WHERE group_id = $1"
        return dict(await self.database.fetch(sql, group))

    async def assert_counts_are_true(self) -> None:
        """The counter of every group equals the members it has."""
        wrong = await self.database.fetch("""
            SELECT name, edge_count FROM groups g WHERE edge_count <>
                (SELECT count(*) FROM group_members m WHERE m.group_id = g.id AND m.state <= 2)
        """)
        assert wrong == []

    async def stop(self) -> None:
        """Close the connections of the features."""
        await self.store.stop()
        await self.players.stop()
