"""What others may know of limits: what can be limited, what stands in force, every refusal, and `Limits`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from palestra.core.errors import FailedPrecondition, InvalidArgument

Kind = Literal["spend", "stake", "loss", "play_seconds"]
"""What a limit is on. A loss is stakes minus winnings and refunds; the others only grow."""
Window = Literal["24h", "7d", "30d"]
"""Over which time, up to now."""
Author = Literal["player", "operator"]

LIMITS_MAX = 12
"""Most limits of a player's own, that the operator sets for one player, and that a node sets for everybody."""
LOCK_SECONDS_MAX = 10 * 366 * 86_400
PLAY_GAP_SECONDS_MAX = 300
"""Time between two measured steps counts as played if it is no longer than this."""
STATE_BYTES_MAX = 8_000
"""The most that is kept about a player to measure by."""
PAGE_CHANGES_MAX = 100


class Limit(msgspec.Struct, frozen=True):
    """A limit to set: `amount` in minor units of `asset`, or in seconds of play without one; None is no limit."""

    kind: Kind
    window: Window
    amount: int | None
    asset: str = ""


class Pending(msgspec.Struct, frozen=True):
    """An increase that the player asked for: what the player's own limit will be, None for gone, and from when."""

    amount: int | None
    at: datetime


class Standing(msgspec.Struct, frozen=True):
    """One limit as it stands. `amount` is the lowest of `own`, `operator` and `default`, of which one at least is set.

    A player who is ahead has used nothing of a loss limit, and may lose the gain as well: `remaining` says how much.
    """

    kind: Kind
    window: Window
    asset: str
    amount: int
    used: int
    remaining: int
    own: int | None
    operator: int | None
    default: int | None
    pending: Pending | None


class Lock(msgspec.Struct, frozen=True):
    """A player takes a break `until` then, None for ever."""

    until: datetime | None


class Overview(msgspec.Struct, frozen=True):
    """All limits of a player, and the lock if there is one now."""

    limits: tuple[Standing, ...]
    lock: Lock | None


class ChangedLimit(msgspec.Struct, frozen=True):
    """What was asked for one limit: from `previous` to `amount`, in force from a unix second on."""

    kind: Kind
    window: Window
    asset: str
    previous: int | None
    amount: int | None
    in_force_at: int


class LimitChange(msgspec.Struct, frozen=True):
    """One line of the record: who asked, when, and what it led to. `lock` only where one was asked for."""

    id: str
    player_id: str
    author: Author
    limits: tuple[ChangedLimit, ...]
    lock: Lock | None
    at: datetime


class ChangePage(msgspec.Struct, frozen=True):
    """A page of the record, newest first; `cursor` leads to the next one, "" at the end."""

    changes: tuple[LimitChange, ...]
    cursor: str


class BadLimit(InvalidArgument):
    """A limit that cannot be: the message says which part and why. Nothing was changed."""


class BadLock(InvalidArgument):
    """A lock of no time at all, or of more than LOCK_SECONDS_MAX."""


class TooManyLimits(FailedPrecondition):
    """A player would have more limits than LIMITS_MAX, or than can be kept; nothing was changed."""


class BadPage(InvalidArgument):
    """A page size that is none, or a cursor that was not given out for this player's record."""


class HasId(Protocol):
    """Anything that names a player by `id`."""

    @property
    def id(self) -> str: ...


class Limits(Protocol):
    """Limits, as game modules see them (`ctx.limits`). A player is given as id or as `ctx.player`.

    Every call raises AccountNotFound for whom there is not, and Unavailable while the database is away.
    """

    def declare(self, limits: Iterable[Limit]) -> None:
        """Set limits for everybody on this node, until it stops: call it when the game starts, on every node.

        One for the same kind, window and asset takes the earlier one's place. Raises BadLimit.
        """
        ...

    async def get(self, player: str | HasId) -> Overview:
        """What is in force, used and pending. One round trip."""
        ...

    async def set(self, player: str | HasId, limits: Iterable[Limit], *, author: Author = "operator") -> Overview:
        """Set, change or, with amount None, remove limits; those not named stay.

        As operator this is the operator's limit and works at once. As player it is the player's own: lower works at
        once, higher or none only after `limits.increase_after_seconds`; asking for what is in force, or for less, takes
        back what is pending. Raises BadLimit, TooManyLimits, UnknownAsset (of the ledger).
        """
        ...

    async def lock(self, player: str | HasId, seconds: int | None, *, author: Author = "operator") -> Overview:
        """Refuse stakes and spending for so long from now, None for ever. A longer lock stays. Raises BadLock."""
        ...

    async def history(self, player: str | HasId, limit: int = PAGE_CHANGES_MAX, cursor: str = "") -> ChangePage:
        """Changes of a player's limits, newest first, `limit` 1–100. One round trip. Raises BadPage."""
        ...
