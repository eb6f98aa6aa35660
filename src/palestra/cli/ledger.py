"""`palestra ledger verify` and `palestra ledger root`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import asyncpg
from rich.console import Console

from palestra.core.config import Settings
from palestra.core.errors import SetupError
from palestra.database.embedded import EmbeddedPostgres
from palestra.database.pool import Database
from palestra.database.sealed import KeyRing, Sealer
from palestra.features.ledger.audit import latest_root
from palestra.features.ledger.proof import Fault
from palestra.features.ledger.roots import PURPOSE, Root
from palestra.features.ledger.verify import Trust, Verdict, verify

SHOWN_MAX = 20
"""Faults that are printed."""

out = Console(highlight=False, soft_wrap=True, markup=False)


def verify_ledger(settings: Settings, public_keys: Sequence[str], root: str | None, since: str | None) -> int:
    """Prove the ledger and tell the outcome; the exit status is 1 when anything is broken."""
    sealer = _sealer(settings)
    trust = Trust(
        [_bytes(key, "--public-key") for key in public_keys],
        _own_key(sealer) if sealer is not None else None,
        None if root is None else _bytes(root, "--root"),
    )
    verdict = asyncio.run(_verify(settings, trust, _day(since)))
    _tell(verdict, trust)
    return 1 if verdict.fault_count else 0


def print_root(settings: Settings) -> int:
    """Print the latest root; the exit status is 1 when there is none."""

    async def work() -> Root | None:
        async with attached(settings) as database:
            await database.open()
            try:
                return await latest_root(database)
            except asyncpg.UndefinedTableError:
                raise _no_tables() from None
            finally:
                await database.close()

    root = asyncio.run(work())
    if root is None:
        out.print("no root has been signed yet")
        return 1
    out.print(_described(root))
    return 0


async def _verify(settings: Settings, trust: Trust, since: date | None) -> Verdict:
    async with attached(settings) as database:
        connection = await database.connect()
        try:
            return await verify(connection, trust, _progress, since)
        except asyncpg.UndefinedTableError:
            raise _no_tables() from None
        finally:
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            await connection.close()


@asynccontextmanager
async def attached(settings: Settings) -> AsyncIterator[Database]:
    """The database of a node, running or not: the embedded one is started when no node has it running."""
    if settings.database_url:
        yield Database(settings.database.direct_url or settings.database_url)
        return
    data_dir = Path(settings.data_dir)
    if not (data_dir / "pg").exists():
        raise SetupError(f"there is no database in {data_dir}: name the right --data-dir, or give a --database-url")
    postgres = EmbeddedPostgres(data_dir)
    if (running := postgres.running_url()) is not None:
        yield Database(running)
        return
    try:
        yield Database(await postgres.start())
    finally:
        await postgres.stop()


def _sealer(settings: Settings) -> Sealer | None:
    """The node's keys, where this is the node's machine; an auditor has none of them, and no need."""
    file = Path(settings.database.key_ring_file or Path(settings.data_dir) / "keyring.json")
    ring = KeyRing.load(file)
    return None if ring is None else Sealer(ring)


def _own_key(sealer: Sealer) -> Callable[[str], bytes | None]:
    def public_key(key_id: str) -> bytes | None:
        try:
            return sealer.signing_key(PURPOSE, key_id)[1].public_key().public_bytes_raw()
        except KeyError:
            return None

    return public_key


def _no_tables() -> SetupError:
    return SetupError("this database has no ledger of this version: run `palestra migrate` first")


def _bytes(text: str, flag: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise SetupError(f"{flag} {text}: write 32 bytes as 64 hex digits")
    return found


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise SetupError(f"--since {text}: write a day as 2026-01-31") from None


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{done:,} of {total:,} lines", end="", file=sys.stderr, flush=True)


def _tell(verdict: Verdict, trust: Trust) -> None:
    out.print(
        f"{verdict.lines:,} lines on {verdict.strands:,} strands, {verdict.accounts:,} accounts of "
        f"{verdict.assets:,} assets, {verdict.open_holds:,} open holds, {verdict.roots:,} roots"
    )
    if verdict.root is not None:
        out.print(_described(verdict.root))
        if not trust.public_keys:
            out.print(
                "signatures were checked with the key ring of this machine"
                if trust.own_key is not None
                else "signatures were checked with the keys beside them: give --public-key to say who may sign"
            )
    if not verdict.fault_count:
        out.print("the ledger is whole")
        return
    shown = verdict.faults[:SHOWN_MAX]
    out.print(f"BROKEN: {verdict.fault_count:,} faults, the first one first")
    for fault in shown:
        out.print(_fault(fault))
    if verdict.fault_count > len(shown):
        out.print(f"and {verdict.fault_count - len(shown):,} more")


def _fault(fault: Fault) -> str:
    lines = (f"{fault.where}: {fault.meaning}", f"    expected {fault.expected}", f"    found    {fault.found}")
    # What was tampered with must not steer the terminal.
    return "\n".join("".join(char if char.isprintable() else "?" for char in line) for line in lines)


def _described(root: Root) -> str:
    return (
        f"root of {root.day}  {root.root.hex()}\n"
        f"signed by          {root.public_key.hex()} (key {root.key_id}) at {root.signed_at.isoformat()}"
    )
