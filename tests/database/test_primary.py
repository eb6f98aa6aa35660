"""Which host takes writes: what a URL names, and what happens when a server is or becomes a standby."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from palestra.core.errors import SetupError, Unavailable
from palestra.database.batch import Batch
from palestra.database.pool import Database
from palestra.database.primary import hosts_of


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://palestra:secret@db/game", [{}]),
        ("postgresql://palestra@/game?host=%2Frun%2Fpg", [{}]),
        ("postgresql://p:s@a,b:6000/game", [{"host": "a", "port": 5432}, {"host": "b", "port": 6000}]),
        ("postgresql://p@/game?host=a,b&port=1,2", [{"host": "a", "port": 1}, {"host": "b", "port": 2}]),
        ("postgresql://p@/game?host=a,b&port=7", [{"host": "a", "port": 7}, {"host": "b", "port": 7}]),
        ("postgresql://p@[::1]:1,[::2]/game", [{"host": "::1", "port": 1}, {"host": "::2", "port": 5432}]),
        ("postgresql://p@/game?host=/a,/b", [{"host": "/a", "port": 5432}, {"host": "/b", "port": 5432}]),
    ],
)
def test_a_url_names_one_host_or_several(url: str, hosts: list[dict[str, Any]]) -> None:
    assert hosts_of(url) == hosts


@pytest.mark.parametrize("url", ["postgresql://p@a:x,b/game", "postgresql://p@a,,b/game", "postgresql://p@a,:1/game"])
def test_a_host_that_cannot_be_read_is_refused_with_the_form_that_can(url: str) -> None:
    with pytest.raises(SetupError, match="host:port"):
        Database(url)


async def test_hosts_that_are_away_are_passed_over(database_url: str, tmp_path: Path) -> None:
    here = database_url.partition("host=")[2]
    database = Database(database_url.replace(f"host={here}", f"host={tmp_path},{here}"))
    connection = await database.connect()
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_without_a_server_that_takes_writes_the_database_is_away(database: Database) -> None:
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Unavailable):
        await database.connect()
    replica = Database(database.url, writable=False)
    connection = await replica.connect()
    assert await connection.fetchval("SHOW transaction_read_only") == "on"
    await connection.close()


async def test_a_transaction_on_a_server_that_has_become_a_standby_is_refused_and_the_next_is_on_another(
    database: Database,
) -> None:
    await database.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
    first = await database.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(Unavailable):
        async with database.transaction() as tx:
            await tx.execute("SET TRANSACTION READ ONLY")
            await tx.execute("INSERT INTO numbers VALUES (1)")
    assert await database.fetchval("SELECT pg_backend_pid()") != first
    assert await database.fetchval("SELECT count(*) FROM numbers") == 0


async def test_what_a_standby_refuses_is_sent_to_the_next_server_though_it_may_not_be_done_twice(
    database: Database,
) -> None:
    await database.execute("CREATE TABLE numbers (n int)")

    async def insert(connection: asyncpg.Connection, items: list[int]) -> list[int]:
        await connection.execute("INSERT INTO numbers SELECT unnest($1::int[])", items)
        return items

    batch: Batch[int, int] = Batch("test", database, insert)
    await batch.submit(1)
    held = batch._lanes[0].connection
    assert held is not None
    await held.execute("SET default_transaction_read_only = on")
    assert await asyncio.gather(batch.submit(2), batch.submit(3)) == [2, 3]
    assert batch._lanes[0].connection is not held
    assert await database.fetchval("SELECT count(*) FROM numbers") == 3
    await batch.stop()


async def test_older_connections_are_cut_and_newer_ones_are_not(database: Database) -> None:
    old = await database.connect()
    asking = asyncio.create_task(old.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0)
    moment = asyncio.get_running_loop().time()
    new = await database.connect()
    database.drop_older(moment)
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError)):
        await asking
    assert old.is_closed()
    assert await new.fetchval("SELECT 1") == 1
    await new.close()
