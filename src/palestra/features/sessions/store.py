"""Revocations on disk, so that they survive a restart."""

from __future__ import annotations

from palestra.core.clock import utc
from palestra.database.pool import Database
from palestra.database.queries import load_queries

SQL = load_queries(__file__)


class SessionStore:
    """Rows of revoked tokens and players. Times are unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revoke_token(self, token_id: str, refresh: bool, expires_at: float) -> None:
        """Void one token; `refresh` says for which of its two uses."""
        await self._database.execute(SQL["revoke_token"], token_id, refresh, utc(expires_at))

    async def revoke_user(self, user_id: str, issued_before: float, expires_at: float) -> None:
        """Void all tokens of a player's log-ins before a moment."""
        await self._database.execute(SQL["revoke_user"], user_id, utc(issued_before), utc(expires_at))

    async def readmit(self, user_id: str, since: float) -> None:
        """Void only tokens of a player's log-ins before `since`, whatever was void until now."""
        await self._database.execute(SQL["readmit_user"], user_id, utc(since))

    async def load(self, now: float) -> tuple[list[tuple[str, bool, float]], list[tuple[str, float, float]]]:
        """(token id, refresh, expires at) and (user id, issued before, expires at) of all that still matters."""
        tokens = await self._database.fetch(SQL["revoked_tokens"], utc(now))
        users = await self._database.fetch(SQL["revoked_users"], utc(now))
        return [tuple(row) for row in tokens], [tuple(row) for row in users]

    async def forget(self, now: float) -> None:
        """Drop what no longer matters."""
        await self._database.execute(SQL["forget_tokens"], utc(now))
        await self._database.execute(SQL["forget_users"], utc(now))
