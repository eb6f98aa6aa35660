"""What text a database can hold."""

from __future__ import annotations


def storable(text: str) -> bool:
    """Whether a text column can hold it: no NUL, no lone half of a surrogate pair."""
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)
