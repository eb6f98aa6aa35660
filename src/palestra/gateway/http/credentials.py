"""Who is calling over HTTP: server key, session token or http key, with the contract's refusals."""

from __future__ import annotations

import base64
import binascii
import hmac

from palestra.core.errors import Unauthenticated
from palestra.gateway.operation import Auth, Authenticator, Caller

GOOD_HEADERS_MAX = 64


class Credentials:
    """Checks the `Authorization` header (and the `http_key` parameter) of a request."""

    def __init__(self, authenticator: Authenticator, server_key: str, http_key: str) -> None:
        self._verify = authenticator.verify
        self._server_key = server_key.encode()
        self._http_key = http_key.encode()
        self._good_server_headers: set[bytes] = set()

    def caller(self, auth: Auth, header: bytes | None, repeated: bool) -> Caller | None:
        """The caller of an operation, None where a key is enough. Raises Unauthenticated."""
        if auth is Auth.SESSION:
            if repeated:
                raise Unauthenticated("Auth token invalid")
            return self.session(header)
        if auth is Auth.SERVER_KEY:
            if header is None or repeated:
                raise Unauthenticated("Server key required")
            if header not in self._good_server_headers:
                self._check_server_key(header)
        return None

    def _check_server_key(self, header: bytes) -> None:
        if not _same(_basic_user(header), self._server_key):
            raise Unauthenticated("Server key invalid")
        # All clients of a game send the same few texts: decode each once.
        if len(self._good_server_headers) < GOOD_HEADERS_MAX:
            self._good_server_headers.add(header)

    def session(self, header: bytes | None) -> Caller:
        """The player behind `Bearer <token>`. Raises Unauthenticated."""
        if header is None:
            raise Unauthenticated("Auth token required")
        if header[:7] == b"Bearer " and (caller := self._verify(header[7:].decode("latin-1"))) is not None:
            return caller
        raise Unauthenticated("Auth token invalid")

    def function_caller(self, header: bytes | None, http_key: str) -> Caller | None:
        """The caller of a server-side function: None when an http key was given. Raises Unauthenticated."""
        if http_key:
            return self._checked_http_key(http_key.encode())
        if header is None:
            raise Unauthenticated("Auth token or HTTP key required")
        if header[:6] == b"Basic ":
            return self._checked_http_key(_basic_user(header))
        return self.session(header)

    def _checked_http_key(self, key: bytes | None) -> None:
        if not _same(key, self._http_key):
            raise Unauthenticated("HTTP key invalid")


def _basic_user(header: bytes) -> bytes | None:
    """The part before the first colon of `Basic base64(user:anything)`, None when it is malformed."""
    if header[:6] != b"Basic ":
        return None
    try:
        user, colon, _ = base64.b64decode(header[6:], validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return user if colon else None


def _same(given: bytes | None, wanted: bytes) -> bool:
    return given is not None and hmac.compare_digest(given, wanted)
