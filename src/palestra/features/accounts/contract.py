"""What others may know of players and their accounts."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol, cast

import msgspec
from msgspec.structs import replace

from palestra.core.clock import timestamp
from palestra.core.encoded import Watch
from palestra.core.errors import AlreadyExists, Internal, NotFound, Overloaded, PermissionDenied, Unauthenticated
from palestra.core.ids import parse_id
from palestra.gateway.fields import JsonText

_encode = msgspec.json.Encoder().encode


class IdentityKind(enum.IntEnum):
    """What can prove that a player is who they say. The numbers are stored."""

    DEVICE = 1
    EMAIL = 2
    CUSTOM = 3
    APPLE = 4
    FACEBOOK = 5
    FACEBOOK_INSTANT = 6
    GAMECENTER = 7
    GOOGLE = 8
    STEAM = 9


class UserRecord(msgspec.Struct, frozen=True, dict=True):
    """A player as everybody may see them, with the provider ids that are public by protocol.

    `metadata` is the text of a JSON object. `identities` are identifiers in the clear, (kind, text) pairs: in an
    account of one's own all of them, elsewhere those that are public.
    Times of other players are in whole seconds. `online` tells whether the player showed a status on this node when
    the record was read.
    """

    id: str
    username: str
    display_name: str | None
    avatar_url: str | None
    lang_tag: str
    location: str | None
    timezone: str | None
    metadata: str
    edge_count: int
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None
    identities: tuple[tuple[int, str], ...] = ()
    online: bool = False

    def identity(self, kind: IdentityKind) -> str:
        """The player's identifier of a kind, "" when there is none."""
        for found, text in self.identities:
            if found == kind:
                return text
        return ""

    # Records are kept and shown many times over, so what is made of them is kept with them.

    @cached_property
    def as_online(self) -> UserRecord:
        """The same player while they show a status."""
        return self if self.online else replace(self, online=True)

    @cached_property
    def json(self) -> msgspec.Raw:
        """`user_wire`, encoded."""
        return msgspec.Raw(_encode(user_wire(self)))


class Account(msgspec.Struct, frozen=True):
    """A player as they see themselves. `wallet_json` is the text of an object, asset → amount."""

    user: UserRecord
    wallet_json: str

    @property
    def wallet(self) -> dict[str, int]:
        """Asset → amount in minor units."""
        return msgspec.json.decode(self.wallet_json)

    @property
    def devices(self) -> list[str]:
        """The ids of the player's devices."""
        return [text for kind, text in self.user.identities if kind == IdentityKind.DEVICE]

    @property
    def email(self) -> str:
        """The player's e-mail address, "" when there is none."""
        return self.user.identity(IdentityKind.EMAIL)

    @property
    def custom_id(self) -> str:
        """The player's custom id, "" when there is none."""
        return self.user.identity(IdentityKind.CUSTOM)


class UserWire(msgspec.Struct, omit_defaults=True):
    """The JSON shape of a player."""

    id: str = ""
    username: str = ""
    display_name: str = ""
    avatar_url: str = ""
    lang_tag: str = ""
    location: str = ""
    timezone: str = ""
    metadata: JsonText = ""
    facebook_id: str = ""
    google_id: str = ""
    gamecenter_id: str = ""
    steam_id: str = ""
    online: bool = False
    edge_count: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    facebook_instant_game_id: str = ""
    apple_id: str = ""


PUBLIC_IDENTITIES = {
    IdentityKind.FACEBOOK: "facebook_id",
    IdentityKind.GOOGLE: "google_id",
    IdentityKind.GAMECENTER: "gamecenter_id",
    IdentityKind.STEAM: "steam_id",
    IdentityKind.FACEBOOK_INSTANT: "facebook_instant_game_id",
    IdentityKind.APPLE: "apple_id",
}


def user_json(record: UserRecord) -> UserWire:
    """As `user_wire`, already encoded: for answers that nobody looks at (`Call.unseen`)."""
    return cast(UserWire, record.json)


def user_wire(record: UserRecord) -> UserWire:
    """The wire form of a player."""
    wire = UserWire(
        record.id,
        record.username,
        record.display_name or "",
        record.avatar_url or "",
        record.lang_tag,
        record.location or "",
        record.timezone or "",
        record.metadata,
        online=record.online,
        edge_count=record.edge_count,
        create_time=timestamp(record.created_at),
        update_time=timestamp(record.updated_at),
    )
    for kind, text in record.identities:
        field = PUBLIC_IDENTITIES.get(kind)  # type: ignore[call-overload]
        if field is not None:
            setattr(wire, field, text)
    return wire


