"""What others may know of sessions."""

from __future__ import annotations

from typing import Protocol

import msgspec

from palestra.core.errors import InvalidArgument, Unauthenticated
from palestra.gateway.operation import Caller


class TokenPair(msgspec.Struct, frozen=True):
    """A session token and the refresh token that belongs to it."""

    token: str
    refresh_token: str


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is forged, expired, revoked, or no refresh token at all."""

    def __init__(self) -> None:
        super().__init__("Refresh token invalid or expired.")


class TokenInvalid(InvalidArgument):
    """A token handed in for log-out is not one of the caller's."""


class Sessions(Protocol):
    """Tokens, as other features and game modules use them (`ctx.sessions`)."""

    def issue(self, user_id: str, username: str, vars: dict[str, str]) -> TokenPair:
        """A new pair of tokens for a player who has proved an identity."""
        ...

    def verify(self, token: str) -> Caller | None:
        """The caller of a valid, unexpired, unrevoked session token, else None."""
        ...

    def lasts(self, user_id: str, token_id: str, logged_in_at: int) -> bool:
        """Whether a log-in is still good: not logged out, not revoked. A dictionary look-up; knows nothing of expiry.

        For tokens of other features that must end with the log-in they were made in; `token_id` "" is for none.
        """
        ...

    async def revoke_user(self, user_id: str) -> None:
        """Void all tokens of a player's log-ins before now, on disk too. Those of this very second stay valid."""
        ...

    async def revoke_for_good(self, user_id: str) -> None:
        """Void all tokens of a player who is gone or banned, even one of a log-in that is just under way."""
        ...

    async def readmit(self, user_id: str) -> None:
        """Let the tokens of log-ins from now on be valid again; older ones stay void."""
        ...


class SessionWire(msgspec.Struct, omit_defaults=True):
    """The answer to every log-in and refresh."""

    created: bool = False
    token: str = ""
    refresh_token: str = ""
