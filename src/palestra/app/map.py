"""The operation map: every operation and message with its transport, authentication, limit and place in the code."""

from __future__ import annotations

import inspect
from pathlib import Path

from palestra.app.build import table
from palestra.core.config import Settings
from palestra.gateway.operation import Message, Operation

INTRODUCTION = """# Operations

Every request a client can make. The name is what hooks, metrics and limits use. A node shows requests and
answers at `/openapi/`, for machines at `/openapi.json`. Written by `./dev map --write`.

| operation | transport | who | limit | code |
|---|---|---|---|---|
"""


def render() -> str:
    """The map as a Markdown page."""
    settings = Settings().socket
    rows: list[str] = []
    for entry in table():
        if isinstance(entry, Operation):
            limit = f"{settings.request_bytes_max} B body" if entry.method in ("POST", "PUT", "DELETE") else "–"
            rows.append(
                f"| `{entry.name}` | {entry.method} `{entry.path}` | {entry.auth.value} | {limit} | {place(entry)} |"
            )
        else:
            limit = f"{settings.message_bytes_max} B message"
            rows.append(f"| `{entry.name}` | socket `{entry.key}` | session | {limit} | {place(entry)} |")
    return INTRODUCTION + "\n".join(sorted(rows)) + "\n"


def place(entry: Operation | Message) -> str:
    """Where the handler stands, relative to the package."""
    code = inspect.unwrap(entry.handler).__code__  # type: ignore[attr-defined]
    root = Path(__file__).resolve().parent.parent
    return f"{Path(code.co_filename).resolve().relative_to(root)}:{code.co_firstlineno}"
