"""What others may know of the matchmaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from palestra.core.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, Overloaded, PalestraError
from palestra.features.streams.contract import Member, Presence
from palestra.gateway.operation import Session

TICKET_FIELDS = ("ticket", "party_id", "min_count", "max_count", "created_at")
"""What queries may ask of a ticket beside its `properties.*`; `created_at` in unix nanoseconds."""


class TicketRequest(msgspec.Struct, frozen=True):
    """What a ticket asks for. Counts are of players, the ticket's own included; `count_multiple` None counts as 1."""

    min_count: int
    max_count: int
    query: str = "*"
    string_properties: Mapping[str, str] = {}
    numeric_properties: Mapping[str, float] = {}
    count_multiple: int | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One player of a ticket; `create_time` in unix seconds.

    `properties` are the ticket's texts and numbers, as queries see them: of a name given to both, the number.
    """

    ticket: str
    presence: Presence
    properties: Mapping[str, str | float]
    party_id: str
    create_time: float
    string_properties: Mapping[str, str] = {}
    numeric_properties: Mapping[str, float] = {}


class Formed(msgspec.Struct, frozen=True):
    """A match that has been formed and not yet been announced: its players, the longest waiting first."""

    entries: tuple[Entry, ...]

    def tickets(self) -> list[list[Entry]]:
        """The entries by ticket: parties together."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.ticket, []).append(entry)
        return list(found.values())


class Drop(msgspec.Struct, frozen=True):
    """After a while a field does not matter any more: clauses on it are dropped."""

    after_seconds: float
    field: str


class Window(msgspec.Struct, frozen=True):
    """A number of others must be near the ticket's own: within `start` at first, `step` more with each `every_seconds`.

    Tickets without the number are not bound by it; those who have it are not matched with those who do not.
    """

    property: str
    start: float
    step: float
    every_seconds: float
    most: float


Relaxation = Drop | Window


class TicketInfo(msgspec.Struct, frozen=True):
    """A waiting ticket. `query` is the one in force, after what waiting has relaxed."""

    ticket: str
    party_id: str
    user_ids: tuple[str, ...]
    min_count: int
    max_count: int
    count_multiple: int
    query: str
    properties: Mapping[str, str | float]
    create_time: float


class Completion(msgspec.Struct, frozen=True):
    """A ticket that was matched: when it was made and when it was done, in unix seconds."""

    create_time: float
    complete_time: float


class Stats(msgspec.Struct, frozen=True):
    """How the matchmaker is doing: tickets that wait, the oldest of them, and the last that were matched."""

    ticket_count: int
    oldest_create_time: float | None
    completions: tuple[Completion, ...]


class Reason(msgspec.Struct, frozen=True):
    """Why a ticket was not matched with another one: the first thing that keeps them apart.

    `reason` is one of `same session`, `counts`, `query` (the ticket's own), `acceptance` (the other's query),
    `too few players` (nothing keeps them apart, but there are not enough yet). `detail` names the clause or the counts.
    """

    other: str
    reason: str
    detail: str


class WhyNot(msgspec.Struct, frozen=True):
    """Why a ticket still waits: how many others there are for each reason, and the first of them one by one.

    Of many others the longest waiting are looked at, `looked_at` of them.
    """

    ticket: TicketInfo
    waited_seconds: float
    looked_at: int
    counts: Mapping[str, int]
    reasons: tuple[Reason, ...]


class InvalidCounts(InvalidArgument):
    """The counts of a request do not go together."""


class InvalidTicket(InvalidArgument):
    """A removal names a ticket."""

    def __init__(self) -> None:
        super().__init__("Invalid matchmaker ticket")


class QueryInvalid(InvalidArgument):
    """The query cannot be read; `reason` says where."""

    def __init__(self, reason: str) -> None:
        super().__init__("matchmaker query invalid")
        self.reason = reason


class DuplicateSession(InvalidArgument):
    """A session is in a ticket once."""

    def __init__(self) -> None:
        super().__init__("matchmaker duplicate session")


class TooManyTickets(Overloaded):
    """A session, and a party, may have `matchmaker.max_tickets` tickets at a time."""

    def __init__(self) -> None:
        super().__init__("matchmaker too many tickets")


