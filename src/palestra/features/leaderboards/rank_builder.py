"""Builds the ranks of a period in Valkey from PostgreSQL: one node at a time, beside what is answered meanwhile."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from palestra.cluster.script_servers import Call
from palestra.cluster.scripts import Scripts
from palestra.core.clock import utc
from palestra.core.errors import PalestraError, Unavailable
from palestra.core.log import get_logger
from palestra.core.tasks import Tasks
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.leaderboards.shared_ranks import SharedRanks, news_of

SQL = load_queries(__file__)
BUILD_ROWS = 500
"""Rows in one call: a few milliseconds in which Valkey does nothing else."""
BUILDS_MAX = 2
"""Builds at a time on one node, each with a connection to the database of its own."""
BEFORE_ALL = (-1, 0, bytes(16))
"""A place in the order of a board that no record has."""
RETRY_SECONDS = 1.0
OTHER_SECONDS = 0.1
"""How soon to look again where another node builds."""

log = get_logger(__name__)


class RankBuilder:
    """Fills ranks that are missing or doubted.

    Rows are read piece by piece, each as it stands by then, and never override what is newer; so writes go on.
    Whoever began has the right to go on, which ends with a silence of fifteen seconds, with somebody's doubt, or with
    the life of the server: then what was built is thrown away.
    """

    def __init__(self, scripts: Scripts, database: Database, tasks: Tasks) -> None:
        self._scripts = scripts
        self._database = database
        self._tasks = tasks
        self._under_way: set[SharedRanks] = set()
        self._slots = asyncio.Semaphore(BUILDS_MAX)
        self.built = 0

    def build(self, ranks: SharedRanks) -> None:
        """Build in the background, unless that is under way; whoever needs the ranks asks again if it fails."""
        if ranks not in self._under_way:
            self._under_way.add(ranks)
            self._tasks.spawn(self._build(ranks), "ranks in Valkey")

    async def _build(self, ranks: SharedRanks) -> None:
        try:
            async with self._slots:
                done = await self._filled(ranks)
            if not done:
                await asyncio.sleep(OTHER_SECONDS)
        except (PalestraError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("ranks are not built", leaderboard=ranks.id, error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._under_way.discard(ranks)

    async def _filled(self, ranks: SharedRanks) -> bool:
        """Fill from the database; False when another node does, or what was built cannot be trusted."""
        await self._scripts.look()
        life, token = self._scripts.life_of(ranks.keys[0]), secrets.token_hex(8)
        if not await self._call(ranks, "begin", token, life):
            return False
        connection = await self._database.connect()
        try:
            place: tuple[int, int, bytes] | None = BEFORE_ALL
            while place is not None:
                score, subscore, owner = place
                rows = await connection.fetch(
                    SQL["read_versions"], ranks.id, utc(ranks.ends_at), score, subscore, UUID(bytes=owner), BUILD_ROWS
                )
                news = b"".join(news_of(*row) for row in rows)
                if not await self._call(ranks, "fill", token, news):
                    return False
                place = (rows[-1][1], rows[-1][2], rows[-1][0]) if len(rows) == BUILD_ROWS else None
        finally:
            await connection.close()
        # A server that took over meanwhile may not have got all.
        await self._scripts.look()
        if self._scripts.life_of(ranks.keys[0]) != life or not await self._call(ranks, "finish", token, life):
            return False
        self.built += 1
        return True

    async def reread(self, ranks: SharedRanks, owners: Sequence[bytes]) -> dict[bytes, bytes]:
        """The news of some owners as of now; those who have no record are absent. One round trip."""
        ids = [UUID(bytes=owner) for owner in owners]
        rows = await self._database.fetch(SQL["read_versions_of"], ranks.id, utc(ranks.ends_at), ids)
        return {row[0]: news_of(*row) for row in rows}

    async def _call(self, ranks: SharedRanks, *arguments: str | bytes) -> bool:
        (reply,) = await self._scripts.run([Call(ranks.keys, arguments)])
        if isinstance(reply, Exception):
            raise Unavailable(f"Valkey refuses: {reply}") from reply
        return bool(reply)
