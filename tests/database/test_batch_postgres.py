"""The promises of a batch, kept by a real PostgreSQL: locks, errors, commits and connections that die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from palestra.core.errors import OutcomeUnknown
from palestra.database.batch import Batch
from palestra.database.pool import Database

Add = tuple[int, int]

ADD_ORDERED = """
WITH given AS (SELECT * FROM unnest($1::int[], $2::bigint[]) WITH ORDINALITY g (id, amount, position)),
locked AS (SELECT r.id FROM register r JOIN given g ON g.id = r.id ORDER BY r.id FOR UPDATE OF r)
UPDATE register r SET value = r.value + g.amount FROM given g JOIN locked l ON l.id = g.id WHERE r.id = g.id
RETURNING r.id, r.value
"""
ADD_UNORDERED = ADD_ORDERED.replace("ORDER BY r.id FOR UPDATE", "ORDER BY g.position FOR UPDATE")
ROWS = 100


async def add(connection: asyncpg.Connection, items: list[Add], statement: str = ADD_ORDERED) -> list[int]:
    rows = await connection.fetch(statement, [id for id, _ in items], [amount for _, amount in items])
    values = {row["id"]: row["value"] for row in rows}
    return [values[id] for id, _ in items]


async def add_unordered(connection: asyncpg.Connection, items: list[Add]) -> list[int]:
    return await add(connection, items, ADD_UNORDERED)


@pytest.fixture
async def registers(database: Database) -> Database:
    await database.execute("CREATE TABLE register (id int PRIMARY KEY, value bigint NOT NULL CHECK (value >= 0))")
    await database.execute(f"INSERT INTO register SELECT id, 0 FROM generate_series(1, {ROWS}) id")
    return database


@pytest.fixture
async def make(registers: Database) -> AsyncIterator[Callable[..., Batch[Any, Any]]]:
    """Makes batches that are stopped when the test ends."""
    async with AsyncExitStack() as ends:

        def build(execute: Any = add, **settings: Any) -> Batch[Any, Any]:
            batch: Batch[Any, Any] = Batch("test", registers, execute, **settings)
            ends.push_async_callback(batch.stop)
            return batch

        yield build


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def waiting_for_locks(database: Database, count: int) -> list[int]:
    """The server processes that wait for a lock, as soon as there are `count`."""
    async with asyncio.timeout(10):
        while True:
            rows = await database.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if len(rows) == count:
                return [row["pid"] for row in rows]
            await asyncio.sleep(0.005)


async def meet_in_the_middle(
    database: Database, other: asyncpg.Connection, upward: Batch[Add, int], downward: Batch[Add, int]
) -> list[int]:
    """Two batches take the same rows from opposite ends while the row in the middle is held until both stand still."""
    held = other.transaction()
    await held.start()
    await other.execute("SELECT FROM register WHERE id = $1 FOR UPDATE", ROWS // 2)
    results = [upward.submit((id, 1)) for id in range(1, ROWS + 1)]
    results += [downward.submit((id, 1)) for id in range(ROWS, 0, -1)]
    await waiting_for_locks(database, 2)
    await held.rollback()
    return await asyncio.gather(*results)


async def test_two_ordered_writers_of_the_same_rows_do_not_deadlock(
    make: Any, registers: Database, other: asyncpg.Connection
) -> None:
    upward, downward = make(), make()
    results = await meet_in_the_middle(registers, other, upward, downward)
    assert sorted(results) == [1] * ROWS + [2] * ROWS
    assert (upward.retries, downward.retries) == (0, 0)


async def test_the_same_two_writers_without_the_order_deadlock_and_yet_lose_nothing(
    make: Any, registers: Database, other: asyncpg.Connection
) -> None:
    upward, downward = make(add_unordered), make(add_unordered)
    results = await meet_in_the_middle(registers, other, upward, downward)
    # At least one of them was the victim; after that they may meet again.
    assert upward.retries + downward.retries >= 1
    assert sorted(results) == [1] * ROWS + [2] * ROWS


async def test_ordered_writers_never_deadlock_over_many_rounds(make: Any, registers: Database) -> None:
    batches = [make(rows_max=40), make(rows_max=40)]

    async def write(batch: Batch[Add, int], stride: int) -> None:
        for turn in range(60):
            # A stride coprime to the number of rows visits each once, in an order unlike the other writer's.
            await asyncio.gather(*(batch.submit((1 + (turn + n * stride) % ROWS, 1)) for n in range(ROWS)))

    await asyncio.gather(write(batches[0], 37), write(batches[1], 83))
    assert [batch.retries + batch.splits for batch in batches] == [0, 0]
    assert await registers.fetchval("SELECT array_agg(DISTINCT value) FROM register") == [120]


async def test_items_of_one_key_see_each_other_in_order(make: Any) -> None:
    batch = make(key=lambda item: item[0], lanes=2)
    results = await asyncio.gather(*(batch.submit((id, 1)) for _ in range(10) for id in (1, 2)))
    assert results == [n for n in range(1, 11) for _ in (1, 2)]
    assert batch.splits == 0


async def test_a_poison_item_fails_alone(make: Any, registers: Database) -> None:
    batch = make()
    poison = [(2, -5), (3, "not a number")]
    for item in poison:
        results = await asyncio.gather(*(batch.submit(i) for i in [(1, 1), item, (4, 1)]), return_exceptions=True)
        assert isinstance(results[1], asyncpg.CheckViolationError | asyncpg.DataError)
        assert [type(result) for result in results] == [int, type(results[1]), int]
    assert await registers.fetch("SELECT id, value FROM register WHERE value <> 0 ORDER BY id") == [(1, 2), (4, 2)]
    assert batch.splits == 2


async def test_a_result_is_seen_by_others_once_it_is_known(make: Any, other: asyncpg.Connection) -> None:
    async def add_in_steps(connection: asyncpg.Connection, items: list[Add]) -> list[int]:
        async with connection.transaction():
            return await add(connection, items)

    for execute in (add, add_in_steps):
        batch = make(execute)
        for _ in range(20):
            value = await batch.submit((7, 1))
            assert await other.fetchval("SELECT value FROM register WHERE id = 7") == value


async def test_an_execute_that_forgets_to_commit_is_an_error_and_leaves_nothing_behind(
    make: Any, other: asyncpg.Connection
) -> None:
    async def forgetful(connection: asyncpg.Connection, items: list[Add]) -> list[int]:
        await connection.execute("BEGIN")
        return await add(connection, items)

    batch = make(forgetful)
    with pytest.raises(RuntimeError, match="left its transaction open"):
        await batch.submit((1, 1))
    assert await other.fetchval("SELECT value FROM register WHERE id = 1") == 0
    # Another row lock would wait for ever if the transaction lived on.
    await other.execute("SELECT FROM register WHERE id = 1 FOR UPDATE NOWAIT")


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_connection_killed_in_flight(
    make: Any, registers: Database, other: asyncpg.Connection, idempotent: bool
) -> None:
    batch = make(idempotent=idempotent)
    assert await batch.submit((1, 1)) == 1
    held = other.transaction()
    await held.start()
    await other.execute("SELECT FROM register WHERE id = 5 FOR UPDATE")
    in_flight = [batch.submit((5, 1)), batch.submit((6, 1))]
    (killed,) = await waiting_for_locks(registers, 1)
    queued = batch.submit((8, 1))
    assert await other.fetchval("SELECT pg_terminate_backend($1, 10000)", killed)
    if idempotent:
        (second,) = await waiting_for_locks(registers, 1)
        assert second != killed
        await held.rollback()
        assert await asyncio.gather(*in_flight) == [1, 1]
        assert batch.retries == 1
    else:
        outcomes = await asyncio.gather(*in_flight, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, OutcomeUnknown]
        await held.rollback()
    assert await queued == 1
    assert await batch.submit((8, 1)) == 2


async def test_a_connection_killed_while_idle_is_replaced_unnoticed(make: Any, other: asyncpg.Connection) -> None:
    used: list[asyncpg.Connection] = []

    async def noted(connection: asyncpg.Connection, items: list[Add]) -> list[int]:
        used.append(connection)
        return await add(connection, items)

    batch = make(noted)
    await batch.submit((1, 1))
    gone = asyncio.Event()
    used[0].add_termination_listener(lambda _: gone.set())
    assert await other.fetchval("SELECT pg_terminate_backend($1, 10000)", used[0].get_server_pid())
    await asyncio.wait_for(gone.wait(), 10)
    assert await batch.submit((1, 1)) == 2
    assert batch.retries == 0


async def test_a_statement_that_takes_too_long_is_ended_and_its_outcome_unknown(
    make: Any, registers: Database, other: asyncpg.Connection
) -> None:
    batch = make(statement_seconds_max=0.2)
    await batch.submit((1, 1))
    held = other.transaction()
    await held.start()
    await other.execute("SELECT FROM register WHERE id = 5 FOR UPDATE")
    with pytest.raises(OutcomeUnknown):
        await batch.submit((5, 1))
    # The server was told to stop as well: nobody is left in the queue for the row.
    await waiting_for_locks(registers, 0)
    await held.rollback()
    assert await batch.submit((5, 1)) == 1
