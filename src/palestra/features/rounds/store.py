"""The rows of rounds: written beside entries of the ledger, or by themselves where no money moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg
import msgspec

from palestra.core.config import DatabaseSettings
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.features.rounds.contract import PLAYERS_MAX, Ending, Round, RoundChanged, Stake
from palestra.features.rounds.rules import Position, Stored, json_text

SQL = load_queries(__file__)
READ_LANES = 2
ROUND_BYTES = 8192
"""What a round counts in a round trip: its texts are known only once it is read."""

_objects = msgspec.json.Decoder(dict[str, Any]).decode
_amounts = msgspec.json.Decoder(dict[str, int]).decode
_triples = msgspec.json.Decoder(tuple[tuple[str, str, int], ...]).decode


class NewStakes(msgspec.Struct, frozen=True):
    """Stakes that one call adds to a round."""

    round: Round
    stake_id: str
    stakes: tuple[Stake, ...]


class Ended(msgspec.Struct, frozen=True):
    """A round, with the stakes that it is believed to have, and how it is to end."""

    round: Round
    ending: Ending


class Rows:
    """Rows of rounds, written by one statement: all of them, or RoundChanged. Implements the ledger's `Beside`.

    `columns` turns them into the statement's arguments, of which the first names every round that is to be written.
    """

    def __init__(self, statement: str, columns: Callable[[list[Any]], tuple[Any, ...]]) -> None:
        self._statement = statement
        self._columns = columns

    async def write(self, connection: asyncpg.Connection, rows: list[Any]) -> None:
        """Write rows in an open transaction. Raises RoundChanged when any of them cannot be written."""
        columns = self._columns(rows)
        if len(await connection.fetch(self._statement, *columns)) != len(columns[0]):
            raise RoundChanged


class RoundStore:
    """Reads and writes the tables of rounds."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._database = database
        self.openings = Rows(SQL["open"], _opening_columns)
        self.stakes = Rows(SQL["stake"], _stake_columns)
        self.endings = Rows(SQL["finish"], _ending_columns)
        self._open_alone = self._alone("rounds.open", self.openings, settings)
        self._end_alone = self._alone("rounds.end", self.endings, settings)
        self._reads: Batch[str, Stored | None] = Batch(
            "rounds.read",
            database,
            _read,
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            size_bytes=lambda _: ROUND_BYTES,
            lanes=READ_LANES,
            idempotent=True,
        )
        self.batches = [self._open_alone, self._end_alone, self._reads]

    def _alone(self, name: str, rows: Rows, settings: DatabaseSettings) -> Batch[Any, None]:
        return Batch(
            name,
            self._database,
            partial(_write_alone, rows),
            rows_max=settings.batch_rows_max,
            queue_max=settings.batch_queue_max,
            size_bytes=lambda _: ROUND_BYTES,
        )

    async def stop(self) -> None:
        """Finish what is queued and close the connections of the batches."""
        for batch in self.batches:
            await batch.stop()

    async def open_alone(self, round: Round) -> None:
        """Open a round for which nothing is held. Raises RoundChanged when it exists."""
        await self._open_alone.submit(round)

    async def end_alone(self, ended: Ended) -> None:
        """End a round for which no money moves. Raises RoundChanged when it is over or has other stakes."""
        await self._end_alone.submit(ended)

    async def read(self, round_id: str) -> Stored | None:
        """A round, in a round trip shared with others."""
        return await self._reads.submit(round_id)

    async def list_of(self, player_id: str, after: Position, limit: int) -> list[Round]:
        """Up to `limit` rounds of a player behind a position. One round trip."""
        rows = await self._database.fetch(SQL["list_of"], player_id, after.at, after.id, limit)
        return [_stored(row).round for row in rows]

    async def overdue(self, now: datetime, after: Position, limit: int) -> list[Position]:
        """Up to `limit` open rounds whose deadline is over, behind a position. One round trip."""
        rows = await self._database.fetch(SQL["overdue"], now, after.at, after.id, limit)
        return [Position(row[0], row[1]) for row in rows]

    async def forget(self, tx: asyncpg.Connection, player_id: str) -> None:
        """Delete a player's list in the given transaction."""
        await tx.execute(SQL["forget"], player_id)


async def _write_alone(rows: Rows, connection: asyncpg.Connection, items: list[Any]) -> list[None]:
    async with connection.transaction():
        await rows.write(connection, items)
    return [None] * len(items)


async def _read(connection: asyncpg.Connection, ids: list[str]) -> list[Stored | None]:
    found = {row["id"]: _stored(row) for row in await connection.fetch(SQL["read"], sorted(set(ids)))}
    return [found.get(round_id) for round_id in ids]


def _stored(row: asyncpg.Record) -> Stored:
    later = _triples(row["later"]) if row["later"] else ()
    opening = (Stake(player_id, amount) for player_id, amount in _amounts(row["stakes"]).items())
    ending = None
    if row["how"] is not None:
        ending = Ending(
            row["how"],
            row["end_version"],
            row["ended_at"],
            row["reason"],
            _amounts(row["payouts"]),
            _objects(row["result"]),
            _objects(row["fair"]),
        )
    round = Round(
        row["id"],
        row["game"],
        row["version"],
        row["asset"],
        _objects(row["inputs"]),
        (*opening, *(Stake(player_id, amount) for _, player_id, amount in later)),
        row["policy"],
        row["opened_at"],
        row["deadline"],
        ending,
    )
    return Stored(round, later)


def _opening_columns(rounds: list[Round]) -> tuple[Any, ...]:
    players = [(one, stake.player_id) for one in rounds for stake in one.stakes]
    return (
        [one.id for one in rounds],
        [one.game for one in rounds],
        [one.version for one in rounds],
        [one.asset for one in rounds],
        [json_text({stake.player_id: stake.amount for stake in one.stakes}) for one in rounds],
        [json_text(one.inputs) for one in rounds],
        [one.policy for one in rounds],
        [one.opened_at for one in rounds],
        [one.deadline for one in rounds],
        [player_id for _, player_id in players],
        [one.opened_at for one, _ in players],
        [one.id for one, _ in players],
        [len(one.stakes) for one in rounds],
    )


def _stake_columns(given: list[NewStakes]) -> tuple[Any, ...]:
    stakes = [(new, stake) for new in given for stake in new.stakes]
    counts = Counter(new.round.id for new, _ in stakes)
    return (
        list(counts),
        list(counts.values()),
        PLAYERS_MAX,
        [new.round.id for new, _ in stakes],
        [new.stake_id for new, _ in stakes],
        [stake.player_id for _, stake in stakes],
        [stake.amount for _, stake in stakes],
        [new.round.opened_at for new, _ in stakes],
    )


def _ending_columns(given: list[Ended]) -> tuple[Any, ...]:
    return (
        [one.round.id for one in given],
        [len(one.round.stakes) for one in given],
        [one.ending.how for one in given],
        [one.ending.version for one in given],
        [one.ending.reason for one in given],
        [json_text(one.ending.payouts) for one in given],
        [json_text(one.ending.result) for one in given],
        [json_text(one.ending.fair) for one in given],
        [one.ending.ended_at for one in given],
    )
