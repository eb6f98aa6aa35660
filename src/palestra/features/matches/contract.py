"""What others may know of matches."""

from __future__ import annotations

from typing import Protocol

import msgspec

from palestra.core.errors import InvalidArgument, NotFound


class MatchInfo(msgspec.Struct, frozen=True):
    """A running match: its id as clients use it, and how many are in it."""

    match_id: str
    size: int


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
    """Nobody is in the match, so it does not exist."""

    socket_code = 4

    def __init__(self) -> None:
        super().__init__("Match not found")


class BadListing(InvalidArgument):
    """A parameter of a listing is out of range or does not apply."""


class Matches(Protocol):
    """Matches as other features and game modules use them (`ctx.matches`)."""

    async def list(
        self,
        *,
        limit: int = 10,
        authoritative: bool | None = None,
        label: str | None = None,
        query: str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
    ) -> list[MatchInfo]:
        """Running matches. O(matches) until the limit is reached. Raises BadListing."""
        ...

    def token(self, match_id: str) -> str:
        """A token that lets its bearer into a match for half a minute, even if nobody is in it yet."""
        ...
