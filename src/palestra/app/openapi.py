"""The client port described for machines, at /openapi.json: what it says is made of the operation table itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from palestra.gateway.openapi import Schema, Served, document
from palestra.gateway.operation import Auth, Empty, Operation

PAGE = Path(__file__).parent / "openapi_page"
"""The page that shows the document to people."""
PAGE_PATH = "/openapi"

INFO = {
    "title": "Palestra",
    "version": version("palestra"),
    "description": (
        "What game clients may ask of this node over HTTP. Names in requests may be snake_case or lowerCamelCase, null "
        "means absent, and names that are not known are ignored. An answer leaves out what has its default value. "
        "64-bit integers come as texts, times as RFC 3339 texts in UTC. The socket at /ws is not described here, nor "
        "are the signed operations for the servers of third-party games, which have a document of their own: "
        "/v2/palestra/provider/openapi.json."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
SCHEMES = {
    "serverKey": {"type": "http", "scheme": "basic", "description": "The server key as user name; no password."},
    "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The token of a session."},
    "httpKey": {"type": "apiKey", "in": "query", "name": "http_key", "description": "The key of trusted servers."},
    "httpKeyAsUser": {"type": "http", "scheme": "basic", "description": "The same key as user name; no password."},
}
BUSY = "Too much at once: nothing was done; ask again after Retry-After seconds"
AWAY = "Something is away: ask again after Retry-After seconds; `message` says if the outcome is not known"


def operations(table: Callable[[], Sequence[Operation]]) -> list[Operation]:
    """The document's own operation. `table` is asked when the first reader comes: this operation is part of it."""
    served = Served(lambda: described(table()))
    return [Operation("node.openapi", "GET", "/openapi.json", Auth.NONE, served.answer, hookable=False)]


def described(table: Sequence[Operation]) -> Schema:
    """The document of all operations that clients may use."""
    return document([one for one in table if one.auth is not Auth.SIGNATURE], INFO, SCHEMES, _refusals)


def _refusals(operation: Operation) -> dict[str, str]:
    found: dict[str, str] = {}
    if operation.raw or operation.request is not Empty:
        found["400"] = "The request cannot be understood or carried out as it is"
    if operation.auth is not Auth.NONE:
        found["401"] = "The caller is not known: log in, or refresh the session"
    return {**found, "429": BUSY, "503": AWAY, "default": "Refused; `code` and `message` say why"}
