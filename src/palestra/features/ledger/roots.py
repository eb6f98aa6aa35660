"""Signed roots: a hash a day over the ends of all hash chains, linked to the one before, signed by the key ring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PURPOSE = "ledger root"
"""What the signing key is derived for."""
FIRST_ROOT = bytes(32)
"""What the first root is linked to."""


class Head(NamedTuple):
    """The end of a strand: how many lines it has, the id and the hash of its latest."""

    strand: int
    lines: int
    last: int
    hash: bytes


class Root(msgspec.Struct, frozen=True):
    """A root as it stands in the database. `heads` is a line of text a strand."""

    day: date
    signed_at: datetime
    previous: bytes
    heads: str
    root: bytes
    signature: bytes
    public_key: bytes
    key_id: str


class RootFault(NamedTuple):
    """What is wrong with a root."""

    day: date
    meaning: str
    expected: str
    found: str


def heads_text(heads: Iterable[Head]) -> str:
    """Heads as they are hashed: strand, lines, last id and hash in hex, a line each."""
    return "".join(f"{head.strand} {head.lines} {head.last} {head.hash.hex()}\n" for head in heads)


def heads_of(text: str) -> list[Head]:
    """Heads from their text. Raises ValueError when it is none."""
    heads = []
    for line in text.splitlines():
        strand, lines, last, digest = line.split(" ")
        heads.append(Head(int(strand), int(lines), int(last), bytes.fromhex(digest)))
    return heads


def root_hash(previous: bytes, signed_at: datetime, heads: str) -> bytes:
    """SHA-256 over the root before, the time of signing in ISO 8601 (UTC), a line break, and the heads."""
    return sha256(previous + f"{signed_at.astimezone(UTC).isoformat()}\n{heads}".encode()).digest()


def sign(
    previous: Root | None, signed_at: datetime, heads: Iterable[Head], key_id: str, key: Ed25519PrivateKey
) -> Root:
    """The root that follows another. Heads that the other one has just so are left out."""
    known = set(heads_of(previous.heads)) if previous is not None else set()
    text = heads_text(sorted(set(heads) - known))
    before = previous.root if previous is not None else FIRST_ROOT
    root = root_hash(before, signed_at, text)
    public_key = key.public_key().public_bytes_raw()
    return Root(signed_at.date(), signed_at, before, text, root, key.sign(root), public_key, key_id)


def root_of(row: Any) -> Root:
    """A root from its row."""
    return Root(*row)


def faults_of(
    roots: Iterable[Root],
    public_keys: Collection[bytes] = (),
    own_key: Callable[[str], bytes | None] | None = None,
) -> list[RootFault]:
    """What is wrong with a chain of roots, the oldest first.

    A root must be signed by one of `public_keys`, if there are any; else by the key that `own_key` has for its key id;
    without either by the key that stands beside it, which proves nothing against who can write it all anew.
    """
    found = []
    previous = FIRST_ROOT
    for root in roots:
        fault = _link_fault(root, previous) or _key_fault(root, public_keys, own_key) or _signature_fault(root)
        if fault is not None:
            found.append(fault)
        previous = root.root
    return found


def _link_fault(root: Root, previous: bytes) -> RootFault | None:
    if root.previous != previous:
        meaning = "it does not follow the root before it: one between them is gone, or one of them was changed"
        return RootFault(root.day, meaning, f"previous {previous.hex()}", f"previous {root.previous.hex()}")
    digest = root_hash(root.previous, root.signed_at, root.heads)
    if root.root != digest:
        return RootFault(root.day, "its heads, time or hash were changed", digest.hex(), root.root.hex())
    if root.day != root.signed_at.astimezone(UTC).date():
        return RootFault(root.day, "its day was changed", str(root.signed_at.date()), str(root.day))
    try:
        heads_of(root.heads)
    except ValueError:
        return RootFault(root.day, "its heads are none", "lines of strand, lines, id, hash", f"{root.heads:.100}")
    return None


def _key_fault(
    root: Root, public_keys: Collection[bytes], own_key: Callable[[str], bytes | None] | None
) -> RootFault | None:
    if public_keys:
        if root.public_key in public_keys:
            return None
        wanted = " or ".join(sorted(key.hex() for key in public_keys))
    else:
        if own_key is None or (own := own_key(root.key_id)) == root.public_key:
            return None
        wanted = own.hex() if own is not None else f"the key {root.key_id} of this key ring, which has none of that id"
    return RootFault(root.day, "it is signed by another key", wanted, root.public_key.hex())


def _signature_fault(root: Root) -> RootFault | None:
    try:
        Ed25519PublicKey.from_public_bytes(root.public_key).verify(root.signature, root.root)
    except (InvalidSignature, ValueError):
        return RootFault(root.day, "its signature is wrong", f"one by {root.public_key.hex()}", root.signature.hex())
    return None
