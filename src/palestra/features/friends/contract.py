"""What others may know of friendships: records, errors, events and the `Friends` protocol."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from palestra.core.errors import InvalidArgument
from palestra.features.accounts.contract import IdentityKind, UserRecord
from palestra.features.identity.contract import Profile

PAGE_FRIENDS_MAX = 1000
PAGE_SUGGESTIONS_MAX = 100
USERS_MAX = 1000
"""Most players in one call."""


class State(enum.IntEnum):
    """How one player stands to another. The numbers are stored, and part of the protocol."""

    FRIEND = 0
    INVITE_SENT = 1
    INVITE_RECEIVED = 2
    BLOCKED = 3


class Friend(msgspec.Struct, frozen=True):
    """One edge of a player. `metadata` is JSON text: what the player chose to say, by custom an object."""

    user: UserRecord
    state: int
    updated_at: datetime
    metadata: str


class FriendPage(msgspec.Struct, frozen=True, dict=True):
    """Some edges of a player; `cursor` leads to the next page and is empty on the last."""

    friends: Sequence[Friend]
    cursor: str = ""


class FriendOfFriend(msgspec.Struct, frozen=True):
    """A player whom the friend `referrer_id` knows."""

    referrer_id: str
    user: UserRecord


class FriendOfFriendPage(msgspec.Struct, frozen=True):
    """Some friends of friends; `cursor` leads to the next page and is empty on the last."""

    found: Sequence[FriendOfFriend]
    cursor: str = ""


class FriendInvited(msgspec.Struct, frozen=True):
    """`user_id` was asked to become a friend; published after the commit."""

    user_id: str
    from_user_id: str
    from_username: str


class FriendAccepted(msgspec.Struct, frozen=True):
    """The invitation that `user_id` had sent was accepted; published after the commit."""

    user_id: str
    from_user_id: str
    from_username: str


class FriendRemoved(msgspec.Struct, frozen=True):
    """`user_id` lost a friend, or an invitation sent or received; published after the commit."""

    user_id: str
    from_user_id: str
    from_username: str


class FriendBlocked(msgspec.Struct, frozen=True):
    """`user_id` was blocked, which they are not told; published after the commit."""

    user_id: str
    from_user_id: str


class FriendJoined(msgspec.Struct, frozen=True):
    """`user_id` became friends with a player who knows them from elsewhere; published after the commit."""

    user_id: str
    from_user_id: str
    from_username: str


class BadLimit(InvalidArgument):
    """A page size out of range."""

    def __init__(self, most: int) -> None:
        super().__init__(f"Invalid limit - limit must be between 1 and {most}.")


class BadState(InvalidArgument):
    """A state outside 0–3."""

    def __init__(self) -> None:
        super().__init__("Invalid state - state must be between 0 and 3.")


class BadCursor(InvalidArgument):
    """A cursor that was not given out for this list."""

    def __init__(self) -> None:
        super().__init__("Cursor is invalid.")


class BadUserId(InvalidArgument):
    """Not the id of a player."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Invalid user ID '{text}'.")


class EmptyUsername(InvalidArgument):
    """A username without a character."""

    def __init__(self) -> None:
        super().__init__("Username must not be empty.")


class OwnId(InvalidArgument):
    """Players stand in no relation to themselves."""


class NobodyNamed(InvalidArgument):
    """None of the players asked for exists."""

    def __init__(self) -> None:
        super().__init__("No valid ID or username was provided.")


class TooManyUsers(InvalidArgument):
    """More players in one call than USERS_MAX."""

    def __init__(self) -> None:
        super().__init__(f"At most {USERS_MAX} users fit into one call.")


class BadMetadata(InvalidArgument):
    """Metadata that is no JSON text, or that cannot be stored."""

    def __init__(self) -> None:
        super().__init__("Error while trying to add friends.")


class Friends(Protocol):
    """Friendships, as other features and game modules see them.

    Changes name players by id, by name or both; the unknown are skipped. One call is one transaction, all or nothing,
    in which the edge counters of all players concerned stay true. Every call raises Unavailable while the database is
    away.
    """

    async def list(
        self, user_id: str, limit: int = PAGE_FRIENDS_MAX, state: int | None = None, cursor: str = ""
    ) -> FriendPage:
        """Up to `limit` (1–1000) edges by state, then age; those of one state, or all. O(limit).

        Raises BadLimit, BadState, BadCursor.
        """
        ...

    async def friends_of_friends(self, user_id: str, limit: int = 10, cursor: str = "") -> FriendOfFriendPage:
        """Up to `limit` (1–100) friends of friends who are not friends yet, once per friend who knows them.

        Raises BadLimit, BadCursor.
        """
        ...

    async def add(
        self,
        user_id: str,
        username: str,
        ids: Sequence[str] = (),
        usernames: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Invite players, and accept the invitations of those who came first. `metadata` goes on the player's side.

        Publishes FriendInvited and FriendAccepted. Raises BadUserId, EmptyUsername, OwnId, NobodyNamed, TooManyUsers,
        BadMetadata and, when `user_id` is gone, AccountNotFound.
        """
        ...

    async def delete(self, user_id: str, username: str, ids: Sequence[str] = (), usernames: Sequence[str] = ()) -> None:
        """End friendships, take back or refuse invitations, lift blocks. Publishes FriendRemoved, but not for blocks.

        Raises BadUserId, EmptyUsername, OwnId, TooManyUsers.
        """
        ...

    async def block(self, user_id: str, username: str, ids: Sequence[str] = (), usernames: Sequence[str] = ()) -> None:
        """Block players, ending whatever was between. Publishes FriendBlocked. Raises as `add`."""
        ...

    async def befriend(
        self, user_id: str, username: str, ids: Sequence[str], provider: str, reset: bool = False
    ) -> None:
        """Make players who know each other at a provider friends at once; blocks of either side stay.

        `ids` are canonical; `provider` goes into the metadata of new friendships. `reset` first ends all friendships
        and invitations of `user_id`. One transaction for each USERS_MAX of them. Publishes FriendJoined. Raises
        AccountNotFound.
        """
        ...

    async def blocks(self, user_id: str, other_ids: Iterable[str]) -> set[str]:
        """Those among `other_ids` whom the player has blocked. One round trip."""
        ...

    async def forget(self, tx: Any, user_id: str) -> None:
        """Delete all edges of a player in the transaction that deletes the account; the others' counters fall."""
        ...


class FriendImports(Protocol):
    """Friends brought along from outside providers."""

    async def follow(self, kind: IdentityKind, proof: str, player: Profile, user_id: str, username: str) -> None:
        """Make friends of those who are friends at the provider, of a player just verified by `proof`.

        Does what it can: whoever has just logged in is not sent away because their friends cannot be had.
        """
        ...
