"""Reading the named SQL statements of a `queries.sql`."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

_NAME = re.compile(r"--\s*name:\s*(.*)")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class Queries(dict[str, str]):
    """Statements by name; `descriptions` holds what the comment lines above each one say.

    A name that does not exist raises KeyError with the nearest name and the file.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.descriptions: dict[str, str] = {}

    def __missing__(self, name: str) -> str:
        close = difflib.get_close_matches(name, self, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise KeyError(f"{self.file} has no statement named {name!r}{hint}")


def load_queries(beside: str) -> Queries:
    """The statements of the `queries.sql` in the folder of the file `beside` (pass `__file__`).

    Each is a line `-- name: <name>`, comment lines that say what it does and why, then one statement ending in `;`.
    Raises ValueError, naming file and line, when that form is not kept.
    """
    file = Path(beside).with_name("queries.sql")
    queries = Queries(file)
    block: list[str] = []
    starts_at = 0
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if _NAME.match(line):
            _add(queries, block, starts_at)
            block, starts_at = [line], number
        elif block:
            block.append(line)
        elif line.strip() and not line.startswith("--"):
            raise ValueError(f"{file}:{number}: a statement needs a line `-- name: <name>` above it")
    _add(queries, block, starts_at)
    return queries


def _add(queries: Queries, block: list[str], starts_at: int) -> None:
    """Take one block of lines, from its name line to the line before the next name."""
    if not block:
        return
    place = f"{queries.file}:{starts_at}"
    match = _NAME.match(block[0])
    name = match[1].strip() if match else ""
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"{place}: {name!r} is no name; use small letters, digits and underscores")
    if name in queries:
        raise ValueError(f"{place}: there is a statement named {name!r} already")
    comments = 1
    while comments < len(block) and block[comments].startswith("--"):
        comments += 1
    description = " ".join(line.lstrip("-").strip() for line in block[1:comments]).strip()
    if not description:
        raise ValueError(f"{place}: say what {name!r} does and why in comment lines below its name")
    statement = "\n".join(block[comments:]).strip()
    if not statement.endswith(";"):
        raise ValueError(f"{place}: {name!r} must end with a semicolon")
    # A semicolon ends a statement wherever it ends a line: PostgreSQL itself refuses to prepare what slips through.
    if any(line.rstrip().endswith(";") and not line.lstrip().startswith("--") for line in statement.splitlines()[:-1]):
        raise ValueError(f"{place}: {name!r} must be one statement")
    queries[name] = statement
    queries.descriptions[name] = description
