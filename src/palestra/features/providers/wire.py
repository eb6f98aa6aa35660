"""JSON shapes of the provider operations: exact, so that they are the schema as well."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

NAME_CHARS_MAX = 128
TOKEN_CHARS_MAX = 4_096
PAGE_TRANSACTIONS_MAX = 1_000

Kind = Literal["debit", "credit", "rollback"]
Outcome = Literal["rolled_back", "remembered"]

# What must not follow is named as well: in Python `$` also stands before a line break at the end.
Name = Annotated[
    str,
    Meta(pattern=r"^[!-~]{1,128}(?!\n)$", description="Visible ASCII, 1 to 128 characters.", examples=["8f14e45f"]),
]
Id = Annotated[str, Meta(max_length=64, description="A player's id, a UUID.")]
Asset = Annotated[str, Meta(min_length=1, max_length=64, description="The code of an asset.", examples=["EUR"])]
Token = Annotated[str, Meta(min_length=1, max_length=TOKEN_CHARS_MAX)]
Amount = Annotated[
    msgspec.Raw,
    Meta(
        description="Minor units, 1 to 9223372036854775807: digits in a text, or a number without point or exponent.",
        extra_json_schema={
            "oneOf": [
                {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"},
                {"type": "integer", "minimum": 1, "maximum": 9223372036854775807},
            ]
        },
    ),
]
Units = Annotated[str, Meta(description="Minor units, as a text of digits: 64 bits are more than many languages keep.")]
Second = Annotated[int, Meta(ge=0, le=253_402_300_799, description="Unix seconds.")]


class Authenticate(msgspec.Struct, forbid_unknown_fields=True):
    """Learn who a token speaks for. `token` is a launch token, which works once, or the session token of a player."""

    request_id: Name
    token: Token


class BalanceOf(msgspec.Struct, forbid_unknown_fields=True):
    """Ask what a player can spend."""

    request_id: Name
    player_id: Id
    asset: Asset


class Debit(msgspec.Struct, forbid_unknown_fields=True):
    """Take a stake from a player, in a session that `authenticate` has begun and that still lasts."""

    request_id: Name
    transaction_id: Name
    round_id: Name
    player_id: Id
    session: Token
    asset: Asset
    amount: Amount


class Credit(msgspec.Struct, forbid_unknown_fields=True):
    """Pay a player, whose session may be over."""

    request_id: Name
    transaction_id: Name
    round_id: Name
    player_id: Id
    asset: Asset
    amount: Amount


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """Undo a debit by its `transaction_id`, or see to it that it never happens. The session may be over.

    Only a debit is forbidden: a credit of that id is taken.
    """

    request_id: Name
    transaction_id: Name
    round_id: Name
    player_id: Id
    asset: Asset


class List(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for the transactions of an asset from `since` on and before `until`, a day at most, oldest first."""

    request_id: Name
    asset: Asset
    since: Second
    until: Second
    limit: Annotated[int, Meta(ge=1, le=PAGE_TRANSACTIONS_MAX)] = 100
    cursor: Annotated[str, Meta(max_length=64)] = ""


class Authenticated(msgspec.Struct):
    """The player, what they can spend of the assets in play, and the session that debits need until it expires."""

    player_id: str
    display_name: str
    session: str
    session_expires_at: int
    balances: dict[str, Units]


class BalanceNow(msgspec.Struct):
    """What the player can spend."""

    player_id: str
    asset: str
    balance: Units


class Moved(msgspec.Struct):
    """A transaction that was carried out. `balance` is what the player could spend right after it."""

    transaction_id: str
    ledger_id: str
    balance: Units
    at: datetime


class Undone(msgspec.Struct, omit_defaults=True):
    """A debit that was undone ("rolled_back", with all of this), or that never happens ("remembered")."""

    transaction_id: str
    outcome: Outcome
    amount: Units | None = None
    ledger_id: str | None = None
    balance: Units | None = None
    at: datetime | None = None


class Transaction(msgspec.Struct):
    """One movement of money. `player_id` is "" once the player is gone. A rollback bears the id of its debit."""

    kind: Kind
    transaction_id: str
    request_id: str
    round_id: str
    player_id: str
    asset: str
    amount: Units
    ledger_id: str
    at: datetime


class Transactions(msgspec.Struct):
    """A page; `cursor` leads to the next one, "" at the end."""

    transactions: list[Transaction]
    cursor: str = ""
