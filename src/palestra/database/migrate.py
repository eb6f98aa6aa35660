"""Bringing a database to the schema of this version: a small runner of numbered SQL files."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import asyncpg

from palestra.core.errors import SetupError, Unavailable
from palestra.database.pool import Database, connection_lost

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_UP = re.compile(r"^-- migrate:up[ \t]*$", re.MULTILINE)
_DOWN = re.compile(r"^-- migrate:down\b.*$", re.MULTILINE)
# Any number will do, as long as all nodes use the same and nobody else does.
_LOCK = 0x70616C65737472
ATTEMPTS_MAX = 5
"""How often a migration is tried that nodes which serve get in the way of."""
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    text PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class Migration(NamedTuple):
    """One file: `version` is its four digits, `checksum` the SHA-256 of its text, `sql` what brings the schema up."""

    version: str
    name: str
    checksum: str
    sql: str


async def migrate(
    target: asyncpg.Connection | Database,
    progress: Callable[[str], None] | None = None,
    *,
    folder: Traversable | None = None,
) -> list[str]:
    """Apply the migrations this database lacks and return their names, `progress` being told each before it runs.

    Several nodes may call this at once. Each file runs in a transaction of its own. Costs one round trip when there is
    nothing to do. Raises SetupError when an applied file was changed, when the database was migrated by a newer
    version, and when a file fails; nothing of that file is kept then. Unavailable when the database goes away.
    """
    wanted = read_migrations(folder or resources.files("palestra.database") / "migrations")
    if isinstance(target, asyncpg.Connection):
        return await _migrate(target, wanted, progress)
    connection = await target.connect_directly()
    try:
        return await _migrate(connection, wanted, progress)
    except Exception as error:
        if connection_lost(error, connection):
            raise Unavailable("The database went away while its tables were updated, try again.") from error
        raise
    finally:
        # Abruptly: saying goodbye to a server that is gone would raise over what happened.
        connection.terminate()


def read_migrations(folder: Traversable) -> list[Migration]:
    """The migrations of a folder in the order they apply. Raises SetupError when one has no proper name or form."""
    found: dict[str, Migration] = {}
    for file in folder.iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise SetupError(f"migration {file.name} must be named like 0007_what_it_does.sql")
        if match[1] in found:
            raise SetupError(f"two migrations have the number {match[1]}: {found[match[1]].name} and {file.name}")
        # A checkout with Windows line ends is the same migration.
        text = file.read_bytes().decode().replace("\r\n", "\n")
        parts = _UP.split(text)
        if len(parts) != 2:
            raise SetupError(f"migration {file.name} must have one line that says just `-- migrate:up`")
        checksum = hashlib.sha256(text.encode()).hexdigest()
        found[match[1]] = Migration(match[1], file.name, checksum, _DOWN.split(parts[1])[0])
    return [found[version] for version in sorted(found)]


async def _migrate(
    connection: asyncpg.Connection, wanted: list[Migration], progress: Callable[[str], None] | None
) -> list[str]:
    try:
        pending = _pending(wanted, await _applied(connection))
    except asyncpg.UndefinedTableError:
        pending = wanted
        async with connection.transaction():
            # Even `IF NOT EXISTS` fails when two sessions create the same table at the same moment.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(_TABLE)
    done = []
    for migration in pending:
        for attempt in itertools.count(1):
            try:
                if await _apply(connection, wanted, migration, progress):
                    done.append(migration.name)
                break
            except asyncpg.DeadlockDetectedError as error:
                # Nodes that serve meanwhile lock the same tables.
                if attempt == ATTEMPTS_MAX:
                    raise _failed(migration, error) from error
    return done


async def _apply(
    connection: asyncpg.Connection,
    wanted: list[Migration],
    migration: Migration,
    progress: Callable[[str], None] | None,
) -> bool:
    """Whether it was ours to apply. Raises SetupError; DeadlockDetectedError if it is to be tried again."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # Another node may have been faster, or be of another version.
        if migration not in _pending(wanted, await _applied(connection)):
            return False
        if progress is not None:
            progress(migration.name)
        try:
            await connection.execute(migration.sql)
        except asyncpg.DeadlockDetectedError:
            raise
        except asyncpg.PostgresError as error:
            raise _failed(migration, error) from error
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )
    return True


def _failed(migration: Migration, error: Exception) -> SetupError:
    return SetupError(f"migration {migration.name} failed and was undone: {error}")


async def _applied(connection: asyncpg.Connection) -> dict[str, tuple[str, str]]:
    rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations")
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


def _pending(wanted: list[Migration], applied: dict[str, tuple[str, str]]) -> list[Migration]:
    """The migrations that are not applied. Raises SetupError when those that are do not fit this version."""
    known = {migration.version: migration for migration in wanted}
    newer = sorted(name for version, (name, _) in applied.items() if version not in known)
    if newer:
        raise SetupError(
            f"this database has migrations that this version of Palestra does not know: {', '.join(newer)}.\n"
            "It was used by a newer version: run that one, or restore a backup made before it."
        )
    for version, (name, checksum) in applied.items():
        if known[version].checksum != checksum:
            raise SetupError(
                f"migration {name} was changed after it was applied to this database.\n"
                "Bring the file back as it was and put the change into a new migration; a database that may be lost "
                "can be deleted and made afresh."
            )
    return [migration for migration in wanted if migration.version not in applied]
