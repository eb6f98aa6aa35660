"""What others may know of groups: records, errors, events and the `Groups` protocol."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import AlreadyExists, Code, InvalidArgument, NotFound
from palestra.features.accounts.contract import UserRecord

PAGE_MAX = 100
USERS_MAX = 1000
"""Most players in one call."""
MEMBERS_DEFAULT = 100
"""Most members of a group that does not say."""


class State(enum.IntEnum):
    """How a player stands to a group. The numbers are stored, and part of the protocol."""

    SUPERADMIN = 0
    ADMIN = 1
    MEMBER = 2
    JOIN_REQUEST = 3
    BANNED = 4


class Group(msgspec.Struct, frozen=True):
    """A group. `edge_count` counts superadmins, admins and members; `metadata` is the text of a JSON object."""

    id: str
    creator_id: str
    name: str
    description: str | None
    avatar_url: str | None
    lang_tag: str
    metadata: str
    open: bool
    edge_count: int
    max_count: int
    created_at: datetime
    updated_at: datetime


class GroupFilter(msgspec.Struct, frozen=True):
    """Which groups to list. `name` is a pattern of LIKE in any case and goes alone; `members` is the most they have."""

    name: str = ""
    lang_tag: str = ""
    members: int | None = None
    open: bool | None = None


class Member(msgspec.Struct, frozen=True):
    """A player in a group."""

    user: UserRecord
    state: int


class Membership(msgspec.Struct, frozen=True):
    """A group of a player."""

    group: Group
    state: int


class GroupPage(msgspec.Struct, frozen=True, dict=True):
    """Some groups; `cursor` leads to the next page and is empty on the last."""

    groups: Sequence[Group]
    cursor: str = ""


class MemberPage(msgspec.Struct, frozen=True):
    """Some players of a group; `cursor` leads to the next page and is empty on the last."""

    members: Sequence[Member]
    cursor: str = ""


class MembershipPage(msgspec.Struct, frozen=True):
    """Some groups of a player; `cursor` leads to the next page and is empty on the last."""

    memberships: Sequence[Membership]
    cursor: str = ""


class Happening(enum.IntEnum):
    """What happened to a member; the numbers are the codes of the messages that tell it in the group's channel."""

    JOINED = 3
    ADDED = 4
    LEFT = 5
    KICKED = 6
    PROMOTED = 7
    BANNED = 8
    DEMOTED = 9


class MemberChanged(msgspec.Struct, frozen=True):
    """Something happened to a member, or a request was withdrawn (LEFT); published after the commit.

    `by_user_id` is whoever did it: the member, an admin, or "" for the server.
    """

    group_id: str
    group_name: str
    happening: Happening
    user_id: str
    username: str
    by_user_id: str


class JoinRequested(msgspec.Struct, frozen=True):
    """A player asks to be let in; published after the commit. `admin_ids` are those who may decide."""

    group_id: str
    user_id: str
    username: str
    admin_ids: tuple[str, ...]


class GroupDeleted(msgspec.Struct, frozen=True):
    """A group is gone; published after the commit."""

    group_id: str


class BadGroupId(InvalidArgument):
    """Not an id; the text is the same for ids of players whose groups are asked for."""

    def __init__(self) -> None:
        super().__init__("Group ID must be a valid ID.")


class BadUserId(InvalidArgument):
    """Not the id of a player."""

    def __init__(self) -> None:
        super().__init__("User ID must be a valid ID.")


class NoUserIds(InvalidArgument):
    """A demotion of nobody."""

    def __init__(self) -> None:
        super().__init__("User IDs must be set.")


class TooManyUsers(InvalidArgument):
    """More players in one call than USERS_MAX."""

    def __init__(self) -> None:
        super().__init__(f"At most {USERS_MAX} users fit into one call.")


class UsersNotFound(InvalidArgument):
    """Players to be added do not exist; nobody was added."""

    def __init__(self) -> None:
        super().__init__("One or more users not found.")


class NameMissing(InvalidArgument):
    """A new group without a name."""

    def __init__(self) -> None:
        super().__init__("Group name must be set.")


class BadMaxCount(InvalidArgument):
    """A negative number of members."""

    def __init__(self) -> None:
        super().__init__("Group max count must be >= 1 when set.")


class NameInUse(AlreadyExists):
    """Another group has the name. A group being renamed answers with INVALID_ARGUMENT, as clients expect."""

    def __init__(self, *, code: Code = Code.ALREADY_EXISTS) -> None:
        super().__init__("Group name is in use.", code=code)


class CreationRefused(InvalidArgument):
    """A text of a new group is too long or cannot be stored."""

    def __init__(self) -> None:
        super().__init__("Error while trying to create group.")


class UpdateRefused(InvalidArgument):
    """A text of a change is too long or cannot be stored."""

    def __init__(self) -> None:
        super().__init__("Error while trying to update group.")


class EmptyName(InvalidArgument):
    """A group cannot lose its name."""

    def __init__(self) -> None:
        super().__init__("Group name cannot be empty.")


class EmptyLanguage(InvalidArgument):
    """A group cannot lose its language."""

    def __init__(self) -> None:
        super().__init__("Group language cannot be empty.")


class NothingToUpdate(InvalidArgument):
    """A change of nothing."""

    def __init__(self) -> None:
        super().__init__("Specify at least one field to update.")


class UpdateDenied(NotFound):
    """There is no such group, or the caller is no admin."""

    def __init__(self) -> None:
        super().__init__("Group not found or you're not allowed to update.")


class DeleteDenied(InvalidArgument):
    """There is no such group, or the caller is no superadmin."""

    def __init__(self) -> None:
        super().__init__("Group not found or you're not allowed to delete.")


