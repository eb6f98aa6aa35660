"""The JSON shapes of the friend endpoints."""

from __future__ import annotations

from datetime import datetime

import msgspec

from palestra.core.clock import timestamp
from palestra.core.encoded import encoded
from palestra.features.accounts.contract import UserWire, user_json, user_wire
from palestra.features.friends import contract
from palestra.gateway.fields import Int32, JsonText


class ListRequest(msgspec.Struct):
    """Which of the caller's edges; `limit` left out is 1000."""

    limit: Int32 | None = None
    state: Int32 | None = None
    cursor: str = ""


class NamedRequest(msgspec.Struct):
    """Players by id and by name."""

    ids: list[str] = []
    usernames: list[str] = []


class AddRequest(msgspec.Struct):
    """Players by id and by name; `metadata` is JSON text."""

    ids: list[str] = []
    usernames: list[str] = []
    metadata: JsonText = ""


class FriendsOfFriendsRequest(msgspec.Struct):
    """A page of friends of friends; `limit` left out is 10."""

    limit: Int32 | None = None
    cursor: str = ""


class ProviderAccount(msgspec.Struct):
    """A token of a provider."""

    token: str = ""
    vars: dict[str, str] = {}


class ImportRequest(msgspec.Struct):
    """Whose friends to import, and whether to end all friendships first."""

    account: ProviderAccount = msgspec.field(default_factory=ProviderAccount)
    reset: bool | None = None


class Friend(msgspec.Struct, omit_defaults=True):
    """An edge; state 0 is written."""

    user: UserWire
    state: int | None = None
    update_time: datetime | None = None
    metadata: JsonText = ""


class FriendList(msgspec.Struct, omit_defaults=True):
    """One page of edges."""

    friends: list[Friend] = []
    cursor: str = ""


class FriendOfFriend(msgspec.Struct, omit_defaults=True):
    """A player and the friend who knows them."""

    referrer: str
    user: UserWire


class FriendsOfFriendsList(msgspec.Struct, omit_defaults=True):
    """One page of friends of friends."""

    friends_of_friends: list[FriendOfFriend] = []
    cursor: str = ""


def friends_json(page: contract.FriendPage) -> FriendList:
    """As `friends_of`, already encoded: for answers that nobody looks at. Kept with the page."""
    return encoded(page, lambda: friends_of(page))


def friends_of(page: contract.FriendPage) -> FriendList:
    """A page of edges in its wire form."""
    friends = [Friend(_user(one.user), one.state, timestamp(one.updated_at), one.metadata) for one in page.friends]
    return FriendList(friends, page.cursor)


def friends_of_friends_of(page: contract.FriendOfFriendPage, unseen: bool) -> FriendsOfFriendsList:
    """A page of friends of friends in its wire form; players in JSON if it is `unseen`."""
    shape = user_json if unseen else user_wire
    return FriendsOfFriendsList([FriendOfFriend(one.referrer_id, shape(one.user)) for one in page.found], page.cursor)


def _user(record: contract.UserRecord) -> UserWire:
    """A player as friend lists show them: how many friends they have is not told."""
    wire = user_wire(record)
    wire.edge_count = 0
    return wire
