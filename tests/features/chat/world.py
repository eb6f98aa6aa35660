"""Groups and chat on a database of their own, with players who listen, write and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from palestra.core.config import DatabaseSettings
from palestra.core.errors import PalestraError
from palestra.core.ids import new_id
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.features.chat.addresses import Addresses
from palestra.features.chat.channels import ChannelService
from palestra.features.chat.feature import operations
from palestra.features.chat.routes import ChatRoutes
from palestra.features.chat.service import ChatService
from palestra.features.chat.store import ChatStore
from palestra.features.friends.service import FriendService
from palestra.features.friends.store import FriendStore
from palestra.features.streams.engine import PresenceEngine
from tests.features.friends.players import Api
from tests.features.groups.world import World as GroupWorld


class World(GroupWorld):
    """Groups and chat on a database of their own."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder)
        self.messages = ChatStore(database, DatabaseSettings(), self.players.caches)
        self.presences = PresenceEngine()
        self.tasks = Tasks()
        self.friendships = FriendStore(database, DatabaseSettings(), self.players.caches)
        self.friends = FriendService(self.friendships, self.players.users, self.events, self.clock)
        addresses = Addresses(self.players.users, self.friends, self.groups)
        self.chat = ChatService(self.messages, self.presences, addresses, self.groups, self.clock)
        self.channels = ChannelService(self.chat, self.presences, addresses, self.events, self.tasks)

    async def reader(self, username: str) -> tuple[str, Api]:
        """A new player who reads histories."""
        (user_id,) = await self.players.make(username)
        return user_id, Api(operations(ChatRoutes(self.chat)), user_id, username)

    async def stop(self) -> None:
        """Close the connections of the features."""
        await self.messages.stop()
        await self.friendships.stop()
        await super().stop()

    async def say(self, channel: str, *texts: str) -> list[str]:
        """Messages of a stranger; their ids."""
        return [(await self.chat.send(channel, {"t": text}, new_id(), "someone")).id for text in texts]


async def refused(awaitable: Any) -> tuple[int, str]:
    with pytest.raises(PalestraError) as caught:
        await awaitable
    return caught.value.code, caught.value.message
