"""The OpenAPI document of the provider operations, made of the operation table and the types of their messages."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from palestra.features.providers.words import WORDS
from palestra.gateway.http.answer import STATUS_OF
from palestra.gateway.openapi import document
from palestra.gateway.operation import Operation

HEADERS = {
    "provider": ("X-Palestra-Provider", "The provider's name."),
    "key": ("X-Palestra-Key", "The id of the key that signs."),
    "timestamp": ("X-Palestra-Timestamp", "Unix seconds at which the request was signed."),
    "signature": (
        "X-Palestra-Signature",
        "HMAC-SHA256 in hex, by the key's secret, over timestamp, method, path and body, with a line break between.",
    ),
}
INFO = {
    "title": "Palestra for providers of games",
    "version": version("palestra"),
    "description": "The seamless wallet: a provider's servers debit and credit the players' accounts.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
SCHEMES = {
    name: {"type": "apiKey", "in": "header", "name": header, "description": description}
    for name, (header, description) in HEADERS.items()
}
AGAIN = (429, 500, 503)
REFUSED = "The request was refused: nothing was done"
LATER = "The outcome is not known, or nothing could be done now: repeat the very same request after Retry-After seconds"


def described(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document of these operations."""
    return document(operations, INFO, SCHEMES, lambda operation: dict(_words_by_status()))


def _words_by_status() -> list[tuple[str, str]]:
    found: dict[int, set[str]] = {}
    for kind, word in WORDS.items():
        found.setdefault(STATUS_OF[kind.code], set()).add(word)
    return [
        (str(status), f"{LATER if status in AGAIN else REFUSED}. `error` is one of: {', '.join(sorted(words))}.")
        for status, words in sorted(found.items())
    ]
