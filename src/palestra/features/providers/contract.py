"""What others may know of third-party games: launching one, the day's report, and every refusal."""

from __future__ import annotations

from datetime import date
from typing import Protocol

import msgspec

from palestra.core.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)


class Report(msgspec.Struct, frozen=True):
    """What a provider's requests did to one asset on one UTC day; sums in minor units."""

    provider: str
    asset: str
    day: date
    debits: int
    debited: int
    credits: int
    credited: int
    rollbacks: int
    rolled_back: int

    @property
    def net(self) -> int:
        """What the provider's account won from the players that day."""
        return self.debited - self.credited - self.rolled_back


class LoggedIn(Protocol):
    """A player with the log-in that speaks for them, such as `ctx.player`."""

    @property
    def id(self) -> str: ...
    @property
    def token_id(self) -> str: ...
    @property
    def logged_in_at(self) -> int: ...


class Providers(Protocol):
    """Third-party games, as game modules see them (`ctx.providers`)."""

    def launch(self, player: str | LoggedIn, provider: str, asset: str) -> str:
        """A token with which a provider's server learns, once and within a minute, who plays for which asset.

        Given as `ctx.player`, the play ends with that log-in; given as an id, when all of the player's log-ins are
        ended. Raises UnknownProvider, ProviderDisabled, AssetNotOffered.
        """
        ...


class WrongSignature(Unauthenticated):
    """No known provider signed this request with a known key."""


class StaleTimestamp(Unauthenticated):
    """The request was signed too long ago, or in the future."""


class ForbiddenAddress(PermissionDenied):
    """The provider may not call from there."""


class UnknownProvider(NotFound):
    """No provider of this name is configured."""


class ProviderDisabled(PermissionDenied):
    """The provider is switched off: no new play, while what was begun can be settled."""

    def __init__(self) -> None:
        super().__init__("This provider is switched off: credits and rollbacks are taken, new play is not.")


class BadAmount(InvalidArgument):
    """An amount that is no whole number from 1 to 2^63 - 1."""

    def __init__(self) -> None:
        super().__init__("An amount is a whole number of minor units from 1 to 9223372036854775807, without sign, "
                         "point, exponent or leading zero, as a number or as a text of digits.")  # fmt: skip


class BadWindow(InvalidArgument):
    """A stretch of time or a cursor that cannot be listed."""


class AssetNotOffered(NotFound):
    """The provider, or this launch, does not play for the asset."""


class SessionEnded(PermissionDenied):
    """The token or session is forged, expired, or its player has logged out or was banned."""

    def __init__(self) -> None:
        super().__init__("The session is over, or was never given out: no new stake without one. "
                         "What was begun can still be credited or rolled back.")  # fmt: skip


class LaunchUsed(PermissionDenied):
    """A launch token that another request has used."""

    def __init__(self) -> None:
        super().__init__("This launch token was used before, by another request: have the game launched anew.")


class UnknownPlayer(NotFound):
    """There is no such player, or no longer."""

    def __init__(self) -> None:
        super().__init__("There is no such player.")


class WrongOwner(PermissionDenied):
    """The session or the transaction is not of the player and asset that the request names."""


class TransactionConflict(AlreadyExists):
    """The transaction id was used before, for something else."""

    def __init__(self) -> None:
        super().__init__("This transaction id was used before with other content: nothing was done. "
                         "A new transaction needs an id of its own.")  # fmt: skip


class RolledBack(AlreadyExists):
    """The debit was rolled back before it came."""

    def __init__(self) -> None:
        super().__init__("This debit was rolled back before it arrived: it never happens.")


class NotADebit(FailedPrecondition):
    """Only debits can be rolled back."""

    def __init__(self) -> None:
        super().__init__("The transaction is a credit, which cannot be rolled back: the player may have spent it.")


class UnknownRetry(Unavailable):
    """No answer in time: the request may or may not have been carried out, and repeating it is safe."""

    def __init__(self) -> None:
        super().__init__("No answer in time: it may or may not have been done. Repeat the very same request.")
