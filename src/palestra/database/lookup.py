"""Reading pages in crowds: many callers of one statement share its round trips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.pool import Database

LANES = 2
ROWS_MAX = 20_000
"""About how many rows a round trip may bring."""


class Lookup:
    """Answers requests for rows, each a tuple of the same arguments, with the rows for that request.

    The statement takes an array for each argument and returns first the number of the request, from 1 on:

        SELECT w.nr, found.* FROM unnest($1::uuid[], $2::integer[]) WITH ORDINALITY AS w (user_id, size, nr)
        CROSS JOIN LATERAL (SELECT … WHERE user_id = w.user_id ORDER BY … LIMIT w.size) AS found

    `rows` tells from a request how many rows its answer may have. Rows come in the order of the inner statement,
    without the number. Equal requests that travel together are given the same list: leave it as it is.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        sql: str,
        settings: DatabaseSettings,
        rows: Callable[[Any], int] = lambda request: 1,
    ) -> None:
        self._sql = sql
        self.batch: Batch[tuple[Any, ...], list[tuple[Any, ...]]] = Batch(
            name,
            database,
            self._fetch,
            size_bytes=rows,
            bytes_max=ROWS_MAX,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            lanes=LANES,
            idempotent=True,
        )

    def __call__(self, *request: Any) -> Awaitable[list[tuple[Any, ...]]]:
        """(awaitable) The rows for a request. Raises Overloaded, Unavailable."""
        return self.batch.submit(request)

    async def _fetch(
        self, connection: asyncpg.Connection, requests: list[tuple[Any, ...]]
    ) -> list[list[tuple[Any, ...]]]:
        asked = list(dict.fromkeys(requests))
        found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in await connection.fetch(self._sql, *zip(*asked, strict=True)):
            found[row[0]].append(row[1:])
        answers = {request: found.get(number, []) for number, request in enumerate(asked, 1)}
        return [answers[request] for request in requests]
