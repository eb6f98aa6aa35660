"""What others may know of provably fair draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from palestra.core.errors import FailedPrecondition, InvalidArgument, NotFound
from palestra.features.wallets.contract import HasId

ALGORITHM = "palestra-fair-1"
"""How seeds become values, as docs/guide/fair.md writes it down; a change of one byte is another name."""
SEED_BYTES = 32
CLIENT_SEED_CHARS_MAX = 64
ROUND_ID_CHARS_MAX = 128
KEY_CHARS_MAX = 128
NUMBER_MAX = 2**53
"""Bounds, and how many whole numbers a draw may choose from: what every reader of JSON holds exactly."""
NONCE_MAX = 2**63 - 1
ITEMS_MAX = 65_536
"""Most items of one shuffle, dice of one throw, weights of one choice."""
VERIFY_STEPS_MAX = 100
VERIFY_ITEMS_MAX = 1_000
"""Most items, dice and weights of all steps of one verification together."""
PAGE_SEEDS_MAX = 100

T = TypeVar("T")


class SeedPair(msgspec.Struct, frozen=True):
    """A player's active pair. `nonce` is that of the next draw; commitments are SHA-256 in hex.

    `next_commitment` is of the server seed that the next rotation brings into use: it is fixed before the player names
    the client seed to go with it, so that neither side chooses knowing the other's choice.
    """

    number: int
    commitment: str
    next_commitment: str
    client_seed: str
    nonce: int
    algorithm: str = ALGORITHM


class Commitment(msgspec.Struct, frozen=True):
    """What is published of a round's server seed before the round: its id and the SHA-256 of the seed in hex."""

    id: str
    commitment: str
    algorithm: str = ALGORITHM


class RevealedSeed(msgspec.Struct, frozen=True):
    """A server seed that will never be used again, in hex. Nonces 0 to `draws` - 1 were used with it.

    `client_seed` is "" for a round that never drew.
    """

    number: int
    commitment: str
    server_seed: str
    client_seed: str
    draws: int
    revealed_at: datetime
    algorithm: str = ALGORITHM


class Rotation(msgspec.Struct, frozen=True):
    """What a rotation ended, and what draws come from now."""

    revealed: RevealedSeed
    active: SeedPair


class HistoryPage(msgspec.Struct, frozen=True):
    """Revealed seeds of a player, newest first; `cursor` leads to the next page, "" at the end."""

    seeds: tuple[RevealedSeed, ...]
    cursor: str


class Step(msgspec.Struct, frozen=True):
    """One value to be worked out again. `kind` says which others count: below n; between low, high; fraction;
    shuffle n; weighted weights; dice count, sides.
    """

    kind: str = ""
    n: int = 0
    low: int = 0
    high: int = 0
    count: int = 0
    sides: int = 0
    weights: list[int] = []


class Verification(msgspec.Struct, frozen=True):
    """The commitment of a server seed and the values it gives: a whole number, a float, or a list for each step."""

    commitment: str
    values: list[Any]
    algorithm: str = ALGORITHM


class BadDraw(InvalidArgument):
    """A range, list or weight that nothing can be drawn from, or one that is too large; the message says which."""


class BadSeed(InvalidArgument):
    """A server seed, client seed, nonce or round id that cannot be one; the message says what it looks like."""


class BadKey(InvalidArgument):
    """A text that cannot be the key of a draw; the message says what one looks like."""


class BadPage(InvalidArgument):
    """A page size or cursor that the history does not have."""


class RoundNotFound(NotFound):
    """Nothing was committed for this round."""

    def __init__(self) -> None:
        super().__init__("No seed was committed for this round: call commit first.")


class RoundRevealed(FailedPrecondition):
    """The round's server seed is known, so nothing can be drawn from it any more."""

    def __init__(self) -> None:
        super().__init__("The seed of this round was revealed already: commit to a new one for a new round.")


class ClientSeedFixed(FailedPrecondition):
    """The round draws with another client seed already; no nonce was used."""

    def __init__(self) -> None:
        super().__init__("The first draw of this round fixed its client seed: give the same one again.")


