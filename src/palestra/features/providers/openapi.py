"""The OpenAPI document of the provider operations, made of the operation table and the types of their messages."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from palestra.features.providers.words import WORDS
from palestra.gateway.http.answer import STATUS_OF, WordedErrorBody
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
AGAIN = (429, 500, 503)
REFUSED = "The request was refused: nothing was done"
LATER = "The outcome is not known, or nothing could be done now: repeat the very same request after Retry-After seconds"


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """An OpenAPI 3.1 document. The answer's type is what the handler says it returns."""
    answers = [typing.get_type_hints(operation.handler)["return"] for operation in operations]
    kinds = [*(operation.request for operation in operations), *answers, WordedErrorBody]
    references, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    count = len(operations)
    error = references[-1]
    paths = {
        operation.path: {operation.method.lower(): _operation(operation, references[at], references[count + at], error)}
        for at, operation in enumerate(operations)
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Palestra for providers of games",
            "version": version("palestra"),
            "description": "The seamless wallet: a provider's servers debit and credit the players' accounts.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                name: {"type": "apiKey", "in": "header", "name": header, "description": description}
                for name, (header, description) in HEADERS.items()
            },
        },
        "security": [{name: [] for name in HEADERS}],
    }


def _operation(operation: Operation, request: Any, answer: Any, error: Any) -> dict[str, Any]:
    return {
        "operationId": operation.name,
        "summary": (operation.handler.__doc__ or "").strip(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": "Done, now or before", "content": {"application/json": {"schema": answer}}},
            **{
                str(status): {
                    "description": f"{LATER if status in AGAIN else REFUSED}. `error` is one of: {words}.",
                    "content": {"application/json": {"schema": error}},
                }
                for status, words in _words_by_status()
            },
        },
    }


def _words_by_status() -> list[tuple[int, str]]:
    found: dict[int, set[str]] = {}
    for kind, word in WORDS.items():
        found.setdefault(STATUS_OF[kind.code], set()).add(word)
    return [(status, ", ".join(sorted(words))) for status, words in sorted(found.items())]
