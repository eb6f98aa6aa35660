"""Cross-origin rules: any origin may call, with the methods and headers that game clients use."""

from __future__ import annotations

from palestra.gateway.http.answer import Headers

ALLOW_ANY: Headers = ((b"access-control-allow-origin", b"*"),)
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE"))
_SIMPLE = frozenset((b"accept", b"accept-language", b"content-language", b"origin"))
_ALLOWED = frozenset((b"authorization", b"content-type", b"user-agent"))


def preflight(headers: dict[bytes, bytes]) -> tuple[int, Headers]:
    """Status and headers of the answer to an OPTIONS request."""
    if b"origin" not in headers:
        return 200, ()
    method = headers.get(b"access-control-request-method", b"")
    if not method:
        return 400, ()
    if method not in _METHODS:
        return 405, ()
    asked = [name.strip() for name in headers.get(b"access-control-request-headers", b"").split(b",") if name.strip()]
    wanted = [name for name in asked if name.lower() not in _SIMPLE]
    if any(name.lower() not in _ALLOWED for name in wanted):
        return 403, ()
    granted = list(ALLOW_ANY)
    if wanted:
        names = b",".join(b"-".join(word.capitalize() for word in name.split(b"-")) for name in wanted)
        granted.append((b"access-control-allow-headers", names))
    if method not in (b"GET", b"HEAD", b"POST"):
        granted.append((b"access-control-allow-methods", method))
    return 200, tuple(granted)
