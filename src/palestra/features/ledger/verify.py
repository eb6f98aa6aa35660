"""Reads a whole ledger for its proof, in one snapshot of the database and with bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from datetime import date
from typing import Any

import asyncpg
import msgspec

from palestra.core.errors import SetupError
from palestra.database.queries import load_queries
from palestra.features.ledger.audit import SETTLED_SECONDS
from palestra.features.ledger.book import HoldRow
from palestra.features.ledger.contract import Line, LineKind
from palestra.features.ledger.proof import Fault, Proof
from palestra.features.ledger.roots import Head, Root, faults_of, heads_of, root_of

SQL = load_queries(__file__)
CHUNK_ROWS = 5_000
STRAY_MAX = 100


class Verdict(msgspec.Struct, frozen=True):
    """What was proved. `faults` are those kept, the first one first; `fault_count` is how many there were."""

    lines: int
    strands: int
    accounts: int
    assets: int
    open_holds: int
    roots: int
    root: Root | None
    faults: list[Fault]
    fault_count: int


class Trust(msgspec.Struct, frozen=True):
    """What an auditor brings along: public keys that may sign, the node's own by key id, a root that was kept apart."""

    public_keys: Collection[bytes] = ()
    own_key: Callable[[str], bytes | None] | None = None
    root: bytes | None = None


async def verify(
    connection: asyncpg.Connection,
    trust: Trust,
    progress: Callable[[int, int], None],
    since: date | None = None,
) -> Verdict:
    """Prove the ledger behind a connection; `progress` is told lines done and lines in all.

    With `since`, the root of that day or the one before it is believed once its signature is checked, and so are the
    snapshots before it; what came after is proved. Raises SetupError when there is nothing to begin from.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        roots = [root_of(row) for row in await connection.fetch(SQL["roots"])]
        heads = [Head(*row) for row in await connection.fetch(SQL["verify_strands"])]
        accounts = [
            (row["id"], row["asset"], row["may_go_negative"] is False)
            async for row in _rows(connection, "verify_accounts")
        ]
        proof = Proof(heads, accounts)
        counts = len(heads), len(accounts), len({asset for _, asset, _ in accounts})
        del accounts
        _check_roots(proof, roots, trust)
        before, after = _parted(roots, since)
        for root in before:
            proof.pin(str(root.day), _heads(root), begin=True)
        for root in after:
            proof.pin(str(root.day), _heads(root))
        start, done = await _begin(connection, proof, before[-1]) if before else (0, 0)
        total = sum(head.lines for head in heads)
        async for rows in _chunks(connection, "verify_lines", start):
            proof.take(rows, await _holds(connection, rows))
            progress(done + proof.lines, total)
        proof.end()
        async for account, balance, held in _rows(connection, "verify_balances"):
            proof.balance(account, int(balance), int(held))
        proof.finish([row["id"] for row in await connection.fetch(SQL["verify_stray_holds"], STRAY_MAX)])
    faults = proof.faults
    return Verdict(
        proof.lines,
        *counts,
        proof.open_holds,
        len(roots),
        roots[-1] if roots else None,
        faults.kept,
        faults.count,
    )


def _check_roots(proof: Proof, roots: list[Root], trust: Trust) -> None:
    found = faults_of(roots, trust.public_keys, trust.own_key)
    if trust.root is not None and all(root.root != trust.root for root in roots):
        proof.faults.add("roots", "the root that you have kept is not among them", trust.root.hex(), "none such")
    for fault in found:
        proof.faults.add(f"root of {fault.day}", fault.meaning, fault.expected, fault.found)


def _heads(root: Root) -> list[Head]:
    try:
        return heads_of(root.heads)
    except ValueError:
        # Taken down by the check of the roots.
        return []


def _parted(roots: list[Root], since: date | None) -> tuple[list[Root], list[Root]]:
    """The roots that are believed, and those that are proved."""
    if since is None:
        return [], roots
    before = [root for root in roots if root.day <= since]
    if not before:
        raise SetupError(f"no root was signed on {since} or before: verify the whole ledger, without --since")
    return before, roots[len(before) :]


async def _begin(connection: asyncpg.Connection, proof: Proof, root: Root) -> tuple[int, int]:
    """Begin from the snapshots before a root: after which line, and how many lines that is."""
    step = await connection.fetchrow(SQL["verify_start"], Line.id_at(root.signed_at.timestamp() - SETTLED_SECONDS))
    if step is None:
        raise SetupError(f"there are no snapshots from before the root of {root.day}: choose a later day")
    rows = _rows(connection, "verify_snapshots", step["through_id"])
    proof.begin(step["through_id"], [(account, int(balance), int(held)) async for account, balance, held in rows])
    return step["through_id"], step["lines"]


async def _holds(connection: asyncpg.Connection, rows: list[Any]) -> dict[int, HoldRow]:
    """The holds that some lines made or ended, as they stand in the database."""
    ids = [row["id"] for row in rows if row["step"] == LineKind.HOLD]
    ids += [row["hold"] for row in rows if row["hold"] is not None]
    return {row["id"]: HoldRow(*row) for row in await connection.fetch(SQL["read_holds"], ids)} if ids else {}


async def _chunks(connection: asyncpg.Connection, name: str, *arguments: Any) -> AsyncIterator[list[Any]]:
    """The rows of a statement by and by."""
    cursor = await connection.cursor(SQL[name], *arguments)
    while rows := await cursor.fetch(CHUNK_ROWS):
        yield rows


async def _rows(connection: asyncpg.Connection, name: str, *arguments: Any) -> AsyncIterator[Any]:
    async for rows in _chunks(connection, name, *arguments):
        for row in rows:
            yield row