class TicketNotFound(NotFound):
    """There is no such ticket, or it is somebody else's."""

    def __init__(self, message: str = "matchmaker ticket not found") -> None:
        super().__init__(message)


class NotAvailable(FailedPrecondition):
    """The node is on its way out and makes no more matches."""

    def __init__(self) -> None:
        super().__init__("matchmaker not available")


class TooManyPlayers(InvalidArgument):
    """A match has at most so many players as the matchmaker can tell of each other."""

    def __init__(self, players_max: int) -> None:
        super().__init__(f"a match has at most {players_max} players")


class BadBackfill(InvalidArgument):
    """A backfill that cannot be."""


class AddingFailed(Internal):
    """What a lone player is told when a ticket is refused for another reason than its counts."""

    socket_code = 0

    def __init__(self, cause: PalestraError) -> None:
        super().__init__("Error adding to matchmaker")
        self.cause = cause


class Matchmaker(Protocol):
    """The matchmaker as features use it: in memory, at once. Tickets are this node's, their sessions any node's."""

    def add(self, caller: Session, members: Sequence[Member], party_id: str, request: TicketRequest) -> str:
        """A ticket for these sessions together; `party_id` "" for one alone. It is tried once `caller` was answered.

        Raises InvalidCounts, QueryInvalid, DuplicateSession, TooManyTickets, TooManyPlayers, NotAvailable.
        """
        ...

    def remove_party(self, party_id: str, ticket: str | None = None) -> None:
        """Withdraw a ticket of a party, or all of them. Raises TicketNotFound for one that is not the party's."""
        ...


class PartyTickets(Protocol):
    """Tickets of parties that go on on another node: the same, as old as they are, there and here no more."""

    def pack_party(self, party_id: str) -> bytes:
        """Take the tickets of a party out, but for those that a match has claimed; b"" for none."""
        ...

    def unpack_party(self, packed: bytes) -> None:
        """They wait here from now on, if the party is of the same players still."""
        ...

    def party_went(self, party_id: str) -> None:
        """A party is on another node: what is left of its tickets follows, as soon as no match has a claim on it."""
        ...


class Matchmaking(Protocol):
    """The matchmaker as game modules use it (`ctx.matchmaker`), on any node for the tickets of all.

    `stats`, `tickets` and `explain` raise Unavailable while no node makes matches.
    """

    async def stats(self) -> Stats:
        """How it is doing."""
        ...

    async def tickets(self, limit: int = 100) -> list[TicketInfo]:
        """Tickets that wait, the oldest first."""
        ...

    async def explain(self, ticket: str, limit: int = 100) -> WhyNot:
        """Why a ticket still waits. Looks at 1,000 others at most. Raises TicketNotFound."""
        ...

    async def remove(self, ticket: str) -> None:
        """Withdraw a ticket; its players are not told. Raises TicketNotFound."""
        ...

    async def backfill(
        self,
        match_id: str,
        count: int,
        *,
        players: int,
        query: str = "*",
        properties: Mapping[str, str | float] = {},
        seconds: float = 300.0,
    ) -> str:
        """Let tickets join a running match of `players` until `count` have come or `seconds` are over; its id.

        A ticket fits when the query accepts it, its own query accepts `properties`, and its counts allow the full
        match of `players + count`. Its players get `matchmaker_matched` with the match's id.
        Raises BadBackfill, QueryInvalid.
        """
        ...

    async def end_backfill(self, backfill: str) -> int:
        """Take nobody more; how many places were still open. Ending one that has ended is 0."""
        ...


class MatchmakerGames(Protocol):
    """What games have to say about matches; implemented by the runtime."""

    @property
    def relaxations(self) -> Sequence[Relaxation]:
        """How queries relax while tickets wait."""
        ...

    @property
    def handles_formed(self) -> bool:
        """Whether any game wants to know of a match before it is announced."""
        ...

    @property
    def forms_every_seconds(self) -> float | None:
        """How often a game forms the matches itself, None when none does."""
        ...

    async def formed(self, match: Formed) -> str | None:
        """The id of the match that a game has made for these players; None for a relayed one. Raises nothing."""
        ...

    async def form(self, waiting: list[TicketInfo]) -> list[list[TicketInfo]]:
        """Which of those who wait play together. Raises nothing."""
        ...
