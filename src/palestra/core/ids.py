"""Identifiers: random UUIDs in canonical lower-case text."""

from __future__ import annotations

import os
import re
from typing import NewType

UserId = NewType("UserId", str)

SYSTEM_USER = UserId("00000000-0000-0000-0000-000000000000")
"""The owner of things that belong to the platform rather than to a player."""

# The system's random source is asked for many ids at a time: a call for each would cost as much as the rest of it.
# Taking from a list is one step, so that no two threads get the same; a forked child must not continue its parent's.
_IDS_AT_ONCE = 256
_digits: list[str] = []
os.register_at_fork(after_in_child=_digits.clear)

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_HEX = re.compile(r"[0-9a-f]{32}").fullmatch


def new_id() -> str:
    """A random version 4 UUID as text."""
    try:
        digits = _digits.pop()
    except IndexError:
        fresh = os.urandom(16 * _IDS_AT_ONCE).hex()
        _digits.extend(fresh[start : start + 32] for start in range(32, len(fresh), 32))
        digits = fresh[:32]
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


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
