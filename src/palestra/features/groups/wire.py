"""The JSON shapes of the group endpoints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from palestra.core.clock import timestamp
from palestra.core.encoded import encoded
from palestra.features.accounts.contract import UserWire, user_wire
from palestra.features.groups import contract
from palestra.gateway.fields import Int32, JsonText


class CreateRequest(msgspec.Struct):
    """A new group; `max_count` 0 is 100."""

    name: str = ""
    description: str = ""
    lang_tag: str = ""
    avatar_url: str = ""
    open: bool = False
    max_count: Int32 = 0


class UpdateRequest(msgspec.Struct):
    """What to change; absent means keep, "" clears where that is allowed."""

    group_id: str = ""
    name: str | None = None
    description: str | None = None
    lang_tag: str | None = None
    avatar_url: str | None = None
    open: bool | None = None


class GroupRequest(msgspec.Struct):
    """One group."""

    group_id: str = ""


class UsersRequest(msgspec.Struct):
    """Players, and the group in which something is to be done to them."""

    group_id: str = ""
    user_ids: list[str] = []


class ListRequest(msgspec.Struct):
    """Which groups; `limit` left out is 1."""

    name: str = ""
    cursor: str = ""
    limit: Int32 | None = None
    lang_tag: str = ""
    members: Int32 | None = None
    open: bool | None = None


class ListUsersRequest(msgspec.Struct):
    """Which players of a group; `limit` left out is 100."""

    group_id: str = ""
    limit: Int32 | None = None
    state: Int32 | None = None
    cursor: str = ""


class ListOfUserRequest(msgspec.Struct):
    """Which groups of a player; `limit` left out is 100."""

    user_id: str = ""
    limit: Int32 | None = None
    state: Int32 | None = None
    cursor: str = ""


class Group(msgspec.Struct, omit_defaults=True):
    """A group; `open` is written even if false."""

    id: str = ""
    creator_id: str = ""
    name: str = ""
    description: str = ""
    lang_tag: str = ""
    metadata: JsonText = ""
    avatar_url: str = ""
    open: bool | None = None
    edge_count: int = 0
    max_count: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None


class GroupList(msgspec.Struct, omit_defaults=True):
    """One page of groups."""

    groups: list[Group] = []
    cursor: str = ""


class GroupUser(msgspec.Struct, omit_defaults=True):
    """A player in a group; state 0 is written."""

    user: UserWire
    state: int | None = None


class GroupUserList(msgspec.Struct, omit_defaults=True):
    """One page of players."""

    group_users: list[GroupUser] = []
    cursor: str = ""


class UserGroup(msgspec.Struct, omit_defaults=True):
    """A group of a player; state 0 is written."""

    group: Group
    state: int | None = None


class UserGroupList(msgspec.Struct, omit_defaults=True):
    """One page of groups of a player."""

    user_groups: list[UserGroup] = []
    cursor: str = ""


def group_of(group: contract.Group) -> Group:
    """A group in its wire form."""
    return Group(
        id=group.id,
        creator_id=group.creator_id,
        name=group.name,
        description=group.description or "",
        lang_tag=group.lang_tag,
        metadata=group.metadata,
        avatar_url=group.avatar_url or "",
        open=group.open,
        edge_count=group.edge_count,
        max_count=group.max_count,
        create_time=timestamp(group.created_at),
        update_time=timestamp(group.updated_at),
    )


def groups_json(page: contract.GroupPage) -> GroupList:
    """As `groups_of`, already encoded: for answers that nobody looks at. Kept with the page."""
    return encoded(page, lambda: groups_of(page))


def groups_of(page: contract.GroupPage) -> GroupList:
    """A page of groups in its wire form."""
    return GroupList([group_of(group) for group in page.groups], page.cursor)


def members_of(
    page: contract.MemberPage, shape: Callable[[contract.UserRecord], UserWire] = user_wire
) -> GroupUserList:
    """A page of players in its wire form; with `user_json` they are encoded already."""
    return GroupUserList([GroupUser(shape(one.user), one.state) for one in page.members], page.cursor)


def memberships_of(page: contract.MembershipPage) -> UserGroupList:
    """A page of groups of a player in its wire form."""
    return UserGroupList([UserGroup(group_of(one.group), one.state) for one in page.memberships], page.cursor)
