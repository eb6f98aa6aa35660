"""Reading pages in crowds: many callers of a feature's statements share its round trips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import asyncpg

from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.replicas import Reads

LANES = 2
ROWS_MAX = 20_000
"""About how many rows a round may bring."""

Rows = list[tuple[Any, ...]]


class _Request(NamedTuple):
    """What somebody wants to read: the arguments of a statement, and how many rows that may be."""

    sql: str
    arguments: tuple[Any, ...]
    rows: int


class Lookups:
    """The reads of a feature, on two held connections and two to each replica.

    A round takes a trip for each statement that is asked for.

    A statement takes an array for each argument and returns first the number of the request, from 1 on:

        SELECT w.nr, found.* FROM unnest($1::uuid[], $2::integer[]) WITH ORDINALITY AS w (user_id, size, nr)
        CROSS JOIN LATERAL (SELECT … WHERE user_id = w.user_id ORDER BY … LIMIT w.size) AS found
    """

    def __init__(self, name: str, database: Database, settings: DatabaseSettings) -> None:

        def make(name: str, database: Database) -> Batch[_Request, Rows]:
            return Batch(
                name,
                database,
                _fetch,
                size_bytes=lambda request: request.rows,
                bytes_max=ROWS_MAX,
                rows_max=settings.batch_rows_max,
                queue_max=settings.batch_queue_max,
                lanes=LANES,
                idempotent=True,
            )

        self._reads = Reads(name, database, make)
        self.batches = self._reads.batches

    def of(self, sql: str, rows: Callable[..., int] = lambda *arguments: 1) -> Callable[..., Awaitable[Rows]]:
        """A statement as a function of one request's arguments, which answers its rows without the number.

        `rows` tells from the arguments how many there may be. Equal requests that travel together are given the same
        list: leave it as it is. Raises Overloaded, Unavailable.
        """
        submit = self._reads.submit
        return lambda *arguments: submit(_Request(sql, arguments, rows(*arguments)))


def by_limit(*arguments: Any) -> int:
    """How many rows there may be where the last argument limits them."""
    return arguments[-1]


async def _fetch(connection: asyncpg.Connection, requests: list[_Request]) -> list[Rows]:
    asked: dict[str, dict[tuple[Any, ...], None]] = {}
    for request in requests:
        asked.setdefault(request.sql, {})[request.arguments] = None
    answers: dict[tuple[str, tuple[Any, ...]], Rows] = {}
    for sql, wanted in asked.items():
        found: dict[int, Rows] = defaultdict(list)
        for row in await connection.fetch(sql, *zip(*wanted, strict=True)):
            found[row[0]].append(row[1:])
        answers.update({(sql, arguments): found[number] for number, arguments in enumerate(wanted, 1)})
    return [answers[request.sql, request.arguments] for request in requests]
