"""Identifiers: random UUIDs in canonical lower-case text."""

from __future__ import annotations

import os
import re
from typing import NewType

UserId = NewType("UserId", str)
SessionId = NewType("SessionId", str)

SYSTEM_USER = UserId("00000000-0000-0000-0000-000000000000")
"""The owner of things that belong to the platform rather than to a player."""

# The system's random source is asked for many ids at a time: a call for each would cost as much as the rest of it.
_BYTES_AT_ONCE = 4096
_random = b""
_used = 0


def _forget_random() -> None:
    global _random
    _random = b""


os.register_at_fork(after_in_child=_forget_random)

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_HEX = re.compile(r"[0-9a-f]{32}").fullmatch


def new_id() -> str:
    """A random version 4 UUID as text."""
    global _random, _used
    start = _used
    if start >= len(_random):
        _random, start = os.urandom(_BYTES_AT_ONCE), 0
    _used = start + 16
    digits = _random[start : start + 16].hex()
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
