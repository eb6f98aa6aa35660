"""JSON shapes of the account operations."""

from __future__ import annotations

import msgspec

from palestra.features.accounts.contract import Account, UserWire, user_wire
from palestra.gateway.fields import Int64, JsonText


class DeviceWire(msgspec.Struct, omit_defaults=True):
    """A device of an account."""

    id: str = ""


class AccountWire(msgspec.Struct, omit_defaults=True):
    """A player as they see themselves."""

    user: UserWire
    wallet: JsonText = ""
    email: str = ""
    devices: list[DeviceWire] = []
    custom_id: str = ""


class UsersWire(msgspec.Struct, omit_defaults=True):
    """Several players."""

    users: list[UserWire] = []


def account_wire(account: Account) -> AccountWire:
    """The wire form of an account."""
    return AccountWire(
        user=user_wire(account.user),
        wallet=account.wallet_json,
        email=account.email,
        devices=[DeviceWire(text) for text in account.devices],
        custom_id=account.custom_id,
    )


class UpdateRequest(msgspec.Struct):
    """Profile fields; absent means keep, "" clears."""

    username: str | None = None
    display_name: str | None = None
    avatar_url: str | None = None
    lang_tag: str | None = None
    location: str | None = None
    timezone: str | None = None


class UsersRequest(msgspec.Struct):
    """Which players."""

    ids: list[str] = []
    usernames: list[str] = []
    facebook_ids: list[str] = []


class IdAccount(msgspec.Struct):
    """A device or custom id, with session vars."""

    id: str = ""
    vars: dict[str, str] = {}


class EmailAccount(msgspec.Struct):
    """An e-mail address and password, with session vars."""

    email: str = ""
    password: str = ""
    vars: dict[str, str] = {}


class TokenAccount(msgspec.Struct):
    """A provider's token, with session vars."""

    token: str = ""
    vars: dict[str, str] = {}


class InstantGameAccount(msgspec.Struct):
    """Signed player info of an instant game."""

    signed_player_info: str = ""
    vars: dict[str, str] = {}


class GameCenterAccount(msgspec.Struct):
    """The proof Game Center gives a player."""

    player_id: str = ""
    bundle_id: str = ""
    timestamp_seconds: Int64 = 0
    salt: str = ""
    signature: str = ""
    public_key_url: str = ""
    vars: dict[str, str] = {}


class AuthenticateId(msgspec.Struct):
    """Log in by device or custom id."""

    account: IdAccount = msgspec.field(default_factory=IdAccount)
    create: bool | None = None
    username: str = ""


class AuthenticateEmail(msgspec.Struct):
    """Log in by e-mail address or username, and password."""

    account: EmailAccount = msgspec.field(default_factory=EmailAccount)
    create: bool | None = None
    username: str = ""


class AuthenticateToken(msgspec.Struct):
    """Log in by a provider's token."""

    account: TokenAccount = msgspec.field(default_factory=TokenAccount)
    create: bool | None = None
    username: str = ""
    sync: bool | None = None


class AuthenticateInstantGame(msgspec.Struct):
    """Log in by signed player info."""

    account: InstantGameAccount = msgspec.field(default_factory=InstantGameAccount)
    create: bool | None = None
    username: str = ""


class AuthenticateGameCenter(msgspec.Struct):
    """Log in by Game Center."""

    account: GameCenterAccount = msgspec.field(default_factory=GameCenterAccount)
    create: bool | None = None
    username: str = ""


class LinkFacebook(msgspec.Struct):
    """Link a Facebook account."""

    account: TokenAccount = msgspec.field(default_factory=TokenAccount)
    sync: bool | None = None


class LinkSteam(msgspec.Struct):
    """Link a Steam account."""

    account: TokenAccount = msgspec.field(default_factory=TokenAccount)
    sync: bool | None = None