class Draw(Protocol):
    """One nonce's values. The calls and their order decide them: the same calls give the same values for ever.

    Record `commitment`, `client_seed`, `nonce` and `algorithm` with what was decided, and publish which calls your game
    makes: with the revealed server seed anybody can repeat them. Nothing here waits or touches the database. Every
    method raises BadDraw for arguments that nothing can be drawn from.
    """

    @property
    def algorithm(self) -> str: ...
    @property
    def commitment(self) -> str: ...
    @property
    def client_seed(self) -> str: ...
    @property
    def nonce(self) -> int: ...

    def below(self, n: int) -> int:
        """A whole number from 0 to `n` - 1, all equally likely; `n` 1 to 2**53."""
        ...

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included, all equally likely."""
        ...

    def fraction(self) -> float:
        """A float of 53 random bits, at least 0 and less than 1. For odds that must be exact, use `below`."""
        ...

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, all equally likely: the one at `below(len(items))`."""
        ...

    def weighted(self, weights: Mapping[T, int]) -> T:
        """One key, as likely as its weight says, exactly. Weights are whole numbers; their order counts."""
        ...

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """`items` in a new list, every order equally likely."""
        ...

    def dice(self, count: int, sides: int) -> list[int]:
        """`count` throws of a die with faces 1 to `sides`."""
        ...


class Fair(Protocol):
    """Provably fair draws, as game modules see them (`ctx.fair`). A player is given as id or as `ctx.player`.

    A server seed belongs to a player or to a round and is never shown while it is in use, by any method.
    """

    async def draw(self, player: str | HasId, *, key: str | None = None) -> Draw:
        """Use the player's next nonce, for good before this returns: no nonce is used twice, even after a crash.

        With a `key`, 1–128 printable characters, unique per player, it happens once for ever: asked again it is the
        same draw from its beginning, whatever crashed or was rotated or revealed meanwhile. Whatever may be tried
        again needs one, such as the id of the round that is decided; otherwise the second try draws something else.

        One round trip shared with others' draws, four with a key; a player's first draw also makes the pair.
        Without a key a call that is cancelled or fails may leave its nonce unused. Raises AccountNotFound,
        BadKey.
        """
        ...

    async def seeds(self, player: str | HasId) -> SeedPair:
        """The player's active pair, made now if there is none. Raises AccountNotFound."""
        ...

    async def rotate(self, player: str | HasId, client_seed: str | None = None) -> Rotation:
        """Reveal the server seed in use and go on with the next, whose commitment was already known, from nonce 0.

        The client seed changes to the one given or stays. A seed that drew nothing is revealed but not kept in the
        history. What earlier draws still hide, such as the rest of a deck, can be worked out from then on: a game that
        hides something refuses `fair.rotate` meanwhile. One transaction. Raises BadSeed, AccountNotFound.
        """
        ...

    async def history(self, player: str | HasId, limit: int = PAGE_SEEDS_MAX, cursor: str = "") -> HistoryPage:
        """Revealed seeds of a player, newest first, `limit` 1–100. One round trip. Raises BadPage, AccountNotFound."""
        ...

    async def commit(self, round_id: str | None = None) -> Commitment:
        """Make a server seed for a round of several players and publish its commitment. One shared round trip.

        `round_id` is a text of the caller's own, 1–128 printable characters, a new id by default. Committing again to
        the same round changes nothing and answers the same. Raises BadSeed, RoundRevealed.
        """
        ...

    async def draw_round(self, round_id: str, client_seed: str) -> Draw:
        """Use the round's next nonce, as `draw` without a key does. The first draw fixes the client seed.

        What may be tried again decides by nonce 0, which `replay` gives after the reveal.

        Let it come from the players, after they have seen the commitment: a server that chooses both seeds proves
        nothing. Raises BadSeed, RoundNotFound, RoundRevealed, ClientSeedFixed.
        """
        ...

    async def reveal(self, round_id: str) -> RevealedSeed:
        """End a round's draws and publish its server seed; again answers the same. One transaction.

        Raises BadSeed, RoundNotFound.
        """
        ...

    def replay(self, server_seed: str, client_seed: str, nonce: int) -> Draw:
        """The draw that a revealed server seed (in hex) gave at a nonce: the same calls give the same values.

        Raises BadSeed.
        """
        ...

    def verify(self, server_seed: str, client_seed: str, nonce: int, steps: Sequence[Step]) -> Verification:
        """Work out again what some calls of one draw gave. At most 100 steps with 1,000 items, about a millisecond.

        Raises BadSeed, BadDraw.
        """
        ...
