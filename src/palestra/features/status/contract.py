"""What others may know of statuses: limits, errors and the `Statuses` protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from palestra.core.errors import InvalidArgument, Unavailable
from palestra.features.streams.contract import Presence

STATUS_BYTES_MAX = 2_048
FOLLOWS_PER_SESSION_MAX = 2_000


class BadUserId(InvalidArgument):
    """Not the id of a player."""

    def __init__(self) -> None:
        super().__init__("Invalid user identifier")


class EmptyUsername(InvalidArgument):
    """A username without a character."""

    def __init__(self) -> None:
        super().__init__("Invalid username")


class StatusTooLong(InvalidArgument):
    """A status beyond STATUS_BYTES_MAX."""

    def __init__(self) -> None:
        super().__init__(f"Status must be {STATUS_BYTES_MAX} characters or less")


class TooManyFollows(InvalidArgument):
    """More players than a session may follow; none of the new ones is followed."""

    def __init__(self) -> None:
        super().__init__(f"A session may follow {FOLLOWS_PER_SESSION_MAX} users: unfollow some first.")


class UsersNotChecked(Unavailable):
    """Whether the players exist could not be found out."""

    def __init__(self) -> None:
        super().__init__("Could not check users")


class Statuses(Protocol):
    """Statuses as game modules use them (`ctx.status`), for the sessions of this node.

    A player is online while a session shows a status, be it empty. Follows belong to a session and end with it; every
    session hears of its own player without asking. All raise UnknownSession.
    """

    async def follow(
        self, session_id: str, user_ids: Sequence[str] = (), usernames: Sequence[str] = ()
    ) -> list[Presence]:
        """Tell a session of these players from now on; what they show now, once per session that shows something.

        The session's own player, the server and unknown players are passed over. Raises BadUserId, EmptyUsername,
        TooManyFollows, UsersNotChecked, SessionClosing.
        """
        ...

    async def unfollow(self, session_id: str, user_ids: Sequence[str]) -> None:
        """Tell the session of these players no longer. Raises BadUserId."""
        ...

    async def update(self, session_id: str, status: str | None) -> None:
        """Show a status, or with None nothing: the session appears offline. Raises StatusTooLong, SessionClosing."""
        ...
