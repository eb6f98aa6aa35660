"""Decisions about names, identifiers and profiles: pure functions that raise InvalidArgument with the wire's text."""

from __future__ import annotations

import re

from palestra.core.errors import InvalidArgument
from palestra.features.accounts.contract import IdentityKind

_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]").search
_EMAIL = re.compile(r"[^@]+@.+\..+").fullmatch

PASSWORD_BYTES_MIN = 8
PASSWORD_BYTES_MAX = 1_024
TEXT_CHARS_MAX = {"display_name": 255, "avatar_url": 512, "lang_tag": 18, "location": 255, "timezone": 255}
PROVIDER_NAME_BYTES_MAX = 255
PROVIDER_AVATAR_BYTES_MAX = 512
UPDATE_FAILED = "Error while trying to update account."


def username(text: str) -> str:
    """A name that may be taken: 1–128 bytes without control characters."""
    if not 1 <= len(text.encode()) <= 128:
        raise InvalidArgument("Username invalid, must be 1-128 bytes.")
    if _CONTROL(text) or "[]" in text:
        raise InvalidArgument("Username invalid, no spaces or control characters allowed.")
    return text


def device_id(text: str) -> str:
    """A device id: 10–128 bytes without blanks or control characters."""
    if not text:
        raise InvalidArgument("Device ID is required.")
    if _BLANK_OR_CONTROL(text):
        raise InvalidArgument("Device ID invalid, no spaces or control characters allowed.")
    if not 10 <= len(text.encode()) <= 128:
        raise InvalidArgument("Device ID invalid, must be 10-128 bytes.")
    return text


def custom_id(text: str, *, linking: bool = False) -> str:
    """A custom id: 6–128 bytes without blanks or control characters. Linking has its own wording."""
    lead = "Invalid custom ID," if linking else "Custom ID invalid,"
    if not text:
        raise InvalidArgument("Custom ID is required.")
    if _BLANK_OR_CONTROL(text):
        raise InvalidArgument(f"{lead} no spaces or control characters allowed.")
    if not 6 <= len(text.encode()) <= 128:
        raise InvalidArgument(f"{lead} must be 6-128 bytes.")
    return text


def email_without_blanks(text: str) -> None:
    """The first of the address checks; linking does it before looking at the password."""
    if _BLANK_OR_CONTROL(text):
        raise InvalidArgument("Invalid email address, no spaces or control characters allowed.")


def email_form(text: str) -> None:
    """x@y.z, 10–255 bytes."""
    if not _EMAIL(text):
        raise InvalidArgument("Invalid email address format.")
    if not 10 <= len(text.encode()) <= 255:
        raise InvalidArgument("Invalid email address, must be 10-255 bytes.")


def password(text: str) -> str:
    """A password long enough to be one, and short enough to be hashed by a busy server."""
    size = len(text.encode())
    if size < PASSWORD_BYTES_MIN:
        raise InvalidArgument("Password must be at least 8 characters long.")
    if size > PASSWORD_BYTES_MAX:
        raise InvalidArgument(f"Password must be at most {PASSWORD_BYTES_MAX} bytes long.")
    return text


def profile(fields: dict[str, str | None]) -> dict[str, str | None]:
    """The columns a profile change sets: absent fields are kept (left out), "" clears a text (None).

    Raises InvalidArgument for what does not fit; the language cannot be cleared.
    """
    changes: dict[str, str | None] = {}
    for name, text in fields.items():
        if text is None:
            continue
        if name == "username":
            changes[name] = username(text)
            continue
        if "\x00" in text or len(text) > TEXT_CHARS_MAX[name] or (name == "lang_tag" and not text):
            raise InvalidArgument(UPDATE_FAILED)
        changes[name] = text or None
    return changes


def from_provider(text: str, bytes_max: int) -> str | None:
    """A name or address that a provider tells, None when it does not fit."""
    return text if text and "\x00" not in text and len(text.encode()) <= bytes_max else None


def email_from_provider(text: str) -> str:
    """An e-mail address that a provider tells, as it is kept; "" when players could not log in by it."""
    try:
        email_without_blanks(text)
        email_form(text)
    except InvalidArgument:
        return ""
    return text.lower()


def may_unlink(
    identities: list[tuple[int, bytes]], kind: IdentityKind, lookup: bytes | None, has_password: bool
) -> bool:
    """Whether an identifier may go: another way in must remain, and a given one must be the player's own.

    `identities` are the player's (kind, blind index) pairs; `lookup` is None when none was named. An e-mail address
    without a password, which a provider told, is no way in.
    """
    matching = [entry for entry in identities if entry[0] == kind and (lookup is None or entry[1] == lookup)]
    if not matching:
        return lookup is None
    return any(entry not in matching and (entry[0] != IdentityKind.EMAIL or has_password) for entry in identities)
