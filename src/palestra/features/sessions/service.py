"""Issuing, checking, refreshing and revoking tokens."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from palestra.cluster.bus import Bus
from palestra.core.clock import Clock
from palestra.core.config import SessionSettings
from palestra.core.errors import InvalidArgument
from palestra.core.ids import new_id, parse_id
from palestra.core.tokens import Signer
from palestra.features.sessions.contract import RefreshTokenInvalid, TokenInvalid, TokenPair
from palestra.features.sessions.store import SessionStore
from palestra.features.sessions.tokens import Claims
from palestra.gateway.operation import Caller

KNOWN_TOKENS_MAX = 100_000
KNOWN_TOKEN_CHARS_MAX = 1_024
"""A longer token, stuffed with session vars, is checked anew each time: clients must not fill our memory."""
FOR_GOOD = 32_503_680_000.0
"""A moment far after every token: the year 3000."""


class SessionService:
    """Implements `Sessions`. Revocations are kept in memory, checked on every use, and written through to the store.

    Other nodes are told of them by the `bus`; what it loses is read from the store (`load`).
    """

    def __init__(self, store: SessionStore, settings: SessionSettings, clock: Clock, bus: Bus | None = None) -> None:
        self._store = store
        self._settings = settings
        self._now = clock.now
        self._session_tokens = Signer(settings.encryption_key, Claims)
        self._refresh_tokens = Signer(settings.refresh_encryption_key, Claims)
        self._known: dict[str, Caller] = {}
        self._revoked: dict[tuple[str, bool], float] = {}
        self._issued_before: dict[str, tuple[float, float]] = {}
        self._changes = 0
        self._bus = bus
        if bus is not None:
            bus.on("sessions.token_revoked", self._token_revoked)
            bus.on("sessions.user_revoked", self._user_revoked)

    async def load(self) -> None:
        """Take all revocations into memory: those of earlier runs, those of other nodes that we were not told of."""
        while True:
            changes = self._changes
            tokens, users = await self._store.load(self._now())
            if changes == self._changes:
                break
            # What was noted while the store was read may be missing in what was read.
        self._revoked = {(token_id, refresh): expires_at for token_id, refresh, expires_at in tokens}
        self._issued_before = {user_id: (before, expires_at) for user_id, before, expires_at in users}

    def _token_revoked(self, sender: str, payload: bytes) -> None:
        token_id, refresh, until = msgspec.msgpack.decode(payload, type=tuple[str, bool, float])
        self._note_token(token_id, refresh, until)

    def _user_revoked(self, sender: str, payload: bytes) -> None:
        user_id, before, until = msgspec.msgpack.decode(payload, type=tuple[str, float, float])
        self._note_user(user_id, before, until)

    def _note_token(self, token_id: str, refresh: bool, until: float) -> None:
        self._changes += 1
        self._revoked[token_id, refresh] = until

    def _note_user(self, user_id: str, before: float, until: float) -> None:
        self._changes += 1
        self._issued_before[user_id] = (before, until)

    def _tell(self, topic: str, *what: Any) -> None:
        if self._bus is not None:
            self._bus.broadcast(topic, msgspec.msgpack.encode(what))

    def issue(self, user_id: str, username: str, vars: dict[str, str]) -> TokenPair:
        """A new pair of tokens."""
        now = int(self._now())
        return self._pair(new_id(), user_id, username, vars, now, now)

    def _pair(self, token_id: str, user_id: str, username: str, vars: dict[str, str], iat: int, now: int) -> TokenPair:
        claims = Claims(token_id, user_id, username, now + self._settings.token_seconds, iat, vars)
        token = self._session_tokens.sign(claims)
        claims.exp = now + self._settings.refresh_token_seconds
        return TokenPair(token, self._refresh_tokens.sign(claims))

    def verify(self, token: str) -> Caller | None:
        """The caller of a valid, unexpired, unrevoked session token, else None."""
        caller = self._known.get(token)
        if caller is None:
            claims = self._session_tokens.check(token)
            if claims is None or not _is_id(claims.uid):
                return None
            caller = Caller(claims.uid, claims.usn, claims.vrs, claims.tid, claims.exp, claims.iat)
            if len(token) <= KNOWN_TOKEN_CHARS_MAX:
                if len(self._known) >= KNOWN_TOKENS_MAX:
                    # Oldest first, as dictionaries keep their order: no bookkeeping on the way in.
                    del self._known[next(iter(self._known))]
                self._known[token] = caller
        if caller.expires_at <= self._now():
            self._known.pop(token, None)
            return None
        if (self._issued_before or self._revoked) and self._is_revoked(
            caller.user_id, caller.token_id, caller.issued_at, refresh=False
        ):
            return None
        return caller

    def lasts(self, user_id: str, token_id: str, logged_in_at: int) -> bool:
        """See Sessions.lasts."""
        return not self._is_revoked(user_id, token_id, logged_in_at, refresh=False)

    def _is_revoked(self, user_id: str, token_id: str, logged_in_at: int, *, refresh: bool) -> bool:
        # The log-in counts, not the latest refresh: a refresh that overtakes a log-out must not outlive it.
        if (token_id, refresh) in self._revoked:
            return True
        entry = self._issued_before.get(user_id)
        return entry is not None and logged_in_at < entry[0]

    def read_refresh(self, token: str) -> Claims:
        """The claims of a refresh token that may be used. Raises InvalidArgument, RefreshTokenInvalid."""
        if not token:
            raise InvalidArgument("Refresh token is required.")
        claims = self._refresh_tokens.check(token)
        if claims is None or claims.exp <= self._now() or not _is_id(claims.uid):
            raise RefreshTokenInvalid
        if self._is_revoked(claims.uid, claims.tid, claims.iat, refresh=True):
            raise RefreshTokenInvalid
        return claims

    def renew(self, claims: Claims, username: str, vars: dict[str, str]) -> TokenPair:
        """A fresh pair for a refresh token: same token id and first log-in, current name, kept or given vars."""
        return self._pair(claims.tid, claims.uid, username, vars or claims.vrs, claims.iat, int(self._now()))

    async def logout(self, caller: Caller, token: str, refresh_token: str) -> None:
        """Void the given tokens of the caller, or all of them when none is given. Raises TokenInvalid."""
        if not token and not refresh_token:
            await self.revoke_user(caller.user_id)
            await self._revoke_token(caller.token_id, refresh=True)
            await self._revoke_token(caller.token_id, refresh=False)
            return
        session = self._own(token, self._session_tokens, caller, "Session token invalid.")
        refresh = self._own(refresh_token, self._refresh_tokens, caller, "Refresh token invalid.")
        # The session token last: should the database fail in between, it is what the caller tries again with.
        if refresh is not None:
            await self._revoke_token(refresh.tid, refresh=True)
        if session is not None:
            await self._revoke_token(session.tid, refresh=False)

    async def _revoke_token(self, token_id: str, *, refresh: bool) -> None:
        # A revoked session token must stay so for as long as its refresh token could bring the same id back.
        until = int(self._now()) + self._settings.refresh_token_seconds + self._settings.token_seconds
        await self._store.revoke_token(token_id, refresh, until)
        self._note_token(token_id, refresh, until)
        self._tell("sessions.token_revoked", token_id, refresh, until)

    def _own(self, token: str, signer: Signer[Claims], caller: Caller, message: str) -> Claims | None:
        if not token:
            return None
        claims = signer.check(token)
        if claims is None or claims.uid != caller.user_id or claims.exp <= self._now():
            raise TokenInvalid(message)
        return claims

    async def revoke_user(self, user_id: str) -> None:
        """Void all tokens of log-ins before this second."""
        await self._revoke(user_id, math.floor(self._now()))

    async def revoke_for_good(self, user_id: str) -> None:
        """Void all tokens of a player, whenever they were or will be issued, until the last of them has expired."""
        await self._revoke(user_id, FOR_GOOD)

    async def readmit(self, user_id: str) -> None:
        """Let tokens of log-ins from this second on be valid again; older ones stay void."""
        entry = self._issued_before.get(user_id)
        if entry is not None and entry[0] > self._now():
            since = math.floor(self._now())
            await self._store.readmit(user_id, since)
            self._note_user(user_id, since, entry[1])
            self._tell("sessions.user_revoked", user_id, since, entry[1])

    async def _revoke(self, user_id: str, issued_before: float) -> None:
        until = self._now() + max(self._settings.token_seconds, self._settings.refresh_token_seconds)
        await self._store.revoke_user(user_id, issued_before, until)
        earlier = self._issued_before.get(user_id, (0.0, 0.0))
        entry = max(issued_before, earlier[0]), max(until, earlier[1])
        self._note_user(user_id, *entry)
        self._tell("sessions.user_revoked", user_id, *entry)

    async def forget_expired(self) -> None:
        """Drop revocations that no longer matter, in memory and on disk."""
        now = self._now()
        self._revoked = {key: until for key, until in self._revoked.items() if until > now}
        self._issued_before = {user: entry for user, entry in self._issued_before.items() if entry[1] > now}
        await self._store.forget(now)


def _is_id(text: str) -> bool:
    try:
        return parse_id(text) == text
    except ValueError:
        return False
