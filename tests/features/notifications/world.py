"""The notifications feature on a test database, with players who call its operations and note what they are sent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from palestra.core.clock import ManualClock
from palestra.core.config import DatabaseSettings
from palestra.core.errors import PalestraError
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.notifications.feature import operations
from palestra.features.notifications.routes import NotificationRoutes
from palestra.features.notifications.service import NotificationService
from palestra.features.notifications.store import NotificationStore
from palestra.gateway.operation import Session
from palestra.gateway.push import Push
from tests.features.friends.players import Api, Players

LATER = {"score": 7}


class Ear:
    """A socket that notes the notifications it is sent."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.envelopes = 0

    def send(self, push: Push) -> None:
        self.envelopes += 1
        self.heard += json.loads(push.envelope())["notifications"]["notifications"]


class World:
    """Notifications, players, and their sockets, which are lists in memory."""

    def __init__(self, database: Database, folder: Path, settings: DatabaseSettings | None = None) -> None:
        self.database = database
        self.clock = ManualClock()
        self.tasks = Tasks()
        self.players = Players(database, folder)
        self.sessions: dict[str, Session] = {}
        self.ears: dict[str, list[Ear]] = {}
        self.store = NotificationStore(database, settings or DatabaseSettings())
        self.notifications = NotificationService(self.store, self, self.tasks, self.clock, retry_seconds=0)
        self._operations = operations(NotificationRoutes(self.notifications))

    def of_user(self, user_id: str) -> list[Session]:
        """The sockets of a player."""
        return cast(list[Session], self.ears.get(user_id, []))

    def connect(self, user_id: str) -> Ear:
        """A new socket of a player."""
        ear = Ear()
        self.ears.setdefault(user_id, []).append(ear)
        self.sessions[f"session {len(self.sessions)}"] = cast(Session, ear)
        return ear

    async def meet(self, *usernames: str) -> list[tuple[str, Api]]:
        """New players: (id, a way to call operations as them)."""
        ids = await self.players.make(*usernames)
        return [(i, Api(self._operations, i, name)) for i, name in zip(ids, usernames, strict=True)]

    async def note(self, user_id: str, *subjects: str) -> list[str]:
        """Notifications for a player, one call each; their ids."""
        return [(await self.notifications.send(user_id, one, LATER, 1))[0].id for one in subjects]

    async def tasks_done(self) -> None:
        """Wait until no notification for everybody is under way."""
        while working := [task for task in asyncio.all_tasks() if task.get_name() == "notification for everybody"]:
            await asyncio.wait(working)

    async def stop(self) -> None:
        """End background work and connections."""
        await self.tasks.stop()
        await self.store.stop()
        await self.players.stop()


async def refused(awaitable: Any) -> tuple[int, str]:
    """The code and message of an expected error."""
    with pytest.raises(PalestraError) as caught:
        await awaitable
    return caught.value.code, caught.value.message


def subjects(page: dict[str, Any]) -> list[str]:
    """What a page of an inbox is about."""
    return [one["subject"] for one in page.get("notifications", [])]