class Section(msgspec.Struct, frozen=True, omit_defaults=True):
    """One kind of thing in an export: JSON objects as they were read. `truncated` when there were more."""

    items: list[msgspec.Raw]
    truncated: bool = False


class AccountExport(msgspec.Struct, frozen=True):
    """Everything about a player as of one moment; `msgspec.json.encode` makes it one JSON object.

    Features give a statement for each section: it takes the player's id and how many rows at most, and answers a JSON
    text a row, by an index and with nothing in it that belongs to another player.
    """

    player_id: str
    exported_at: datetime
    sections: dict[str, Section]


class AccountDeleted(msgspec.Struct, frozen=True):
    """Published inside the transaction `tx` that deletes a player: delete what is yours with it."""

    user_id: str
    tx: Any


class AccountRemoved(msgspec.Struct, frozen=True):
    """A player is gone for good; published after the commit."""

    user_id: str


class UserBanned(msgspec.Struct, frozen=True):
    """A player may not log in any more; published after the commit."""

    user_id: str


class AccountNotFound(NotFound):
    """No such player."""

    def __init__(self, message: str = "User account not found.") -> None:
        super().__init__(message)


class AccountBanned(PermissionDenied):
    """The player is banned."""

    def __init__(self) -> None:
        super().__init__("User account banned.")


class InvalidCredentials(Unauthenticated):
    """Wrong password."""

    def __init__(self) -> None:
        super().__init__("Invalid credentials.")


class ExportsBusy(Overloaded):
    """Other exports are being made."""

    def __init__(self) -> None:
        super().__init__("Other exports are being made, try again in a minute.")


class UsernameTaken(AlreadyExists):
    """Another player has the name."""

    def __init__(self) -> None:
        super().__init__("Username is already in use.")


class IdentityTaken(AlreadyExists):
    """Another player has the identifier."""


class CreationFailed(Internal):
    """The account came into being elsewhere while it was being made here; trying again finds it."""

    def __init__(self) -> None:
        super().__init__("Error finding or creating user account.")


class LastIdentity(PermissionDenied):
    """A player must keep one way in, and can only drop what is theirs."""

    def __init__(self) -> None:
        super().__init__(
            "Cannot unlink last account identifier. Check profile exists and is not last link.",
        )


def player_id(text: str) -> str:
    """An id as the database writes it, so that it can be compared and share a round trip. Raises AccountNotFound."""
    try:
        return parse_id(text)
    except ValueError:
        raise AccountNotFound from None


class Users(Protocol):
    """Players, as other features see them."""

    async def get_many(self, ids: Iterable[str], *, fresh: bool = False) -> list[UserRecord]:
        """The players with these ids, without order; unknown ones are absent.

        From memory as a rule: changes of this node are seen at once, those of others when it hears of them.
        With `fresh` from the database.
        """
        ...

    async def get_watched(self, ids: Iterable[str]) -> tuple[list[UserRecord], Watch | None]:
        """As `get_many`, and a watch on whether it would answer the same again; None if that is not known."""
        ...

    async def ids_of_usernames(self, usernames: Iterable[str]) -> dict[str, str]:
        """Username → id of those that exist."""
        ...

    async def ids_of_identities(self, kind: IdentityKind, texts: Iterable[str]) -> list[str]:
        """The players behind identifiers of a kind, unknown ones absent. Batched round trips."""
        ...

    async def username_for_login(self, user_id: str) -> str | None:
        """The present name of a player who may log in, None if there is no such player. Raises AccountBanned."""
        ...

    async def add_edges(self, tx: Any, changes: Mapping[str, int]) -> None:
        """Change edge counters in the caller's transaction; rows are locked in the order of their ids."""
        ...


class Accounts(Protocol):
    """Accounts, as game modules see them (`ctx.accounts`)."""

    async def get(self, user_id: str) -> Account:
        """A player's account. Raises AccountNotFound."""
        ...

    async def update(
        self,
        user_id: str,
        *,
        username: str | None = None,
        display_name: str | None = None,
        avatar_url: str | None = None,
        lang_tag: str | None = None,
        location: str | None = None,
        timezone: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given; "" clears a text, an unknown player is nothing to change.

        Raises UsernameTaken, InvalidArgument.
        """
        ...

    async def export(self, user_id: str) -> AccountExport:
        """Everything about a player. Raises AccountNotFound, ExportsBusy. Costs a round trip a section and page."""
        ...

    async def delete(self, user_id: str) -> None:
        """Delete a player and everything that is theirs; their tokens and sockets end."""
        ...

    async def ban(self, user_ids: Iterable[str]) -> None:
        """Lock players out: log-in is refused, tokens are void, sockets are closed."""
        ...

    async def unban(self, user_ids: Iterable[str]) -> None:
        """Let banned players in again."""
        ...
