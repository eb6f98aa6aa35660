"""The documentation as text: its pages, the code blocks in them and the links between them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SETTINGS = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\w+\.py)\n")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Source(NamedTuple):
    """A code block that is a whole file: its first line names it."""

    name: str
    text: str


def pages() -> list[Path]:
    """Every page of documentation."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def sources(page: Path) -> list[Source]:
    """The files that a page shows, in order; a later one of the same name takes the earlier one's place."""
    found: list[Source] = []
    for block in _PYTHON.findall(page.read_text(encoding="utf-8")):
        if match := _FILE_NAME.match(block):
            found.append(Source(match[1], block))
    return found


def settings_files(page: Path) -> list[str]:
    """The settings files that a page shows."""
    return _SETTINGS.findall(page.read_text(encoding="utf-8"))


def unnamed_games(page: Path) -> list[str]:
    """Code blocks that declare a game and are not named, so that nobody would try them."""
    blocks = _PYTHON.findall(page.read_text(encoding="utf-8"))
    return [
        block for block in blocks if re.search(r"^\w+ = Game\(", block, re.MULTILINE) and not _FILE_NAME.match(block)
    ]


def links(page: Path) -> list[str]:
    """Links of a page to other files of the repository, without their anchors."""
    targets = (link.partition("#")[0] for link in _LINK.findall(page.read_text(encoding="utf-8")))
    return [target for target in targets if target and "://" not in target]
