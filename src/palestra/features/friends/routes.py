"""The friend endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.friends import wire
from palestra.features.friends.contract import PAGE_FRIENDS_MAX
from palestra.features.friends.service import FriendService
from palestra.gateway.operation import Call, Empty


class FriendRoutes:
    """Handlers of the friend operations."""

    def __init__(self, friends: FriendService) -> None:
        self._friends = friends

    async def list(self, call: Call, request: wire.ListRequest) -> wire.FriendList:
        """The caller's edges."""
        limit = PAGE_FRIENDS_MAX if request.limit is None else request.limit
        page = await self._friends.list(call.player.user_id, limit, request.state, request.cursor)
        return wire.friends_of(page)

    async def add(self, call: Call, request: wire.AddRequest) -> Empty:
        """Invite players or accept their invitations."""
        player = call.player
        await self._friends.add_with_text(
            player.user_id, player.username, request.ids, request.usernames, request.metadata
        )
        return Empty()

    async def delete(self, call: Call, request: wire.NamedRequest) -> Empty:
        """End friendships, invitations and blocks."""
        player = call.player
        await self._friends.delete(player.user_id, player.username, request.ids, request.usernames)
        return Empty()

    async def block(self, call: Call, request: wire.NamedRequest) -> Empty:
        """Block players."""
        player = call.player
        await self._friends.block(player.user_id, player.username, request.ids, request.usernames)
        return Empty()

    async def list_of_friends(self, call: Call, request: wire.FriendsOfFriendsRequest) -> wire.FriendsOfFriendsList:
        """Friends of the caller's friends."""
        limit = 10 if request.limit is None else request.limit
        page = await self._friends.friends_of_friends(call.player.user_id, limit, request.cursor)
        return wire.friends_of_friends_of(page)
