"""What others may know of matches, and what the game code of an authoritative one gives and gets."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from palestra.core.errors import (
    FailedPrecondition,
    GameError,
    InvalidArgument,
    NotFound,
    Overloaded,
    PalestraError,
    Unavailable,
)
from palestra.features.streams.contract import Presence

T = TypeVar("T")

LABEL_BYTES_MAX = 2_048
TICKS_PER_SECOND_MAX = 60


class MatchInfo(msgspec.Struct, frozen=True):
    """A running match: its id as clients use it, and how many are in it.

    `label`, `tick_rate` (per second) and `handler_name` belong to authoritative matches only.
    """

    match_id: str
    size: int
    authoritative: bool = False
    label: str | None = None
    tick_rate: int = 0
    handler_name: str = ""


class MatchPlayer(msgspec.Struct, eq=False):
    """A player in an authoritative match, by one socket; the same object as long as it is there.

    `id` is the account's, `vars` come from the log-in. `left` says why it is no longer there: "leave", "disconnect" or
    "kick"; it is "" before.
    """

    id: str
    session_id: str
    username: str
    vars: Mapping[str, str] = {}
    client_ip: str = ""
    left: str = ""


class MatchMessage(msgspec.Struct, frozen=True, eq=False):
    """What a player sent to the match; `received_at` in unix seconds. Players may send anything: believe nothing."""

    sender: MatchPlayer
    op_code: int
    data: bytes
    reliable: bool
    received_at: float

    def text(self) -> str:
        """The data as text; what is no UTF-8 becomes replacement characters."""
        return self.data.decode("utf-8", "replace")

    def json(self, kind: type[T]) -> T | None:
        """The data as JSON of a type, checked; None when it is anything else, so that no player can break the match."""
        try:
            return msgspec.json.decode(self.data, type=kind)
        except (msgspec.DecodeError, RecursionError):
            return None


class Joined(msgspec.Struct, frozen=True):
    """A session in a match: its own presence, whether it is new, and everybody to be seen there, itself included."""

    match_id: str
    own: Presence
    new: bool
    everybody: list[Presence]
    label: str | None = None
    """Of an authoritative match, None of a relayed one."""


# -- errors


class InvalidMatchId(InvalidArgument):
    """A match id is a UUID, a dot, and for authoritative matches the name of a node."""

    def __init__(self) -> None:
        super().__init__("Invalid match ID")


class NoMatchNamed(InvalidArgument):
    """A join names a match by id or by token."""

    def __init__(self) -> None:
        super().__init__("No match ID or token found")


class InvalidMatchToken(InvalidArgument):
    """The token was not made here, has expired, or names no match."""

    def __init__(self) -> None:
        super().__init__("Invalid match token")


class MatchNotFound(NotFound):
    """There is no such match: nobody is in it, or it has ended."""

    socket_code = 4

    def __init__(self) -> None:
        super().__init__("Match not found")


class JoinRejected(GameError):
    """The match did not let the player in; the message is the match's own reason where it gave one."""

    socket_code = 5

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "Match join rejected", "permission_denied")


class NotAcceptingJoins(Overloaded):
    """Too many players wait to be let in."""

    socket_code = 5

    def __init__(self) -> None:
        super().__init__("Match is not currently accepting join requests")


class MatchBusy(Overloaded):
    """Too many signals wait, or the match did not answer in time; it may yet act on the signal."""

    def __init__(self) -> None:
        super().__init__("match busy")


class MatchFailed(PalestraError):
    """The match's code failed, which ended the match."""

    def __init__(self) -> None:
        super().__init__("The match failed; the server's log says how.")


class MatchMoved(PalestraError):
    """The match was handed over to another node, the one named by the message: ask there. Callers never see it."""


class CannotMove(FailedPrecondition):
    """What there is of a match cannot be written for another node, or not be read there."""


