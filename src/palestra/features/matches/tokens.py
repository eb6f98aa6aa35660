"""Tokens that let their bearer into a match: HS256 with one fixed header, claims `mid` and `exp`."""

from __future__ import annotations

import base64
import hmac

import msgspec

_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=") + b"."


class _Claims(msgspec.Struct):
    mid: str
    exp: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Claims).decode


def sign(match_id: str, expires_at: int, key: bytes) -> str:
    """A token for the match, good until `expires_at` (unix seconds)."""
    head = _HEADER + base64.urlsafe_b64encode(_encode(_Claims(match_id, expires_at))).rstrip(b"=")
    return (head + b"." + _signature(head, key)).decode()


def read(token: str, now: float, key: bytes) -> str | None:
    """The match id in a token that we made and that has not expired, else None."""
    head, _, signature = token.encode("utf-8", "replace").rpartition(b".")
    if not hmac.compare_digest(_signature(head, key), signature) or not head.startswith(_HEADER):
        return None
    payload = head[len(_HEADER) :]
    try:
        claims = _decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, msgspec.DecodeError):
        return None
    return claims.mid if claims.exp > now else None


def _signature(head: bytes, key: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(key, head, "sha256")).rstrip(b"=")
