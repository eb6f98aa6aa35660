"""Identifiers: random UUIDs in canonical lower-case text."""

from __future__ import annotations

import os
import re
from typing import NewType

UserId = NewType("UserId", str)
SessionId = NewType("SessionId", str)

SYSTEM_USER = UserId("00000000-0000-0000-0000-000000000000")
"""The owner of things that belong to the platform rather than to a player."""

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_HEX = re.compile(r"[0-9a-f]{32}").fullmatch


def new_id() -> str:
    """A random version 4 UUID as text."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return _dashed(raw.hex())


def parse_id(text: str) -> str:
    """The canonical form of a UUID given as text: any case, also bare hex, in braces or with a urn:uuid: prefix.

    Raises ValueError when it is none of these.
    """
    if _CANONICAL(text):
        return text
    low = text.lower()
    if _CANONICAL(low):
        return low
    if low.startswith("urn:uuid:"):
        low = low[9:]
    elif low[:1] == "{" and low[-1:] == "}":
        low = low[1:-1]
    elif not _HEX(low):
        raise ValueError(f"not a UUID: {text[:50]!r}")
    if _CANONICAL(low):
        return low
    if _HEX(low):
        return _dashed(low)
    raise ValueError(f"not a UUID: {text[:50]!r}")


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
