"""The group endpoints: decode, call the service, encode."""

from __future__ import annotations

from palestra.features.accounts.contract import user_json, user_wire
from palestra.features.groups import wire
from palestra.features.groups.contract import PAGE_MAX, GroupFilter, Groups
from palestra.gateway.operation import Call, Empty


class GroupRoutes:
    """Handlers of the group operations."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    async def create(self, call: Call, request: wire.CreateRequest) -> wire.Group:
        """Make a group of the caller's."""
        group = await self._groups.create(
            call.player.user_id,
            request.name,
            description=request.description,
            avatar_url=request.avatar_url,
            lang_tag=request.lang_tag,
            open=request.open,
            max_count=request.max_count,
        )
        return wire.group_of(group)

    async def update(self, call: Call, request: wire.UpdateRequest) -> Empty:
        """Change a group of which the caller is an admin."""
        await self._groups.update(
            request.group_id,
            name=request.name,
            description=request.description,
            avatar_url=request.avatar_url,
            lang_tag=request.lang_tag,
            open=request.open,
            caller_id=call.player.user_id,
        )
        return Empty()

    async def delete(self, call: Call, request: wire.GroupRequest) -> Empty:
        """Delete a group of which the caller is a superadmin."""
        await self._groups.delete(request.group_id, caller_id=call.player.user_id)
        return Empty()

    async def join(self, call: Call, request: wire.GroupRequest) -> Empty:
        """Join a group, or ask to."""
        await self._groups.join(request.group_id, call.player.user_id, call.player.username)
        return Empty()

    async def leave(self, call: Call, request: wire.GroupRequest) -> Empty:
        """Leave a group, or withdraw a request."""
        await self._groups.leave(request.group_id, call.player.user_id, call.player.username)
        return Empty()

    async def add_users(self, call: Call, request: wire.UsersRequest) -> Empty:
        """Let players in."""
        await self._groups.add_users(request.group_id, request.user_ids, caller_id=call.player.user_id)
        return Empty()

    async def kick_users(self, call: Call, request: wire.UsersRequest) -> Empty:
        """Put players out."""
        await self._groups.kick_users(request.group_id, request.user_ids, caller_id=call.player.user_id)
        return Empty()

    async def ban_users(self, call: Call, request: wire.UsersRequest) -> Empty:
        """Ban players."""
        await self._groups.ban_users(request.group_id, request.user_ids, caller_id=call.player.user_id)
        return Empty()

    async def promote_users(self, call: Call, request: wire.UsersRequest) -> Empty:
        """Raise players."""
        await self._groups.promote_users(request.group_id, request.user_ids, caller_id=call.player.user_id)
        return Empty()

    async def demote_users(self, call: Call, request: wire.UsersRequest) -> Empty:
        """Lower players."""
        await self._groups.demote_users(request.group_id, request.user_ids, caller_id=call.player.user_id)
        return Empty()

    async def list(self, call: Call, request: wire.ListRequest) -> wire.GroupList:
        """Groups that fit."""
        wanted = GroupFilter(request.name, request.lang_tag, request.members, request.open)
        limit = 1 if request.limit is None else request.limit
        page = await self._groups.list(wanted, limit, request.cursor)
        return wire.groups_json(page) if call.unseen else wire.groups_of(page)

    async def list_users(self, call: Call, request: wire.ListUsersRequest) -> wire.GroupUserList:
        """Players of a group."""
        limit = PAGE_MAX if request.limit is None else request.limit
        page = await self._groups.list_users(request.group_id, limit, request.state, request.cursor)
        return wire.members_of(page, user_json if call.unseen else user_wire)

    async def list_of_user(self, call: Call, request: wire.ListOfUserRequest) -> wire.UserGroupList:
        """Groups of a player, not necessarily the caller."""
        limit = PAGE_MAX if request.limit is None else request.limit
        page = await self._groups.list_of_user(request.user_id, limit, request.state, request.cursor)
        return wire.memberships_of(page)