class ChangeDenied(NotFound):
    """There is no such group, or the caller is no admin of it."""

    def __init__(self) -> None:
        super().__init__("Group not found or permission denied.")


class GroupNotFound(NotFound):
    """There is no such group."""

    def __init__(self) -> None:
        super().__init__("Group not found.")


class GroupFull(InvalidArgument):
    """The group has as many members as it may have."""

    def __init__(self) -> None:
        super().__init__("Group is full.")


class LastSuperadmin(InvalidArgument):
    """Somebody has to stay in charge of the others."""

    def __init__(self) -> None:
        super().__init__("Cannot leave group when you are the last superadmin.")


class BadLimit(InvalidArgument):
    """A page size outside 1–100."""

    def __init__(self) -> None:
        super().__init__(f"Invalid limit - limit must be between 1 and {PAGE_MAX}.")


class BadState(InvalidArgument):
    """A state outside 0–4."""

    def __init__(self) -> None:
        super().__init__("Invalid state - state must be between 0 and 4.")


class BadCursor(InvalidArgument):
    """A cursor that was not given out for this list."""

    def __init__(self) -> None:
        super().__init__("Cursor is invalid.")


class NameGoesAlone(InvalidArgument):
    """A name pattern together with another filter."""

    def __init__(self) -> None:
        super().__init__("name filter cannot be combined with any other filter")


class ListRefused(InvalidArgument):
    """A cursor that was not given out for this list of groups, or a filter that makes no sense."""

    def __init__(self) -> None:
        super().__init__("Error while trying to list groups.")


class Groups(Protocol):
    """Groups, as other features and game modules see them.

    `caller_id` None is the server, which may do what a superadmin may. Every change is one transaction, all or
    nothing, that holds the group. Ids that are none raise BadGroupId or BadUserId; every call raises Unavailable while
    the database is away.
    """

    async def create(
        self,
        user_id: str,
        name: str,
        *,
        description: str = "",
        avatar_url: str = "",
        lang_tag: str = "",
        open: bool = False,
        max_count: int = 0,
        metadata: Mapping[str, Any] | None = None,
    ) -> Group:
        """Make a group with the player as superadmin; `max_count` 0 is 100 members, no language is `en`.

        Raises NameMissing, BadMaxCount, NameInUse, CreationRefused, AccountNotFound.
        """
        ...

    async def update(
        self,
        group_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        avatar_url: str | None = None,
        lang_tag: str | None = None,
        open: bool | None = None,
        caller_id: str | None = None,
    ) -> None:
        """Change what is given; "" clears description and picture.

        Raises EmptyName, EmptyLanguage, NothingToUpdate, UpdateDenied, NameInUse, UpdateRefused.
        """
        ...

    async def delete(self, group_id: str, *, caller_id: str | None = None) -> None:
        """Delete a group. Publishes GroupDeleted. Raises DeleteDenied."""
        ...

    async def join(self, group_id: str, user_id: str, username: str) -> None:
        """Join an open group or ask a closed one; nothing for whoever is known there, be it as banned.

        Publishes MemberChanged or JoinRequested. Raises GroupNotFound, GroupFull, AccountNotFound.
        """
        ...

    async def leave(self, group_id: str, user_id: str, username: str) -> None:
        """Leave, or withdraw a request. The last one out deletes the group. Publishes MemberChanged or GroupDeleted.

        Raises LastSuperadmin.
        """
        ...

    async def add_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """Let players in, whether they asked or not; not the banned. Publishes MemberChanged for each.

        Raises ChangeDenied, GroupFull, UsersNotFound, TooManyUsers.
        """
        ...

    async def kick_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """Put members out, refuse requests, lift bans; publishes MemberChanged for those who were members.

        A superadmin reaches everybody but the last superadmin, an admin members and below; others are skipped.
        Raises ChangeDenied, TooManyUsers.
        """
        ...

    async def ban_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """Ban whoever could be kicked and is known to the group. Publishes and raises as `kick_users`."""
        ...

    async def promote_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """Raise members and admins who stand below the caller by one state. Publishes and raises as `kick_users`."""
        ...

    async def demote_users(self, group_id: str, user_ids: Sequence[str], *, caller_id: str | None = None) -> None:
        """Lower admins and superadmins who do not stand above the caller by one state.

        Publishes and raises as `kick_users`, and NoUserIds.
        """
        ...

    async def list(self, wanted: GroupFilter, limit: int = 1, cursor: str = "") -> GroupPage:
        """Up to `limit` (1–100) groups; the order depends on the filter.

        Raises BadLimit, NameGoesAlone, ListRefused.
        """
        ...

    async def list_users(
        self, group_id: str, limit: int = PAGE_MAX, state: int | None = None, cursor: str = ""
    ) -> MemberPage:
        """Up to `limit` (1–100) players by state, then time of joining; without `state` all but the banned.

        Raises BadLimit, BadState, BadCursor.
        """
        ...

    async def list_of_user(
        self, user_id: str, limit: int = PAGE_MAX, state: int | None = None, cursor: str = ""
    ) -> MembershipPage:
        """Up to `limit` (1–100) groups by the player's state, then time of joining; never those that banned the player.

        Raises BadLimit, BadState, BadCursor.
        """
        ...

    async def state_of(self, group_id: str, user_id: str) -> int | None:
        """How a player stands to a group, None if in no way. One round trip."""
        ...

    async def forget(self, tx: Any, user_id: str) -> None:
        """Take a player out of all groups in the transaction that deletes the account.

        Groups in which nobody else is, or nobody else is superadmin, are deleted.
        """
        ...
