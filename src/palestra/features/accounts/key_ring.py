"""One key ring for each database: which one that is, and what happens without it."""

from __future__ import annotations

from pathlib import Path

from palestra.core.errors import SetupError
from palestra.database.pool import Database
from palestra.database.queries import load_queries
from palestra.database.sealed import KeyRing, Sealer

SQL = load_queries(__file__)
SEALED = "the identifiers in the database are sealed"
MEND = """nobody could log in.
Bring the right file back from your backup or from another node, or name it in database.key_ring_file."""


async def open_key_ring(database: Database, file: Path) -> Sealer:
    """What the key ring in `file` seals with. One is made where neither the file nor the database knows of any.

    Of nodes that come to a new database at the same time one makes it, and the others find that out before they do.
    Raises SetupError when the database has another one, and then leaves no file.
    """
    async with database.transaction() as tx:
        await tx.execute(SQL["lock_key_ring"])
        known = await tx.fetchval(SQL["known_key_ring"])
        ring = compared(file, known) or KeyRing.load_or_create(file)
        if known is None:
            await tx.execute(SQL["remember_key_ring"], _check_value(ring))
    return Sealer(ring)


async def known_key_ring(database: Database) -> bytes | None:
    """What the database knows its key ring by; None before the first start of a node."""
    return await database.fetchval(SQL["known_key_ring"])


def compared(file: Path, known: bytes | None) -> KeyRing | None:
    """The ring in a file, if it is the one that the database knows, or the database knows none; None without both.

    Raises SetupError.
    """
    ring = KeyRing.load(file)
    if ring is None and known is not None:
        raise SetupError(f"there is no key ring {file}, and {SEALED} with one: {MEND}")
    if ring is not None and known not in (None, _check_value(ring)):
        raise SetupError(f"{SEALED} with another key ring than {file}: {MEND}")
    return ring


def _check_value(ring: KeyRing) -> bytes:
    return Sealer(ring).index("KEY RING", "check")
