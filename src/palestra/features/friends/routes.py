"""The friend endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.accounts.contract import IdentityKind
from palestra.features.friends import wire
from palestra.features.friends.contract import PAGE_FRIENDS_MAX
from palestra.features.friends.importing import FriendImport
from palestra.features.friends.service import FriendService
from palestra.features.identity.contract import NONCE_VAR
from palestra.gateway.operation import Call, Empty


class FriendRoutes:
    """Handlers of the friend operations."""

    def __init__(self, friends: FriendService, imports: FriendImport) -> None:
        self._friends = friends
        self._imports = imports

    async def list(self, call: Call, request: wire.ListRequest) -> wire.FriendList:
        """The caller's edges."""
        limit = PAGE_FRIENDS_MAX if request.limit is None else request.limit
        page = await self._friends.list(call.player.user_id, limit, request.state, request.cursor)
        return wire.friends_json(page) if call.unseen else wire.friends_of(page)

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
        return wire.friends_of_friends_of(page, call.unseen)

    async def import_facebook(self, call: Call, request: wire.ImportRequest) -> Empty:
        """Make friends of those who are friends on Facebook."""
        return await self._import(IdentityKind.FACEBOOK, call, request)

    async def import_steam(self, call: Call, request: wire.ImportRequest) -> Empty:
        """Make friends of those who are friends on Steam."""
        return await self._import(IdentityKind.STEAM, call, request)

    async def _import(self, kind: IdentityKind, call: Call, request: wire.ImportRequest) -> Empty:
        player, account = call.player, request.account
        nonce = account.vars.get(NONCE_VAR, "")
        await self._imports.bring(kind, account.token, nonce, player.user_id, player.username, bool(request.reset))
        return Empty()
