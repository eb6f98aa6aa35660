"""Page cursors: a position in a list as URL-safe text that clients hand back unread."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

CURSOR_CHARS_MAX = 4096

T = TypeVar("T", bound=msgspec.Struct)


def seal_cursor(position: msgspec.Struct) -> str:
    """The text of a position; characters of URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).rstrip(b"=").decode()


def open_cursor(text: str, kind: type[T]) -> T:
    """The position in a cursor. It may be forged, so it must not lead anywhere its holder may not read.

    Raises ValueError when `text` holds no `kind`.
    """
    if len(text) > CURSOR_CHARS_MAX:
        raise ValueError("a cursor is never this long")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        return msgspec.msgpack.decode(raw, type=kind)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a cursor: {error}") from None
