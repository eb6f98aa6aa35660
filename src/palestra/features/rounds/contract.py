"""What others may know of rounds: rounds and how they ended, what a game must offer, and every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from palestra.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from palestra.features.ledger.contract import Line

PLAYERS_MAX = 400
"""Most players of a round, and most stakes: that many holds and payouts fit into one entry of the ledger."""
KEY_CHARS_MAX = 256
REASON_CHARS_MAX = 256
JSON_BYTES_MAX = 16_384
"""Longest inputs, result or fair fields, as JSON text."""
DEADLINE_SECONDS_MAX = 30 * 86_400
GRACE_SECONDS = 86_400
"""How long holds outlast their round's deadline, so that the policy decides about them and not the ledger."""
PAGE_ROUNDS_MAX = 100

Policy = Literal["cancel", "settle"]
"""What becomes of a round that nobody ended: its stakes go back, or the game's `settle_round` says how it ends."""


class Stake(msgspec.Struct, frozen=True):
    """What a player put in, in minor units; 0 plays for free."""

    player_id: str
    amount: int


class Ending(msgspec.Struct, frozen=True):
    """How a round ended, for ever. `version` is that of the game's code which decided it.

    `payouts` are what the house paid, by player; `result` and `fair` are JSON objects of the game's own.
    """

    how: Literal["settled", "cancelled"]
    version: str
    ended_at: datetime
    reason: str = ""
    payouts: dict[str, int] = {}
    result: dict[str, Any] = {}
    fair: dict[str, Any] = {}


class Round(msgspec.Struct, frozen=True):
    """A round as it was when it was read. `version` is that of the game's code which opened it.

    `holds` are the ledger's numbers of what was set aside, one for each stake and 0 for free ones; None where they were
    not looked up.
    """

    id: str
    game: str
    version: str
    asset: str
    inputs: dict[str, Any]
    stakes: tuple[Stake, ...]
    policy: Policy
    opened_at: datetime
    deadline: datetime
    ending: Ending | None = None
    holds: tuple[int, ...] | None = None

    @property
    def players(self) -> tuple[str, ...]:
        """Who takes part, each once."""
        return tuple(dict.fromkeys(stake.player_id for stake in self.stakes))


class Record(msgspec.Struct, frozen=True):
    """A round with everything that the ledger wrote for it, in order: enough to work it out again."""

    round: Round
    lines: tuple[Line, ...]


class RoundPage(msgspec.Struct, frozen=True):
    """Rounds, newest first; `cursor` leads to the next page, "" at the end."""

    rounds: tuple[Round, ...]
    cursor: str


class Settlement(msgspec.Struct, frozen=True):
    """What a game's `settle_round` answers: the arguments of `Rounds.settle`."""

    payouts: dict[str, int] = {}
    result: dict[str, Any] = {}
    fair: dict[str, Any] = {}


class BadRound(InvalidArgument):
    """A round, stake, payout or text that cannot be; the message says which and why."""


class BadPage(InvalidArgument):
    """A page size or cursor that the list does not have."""


class RoundNotFound(NotFound):
    """There is no such round, or it is none of the caller's."""

    def __init__(self) -> None:
        super().__init__("There is no such round.")


class RoundConflict(AlreadyExists):
    """The key was used before, for another round or stake."""


class RoundOver(FailedPrecondition):
    """The round has ended, otherwise than asked for, or takes no more stakes. `round` tells how; it stands for ever."""

    def __init__(self, message: str, round: Round) -> None:
        super().__init__(message)
        self.round = round


class RoundChanged(Unavailable):
    """Others kept staking in the same moment; nothing was done, and trying again is safe."""

    def __init__(self) -> None:
        super().__init__("The round changed at the same moment, try again.")


class RoundGames(Protocol):
    """The loaded games, as rounds need them."""

    def version_of(self, game: str) -> str | None:
        """The version of a game's code, None if no such game is loaded."""
        ...

    def settles_rounds(self, game: str) -> bool:
        """Whether the game has a `settle_round`."""
        ...

    async def settle_round(self, round: Round) -> Settlement:
        """What the game makes of a round that nobody ended. Raises PalestraError when it fails."""
        ...


class Rounds(Protocol):
    """Rounds, as game modules see them (`ctx.rounds`).

    Wherever a round is to be named, its id or what `open`, `stake` or `get` returned will do; the latter saves three
    round trips, and is never trusted where it is out of date. Every call raises Overloaded or Unavailable when trying
    again is safe, for `open` and `stake` with a key.
    """

    async def open(
        self,
        *,
        game: str,
        stakes: Mapping[str, int],
        asset: str = "coins",
        inputs: Mapping[str, Any] | None = None,
        key: str | None = None,
        deadline_seconds: int = 300,
        policy: Policy = "cancel",
    ) -> Round:
        """Hold the stakes of all players, all or nothing, and open a round. One shared commit.

        With a `key`, unique per game, it happens once for ever: the same again returns the round as it is now.
        `inputs` are what the players chose and what `settle_round` will need: nothing of it lives elsewhere.
        Raises BadRound, RoundConflict, and from the ledger InsufficientFunds, LimitReached, UnknownAsset,
        AccountNotFound and the like.
        """
        ...

    async def stake(self, round: Round | str, stakes: Mapping[str, int], *, key: str | None = None) -> Round:
        """Hold further stakes, also of new players, while the round is open and its deadline has not come.

        With a `key`, unique per round, it happens once. Raises as `open`, RoundOver, RoundNotFound.
        """
        ...

    async def settle(
        self,
        round: Round | str,
        *,
        payouts: Mapping[str, int] | None = None,
        result: Mapping[str, Any] | None = None,
        fair: Mapping[str, Any] | None = None,
    ) -> Round:
        """Give all stakes to the house and let it pay the payouts, with the record beside it. One shared commit.

        Payouts go to players of the round; they may exceed the stakes. The same again returns the same answer. If one
        of the holds is over, the round is cancelled and the others are given back.
        Raises RoundOver when the round ended otherwise; BadRound, RoundNotFound, AccountNotFound or AccountClosed for a
        player who is gone.
        """
        ...

    async def cancel(self, round: Round | str, reason: str = "") -> Round:
        """Give back all that is held. A round that was cancelled before is returned as it is.

        Raises RoundOver if it was settled.
        """
        ...

    async def get(self, round_id: str) -> Round:
        """A round as it is now. Three round trips. Raises RoundNotFound."""
        ...

    async def record(self, round_id: str) -> Record:
        """A round with its lines of the ledger. Three round trips. Raises RoundNotFound."""
        ...

    async def list(self, player_id: str, limit: int = PAGE_ROUNDS_MAX, cursor: str = "") -> RoundPage:
        """A player's rounds, newest first, `limit` 1–100. One round trip. Raises BadPage."""
        ...

    async def resolve_overdue(self, limit: int = PAGE_ROUNDS_MAX) -> int:
        """End up to `limit` rounds whose deadline is over, by their policy; how many were. Any node may do it."""
        ...