class SignalTooLong(InvalidArgument):
    """A signal goes to another node as one message."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"A signal to a match of another node has at most {bytes_max} bytes.")


class ShuttingDown(Unavailable):
    """The node begins no new matches because it is about to stop."""

    def __init__(self) -> None:
        super().__init__("shutdown in progress")


class TooManyMatches(Overloaded):
    """The node runs as many matches as it may."""

    def __init__(self, running_max: int) -> None:
        super().__init__(f"This node runs {running_max} matches already: end some, or raise match.running_max.")


class UnknownMatchHandler(InvalidArgument):
    """No game declares matches of this name."""

    def __init__(self, name: str, near: str = "") -> None:
        hint = f"; did you mean {near!r}?" if near else ""
        super().__init__(f"No game has a match {name!r}: declare it with @game.match({name!r}){hint}")


class BadMatchParams(InvalidArgument):
    """The parameters of a new match cannot be written, or are not what its `init` takes."""


class BadLabel(InvalidArgument):
    """A label is text, or what msgspec can write as JSON, of at most `LABEL_BYTES_MAX` bytes."""


class TooManyDeferred(Overloaded):
    """A callback deferred more messages than may wait."""

    def __init__(self) -> None:
        super().__init__("too many deferred message broadcasts per tick")


class BadListing(InvalidArgument):
    """A parameter of a listing is out of range or does not apply."""


# -- between a match and its game code


class EndMatch(Exception):
    """Raised by game code to end its match, cleanly."""


class MatchDesk(Protocol):
    """What the game code of one match can see and do. All of it is the same when the match is replayed."""

    id: str
    name: str
    node: str
    ticks_per_second: int
    tick_number: int
    random: random.Random
    label: str
    players: Mapping[str, MatchPlayer]

    @property
    def now(self) -> float:
        """Unix seconds of the present tick: the start and as many ticks as there were."""
        ...

    def broadcast(
        self,
        op_code: int,
        data: bytes,
        *,
        to: Iterable[MatchPlayer] | None,
        sender: MatchPlayer | None,
        reliable: bool,
        deferred: bool,
    ) -> None:
        """Send to all members or to some of them, now or after the present callback. Raises TooManyDeferred."""
        ...

    def kick(self, players: Iterable[MatchPlayer]) -> None:
        """Remove players; their `leave` follows the present callback."""
        ...

    def set_label(self, label: str) -> None:
        """Change the label, to be found by at once. Raises BadLabel."""
        ...

    def end(self) -> None:
        """End the match after the present callback."""
        ...


class MatchCode(Protocol):
    """The game code of one match. A call returns what the code does, or an awaitable of it where it is `async def`.

    The calls come one after the other, the next when the one before has finished. `EndMatch` ends the match; of
    `join_attempt` and `signal` a PalestraError is an answer; whatever else is raised ends the match as failed.
    """

    def init(self, params: bytes) -> Awaitable[None] | None:
        """Make the state of parameters written as MessagePack. Raises BadMatchParams."""
        ...

    def join_attempt(self, player: MatchPlayer, metadata: dict[str, str]) -> Awaitable[None] | None:
        """Let a player in by returning."""
        ...

    def join(self, players: list[MatchPlayer]) -> Awaitable[None] | None:
        """Players came."""
        ...

    def leave(self, players: list[MatchPlayer]) -> Awaitable[None] | None:
        """Players went."""
        ...

    def tick(self, messages: list[MatchMessage]) -> Awaitable[None] | None:
        """A tick, with what was received since the last."""
        ...

    def terminate(self, grace_seconds: float) -> Awaitable[None] | None:
        """The node will stop in so many seconds."""
        ...

    def signal(self, data: str) -> Awaitable[str] | str:
        """Somebody on the server wants something."""
        ...

    def written_state(self) -> bytes:
        """The state as bytes that are the same for the same state. Raises TypeError where it cannot be written."""
        ...

    def snapshot(self) -> bytes:
        """All that the code knows, between two callbacks. Raises CannotMove."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot, in the place of `init`. Raises CannotMove, and what the game's code raises."""
        ...


class MatchHandler(Protocol):
    """Matches of one kind, as a game declares them. `module` is the file of the game, `version` which code it is.

    A snapshot is kept every `checkpoint_ticks` ticks, with 0 never.
    """

    name: str
    ticks_per_second: int
    record: bool
    checkpoint_ticks: int
    module: str
    version: str

    def begin(self, desk: MatchDesk) -> MatchCode:
        """The game code of a new match."""
        ...


class MatchGames(Protocol):
    """The loaded games, as far as matches need them."""

    @property
    def match_handlers(self) -> Mapping[str, MatchHandler]:
        """Handlers by name."""
        ...


class Matches(Protocol):
    """Matches as other features and game modules use them (`ctx.matches`)."""

    async def create(self, name: str, params: Any = None) -> str:
        """Begin an authoritative match; its id. `params` go to the match's `init`, whatever msgspec can write.

        Raises UnknownMatchHandler, BadMatchParams, MatchFailed, TooManyMatches, ShuttingDown.
        """
        ...

    async def get(self, match_id: str) -> MatchInfo | None:
        """A running match, None where there is none. Raises InvalidMatchId."""
        ...

    async def signal(self, match_id: str, data: str) -> str:
        """Hand text to an authoritative match; its answer.

        Raises InvalidMatchId, MatchNotFound, MatchBusy, MatchFailed, and what the match raises.
        """
        ...

    async def list(
        self,
        *,
        limit: int = 10,
        authoritative: bool | None = None,
        label: str | None = None,
        query: str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        quotes: bool = True,
    ) -> list[MatchInfo]:
        """Running matches, authoritative ones first, the newest first or by the query's score.

        A label or a query (`docs/guide/queries.md`) finds authoritative ones only; `quotes` is as in `query.parse`.
        O(matches). Raises BadListing, BadQuery.
        """
        ...

    def token(self, match_id: str) -> str:
        """A token that lets its bearer into a match for half a minute, even if nobody is in it yet."""
        ...
