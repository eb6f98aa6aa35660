"""Session operations over HTTP."""

from __future__ import annotations

from palestra.features.accounts.contract import AccountNotFound, Users
from palestra.features.sessions import wire
from palestra.features.sessions.contract import SessionWire
from palestra.features.sessions.service import SessionService
from palestra.gateway.operation import Call


class SessionRoutes:
    """Decode, call, encode."""

    def __init__(self, sessions: SessionService, users: Users) -> None:
        self._sessions = sessions
        self._users = users

    async def refresh(self, call: Call, request: wire.RefreshRequest) -> SessionWire:
        """A new pair of tokens for a refresh token; the player must still exist and not be banned."""
        claims = self._sessions.read_refresh(request.token)
        name = await self._users.username_for_login(claims.uid)
        if name is None:
            raise AccountNotFound
        pair = self._sessions.renew(claims, name, request.vars)
        return SessionWire(token=pair.token, refresh_token=pair.refresh_token)

    async def logout(self, call: Call, request: wire.LogoutRequest) -> None:
        """Void tokens of the caller."""
        await self._sessions.logout(call.player, request.token, request.refresh_token)
