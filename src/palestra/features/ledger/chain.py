"""The hash chain: what of a line is hashed, and how a line is linked to the one before it on its strand."""

from __future__ import annotations

from hashlib import sha256

FIRST_HASH = bytes(32)
"""What the first line of a strand is linked to."""


def content(
    line_id: int,
    entry: int,
    step: int,
    debit: int,
    credit: int,
    amount: int,
    debit_after: int | None,
    credit_after: int | None,
    hold: int | None,
    expires_at: int | None,
    kind: str,
    reference: str,
    metadata: str,
) -> str:
    """The text of a line that is hashed: its fields with bars between, nothing for none.

    Free texts are led by their length in characters, so that no two lines have the same text. Migration 0003 writes the
    same text in SQL.
    """
    return (
        f"{line_id}|{entry}|{step}|{debit}|{credit}|{amount}"
        f"|{'' if debit_after is None else debit_after}|{'' if credit_after is None else credit_after}"
        f"|{'' if hold is None else hold}|{'' if expires_at is None else expires_at}"
        f"|{len(kind)}:{kind}|{len(reference)}:{reference}|{metadata}"
    )


def link(previous: bytes, text: str) -> bytes:
    """The hash of a line: SHA-256 over the hash before it and its content in UTF-8."""
    return sha256(previous + text.encode()).digest()
