"""Asking a server again and again whether it answers: the primary, for connections that lead nowhere, and replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

from palestra.core.errors import PalestraError, SetupError
from palestra.core.log import get_logger
from palestra.database.pool import Database

log = get_logger(__name__)
ASK_SECONDS = 0.1
ASK_SECONDS_ALONE = 1.0
"""Of a primary without replicas, where only the connections' end is to be noticed."""
ANSWER_SECONDS_MAX = 3.0
"""A server that has not answered by then is asked over another connection."""
# Where the log of changes ends here: on a primary what was written last, on a standby what was applied last. Only a
# primary whose commits wait for the disk has flushed all it has acknowledged; what is inserted is never less.
POSITION = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
    - '0/0'::pg_lsn
"""
_FAILURES = (
    OSError,
    PalestraError,
    SetupError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

PING = "SELECT 0"
"""What is asked where the position matters to nobody; servers that only resemble PostgreSQL know no such position."""
Told = Callable[[float, int], None]
"""Called with the loop's time at which it was asked, and how far the log of changes is, in bytes."""


class Watch:
    """A connection over which a server is asked over and over where its log of changes ends, or just whether it lives.

    A machine that is gone says nothing, and its connections hang for minutes. When an answer has not come and a new
    connection brings one, all older connections of this database are cut; what is in flight on them ends as lost.
    """

    def __init__(self, database: Database, told: Told | None = None) -> None:
        self._database = database
        self._told = told
        self._ask_seconds = ASK_SECONDS if told is not None else ASK_SECONDS_ALONE
        self._connection: asyncpg.Connection | None = None
        self._silent = False
        """Since a connection was given up, none has been answered."""

    async def run(self) -> None:
        """Ask for ever; cancel it to stop."""
        try:
            while True:
                await self._ask()
                await asyncio.sleep(self._ask_seconds)
        finally:
            self._hang_up()

    async def _ask(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            if self._connection is None:
                self._connection = await self._database.connect()
            await self._told_by(self._connection)
        except _FAILURES as error:
            # Silence is what nobody else notices, and nobody at all notices a server that is away behind a pooler.
            self._silent = self._silent or (self._connection is not None and isinstance(error, TimeoutError))
            self._hang_up()
            self._database.seems_away()
            return
        if self._silent:
            self._silent = False
            log.warning("connections to the database lead nowhere, they are made anew")
            self._database.drop_older(began)

    async def _told_by(self, connection: asyncpg.Connection) -> None:
        asked_at = asyncio.get_running_loop().time()
        statement = PING if self._told is None else POSITION
        position = await connection.fetchval(statement, timeout=ANSWER_SECONDS_MAX)
        # A replica that has applied nothing yet is of no use.
        if position is not None and self._told is not None:
            self._told(asked_at, int(position))

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
