"""Tokens of play: one that launches a game, and one that a provider shows for each stake.

They are signed with keys derived from that of session tokens, so that none can be taken for another: a provider never
holds what a player's own client could use.
"""

from __future__ import annotations

import hmac

import msgspec

from palestra.core.clock import Clock
from palestra.core.ids import new_id
from palestra.core.tokens import Signer

LAUNCH_SECONDS = 60


class PlayClaims(msgspec.Struct):
    """Token id, provider, player, asset ("" for all the provider has), log-in (its token id and time), expiry."""

    jti: str
    prv: str
    uid: str
    ast: str
    tid: str
    iat: int
    exp: int


class PlayTokens:
    """Gives out and reads both kinds."""

    def __init__(self, encryption_key: str, clock: Clock) -> None:
        self._now = clock.now
        self._launches = Signer(_derived(encryption_key, "launch of a third-party game"), PlayClaims)
        self._sessions = Signer(_derived(encryption_key, "session of a third-party game"), PlayClaims)

    def launch(self, provider: str, user_id: str, asset: str, token_id: str, logged_in_at: int) -> str:
        """A token good for a minute."""
        expires_at = int(self._now()) + LAUNCH_SECONDS
        return self._launches.sign(PlayClaims(new_id(), provider, user_id, asset, token_id, logged_in_at, expires_at))

    def session(self, launch: PlayClaims, seconds: int) -> tuple[str, int]:
        """The token of the play that a launch begins, and when it expires."""
        claims = msgspec.structs.replace(launch, jti=new_id(), exp=int(self._now()) + seconds)
        return self._sessions.sign(claims), claims.exp

    def read_launch(self, token: str) -> PlayClaims | None:
        """The claims of a launch token, expired or not; None for anything else."""
        return self._launches.check(token)

    def read_session(self, token: str) -> PlayClaims | None:
        """The claims of a session of play, expired or not; None for anything else."""
        return self._sessions.check(token)


def _derived(key: str, purpose: str) -> str:
    return hmac.digest(key.encode(), purpose.encode(), "sha256").hex()
