"""Fixtures for everybody: a real PostgreSQL, and a fresh migrated database for each test that asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
import structlog

from palestra.database.embedded import EmbeddedPostgres
from palestra.database.migrate import migrate
from palestra.database.pool import Database

pytest_plugins = ["tests.deadline"]

TEMPLATE = "palestra_template"
STATEMENT_SECONDS_MAX = 60.0


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Logs of nodes inside tests as plain text: the pretty tracebacks of the default take a second each."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of this test process's own, in which a migrated template database waits to be cloned."""
    # What tests write may be lost with the machine: without fsync a clone takes a tenth of the time.
    settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), extra_settings=settings)

    async def prepare() -> str:
        url = await server.start()
        await _run(url, f"CREATE DATABASE {TEMPLATE}")
        connection = await asyncpg.connect(_named(url, TEMPLATE))
        await migrate(connection)
        await connection.close()
        return url

    try:
        yield asyncio.run(prepare())
    finally:
        asyncio.run(server.stop())


@asynccontextmanager
async def _fresh(postgres_url: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    await _run(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        yield _named(postgres_url, name)
    finally:
        await _run(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database of this test's own."""
    async with _fresh(postgres_url) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_database_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database that the tests of one file share."""
    async with _fresh(postgres_url) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open Database on a fresh, migrated database."""
    database = Database(database_url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, command_timeout=STATEMENT_SECONDS_MAX)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _named(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")
