"""What is kept of players as everybody may see them, on each node and in the cache that nodes share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from palestra.cluster.cache import Cache, Caches
from palestra.database.sealed import SealBroken, Sealer
from palestra.features.accounts.contract import UserRecord

RECORD_BYTES = 1_000
"""About what a record takes in memory beside its metadata; two thirds of it, and twice that once it was shown."""


class SealedRecords:
    """Implements `Codec`. Sealed like the identifiers in the database: some are in there in the clear."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(UserRecord).decode

    def encode(self, key: str, value: UserRecord) -> bytes:
        """A record as bytes that nobody else can read, or make, or move to another player."""
        return self._sealer.seal(self._encode(value).decode(), _context(key))

    def decode(self, key: str, data: bytes) -> UserRecord:
        """The record again. Raises ValueError."""
        try:
            return self._decode(self._sealer.open(data, _context(key)))
        except (SealBroken, msgspec.MsgspecError) as error:
            raise ValueError(str(error)) from error


def _context(key: str) -> bytes:
    return b"cache:" + key.encode()


def profiles(
    caches: Caches, load: Callable[[list[str]], Awaitable[Mapping[str, UserRecord]]], sealer: Sealer
) -> Cache[UserRecord]:
    """Players by id. Whoever changes a row of `users` or `identities` invalidates the id after the commit."""
    return Cache("users", caches, load, caches.terms, _size_bytes, SealedRecords(sealer))


def _size_bytes(user: UserRecord) -> int:
    return RECORD_BYTES + 2 * len(user.metadata)
